package lang

// catalogues hold the Chinese of each English format, one per package that
// speaks. A verb's argument may be named where the order differs: %[2]s.
var catalogues = []map[string]string{zhPolicy}

// zhPolicy holds the sentences of pkg/policy.
var zhPolicy = map[string]string{}

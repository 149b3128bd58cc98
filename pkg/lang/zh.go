package lang

// catalogues hold the Chinese of each English format, one per package that
// speaks. A verb's argument may be named where the order differs: %[2]s.
var catalogues = []map[string]string{
	zhCodes,
	zhCompare,
	zhCompile,
	zhCompileCodes,
	zhExplainCode,
	zhForm,
	zhIdentity,
	zhGovern,
	zhHealth,
	zhHome,
	zhInspect,
	zhInitialize,
	zhLaw,
	zhLayout,
	zhPolicy,
	zhMend,
	zhObserve,
	zhPolicytest,
	zhSchema,
	zhRecord,
	zhShow,
	zhSign,
	zhSuppress, zhUser,
}

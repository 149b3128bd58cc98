// Package shape describes the form of a policy file as data: which fields an
// object has, in which order, and what each of them holds. It is recorded from
// the reader of policy files itself (policy.Shapes), so that whatever needs the
// form of a file (the formatter, the schemas of editors) cannot disagree with it.
package shape

// Type is what a value is.
type Type string

// The types.
const (
	Object   Type = "object"   // Fields; or Values, where the keys are free
	List     Type = "list"     // Items
	Text     Type = "text"     // any text that is not empty
	Word     Type = "word"     // text that no YAML reader takes for a truth value
	Name     Type = "name"     // lower-case letters, digits, hyphens
	Ident    Type = "ident"    // letters, digits, hyphens, dots, underscores
	Code     Type = "code"     // of a jurisdiction, see Use
	Choice   Type = "choice"   // a word of Set
	Flag     Type = "flag"     // true or false
	Number   Type = "number"   // a whole number from 0 to Max
	Duration Type = "duration" // as in 10m
	Timeout  Type = "timeout"  // as in 100ms or 2s
	Date     Type = "date"     // year-month-day
	Instant  Type = "instant"  // RFC 3339
	Host     Type = "host"     // a host name
	Address  Type = "address"  // host:port
	Path     Type = "path"     // of a request
	Template Type = "template" // a path with variables
	File     Type = "file"     // a path inside the policy directory
)

// The uses of a code.
const (
	Home    = "home"    // a jurisdiction
	Country = "country" // where a region lies
	Any     = "any"     // a jurisdiction or a group
	Law     = "law"     // a law file's own code
)

// Shape is the form of a value.
type Shape struct {
	Type   Type
	Fields []Field // of an Object, in their canonical order
	Keys   *Shape  // of an Object with free keys
	Values *Shape  // of an Object with free keys
	Items  *Shape  // of a List
	Empty  bool    // a List may be empty
	Set    []string
	Use    string
	Max    int
}

// Field is a field of an object.
type Field struct {
	Name     string
	Required bool // whatever the other fields say
	Shape    *Shape
}

// Field returns a field's shape: of the fields, else of the free keys; nil when
// there is none.
func (s *Shape) Field(name string) *Shape {
	if s == nil {
		return nil
	}
	if i := s.Index(name); i >= 0 {
		return s.Fields[i].Shape
	}
	return s.Values
}

// Index is the place of a field in the canonical order, -1 when there is none.
func (s *Shape) Index(name string) int {
	if s == nil {
		return -1
	}
	for i, f := range s.Fields {
		if f.Name == name {
			return i
		}
	}
	return -1
}

// Item is the shape of a list's items; nil when there is none.
func (s *Shape) Item() *Shape {
	if s == nil {
		return nil
	}
	return s.Items
}

// IsText tells whether a value is text, so that quotes around it change nothing.
func (s *Shape) IsText() bool {
	if s == nil {
		return false
	}
	switch s.Type {
	case Object, List, Flag, Number:
		return false
	}
	return true
}

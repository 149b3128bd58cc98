// Package source names places in policy files, for every part of the model.
package source

// Pos is a place in a policy file: 1-based line and column, columns in runes.
type Pos struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// Edit replaces a piece of one line. The zero Edit is none.
type Edit struct {
	Line      int    `json:"line"`
	Column    int    `json:"column"`    // of its first rune
	EndColumn int    `json:"endColumn"` // behind its last rune
	New       string `json:"new"`
}

// Text is a string from a file and where it stands.
type Text struct {
	Value string
	Pos   Pos
}

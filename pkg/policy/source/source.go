// Package source names places in policy files, for every part of the model.
package source

// Pos is a place in a policy file: 1-based line and column, columns in runes.
type Pos struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// Text is a string from a file and where it stands.
type Text struct {
	Value string
	Pos   Pos
}

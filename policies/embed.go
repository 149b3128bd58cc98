// Package policies is the shipped library: the law files, the groups, and a
// deployment of three regions with four jurisdictions that shows the layout of an
// operator's own repository.
//
// Law files and groups hold facts with their sources, as far as they could be
// checked (see verified and unverified in each file); no official gazette was
// opened. Jurisdictions hold an operator's choices. Nothing here is legal advice.
package policies

import (
	"embed"
	"io/fs"
)

// FS holds the whole library by its paths in this directory.
//
//go:embed *.yaml jwks.json law jurisdictions
var FS embed.FS

//go:embed groups.yaml law
var shipped embed.FS

// Library returns the whole library, deployment and jurisdictions included.
func Library() fs.FS { return FS }

// Shipped returns what every installation gets: law files and groups.
func Shipped() fs.FS { return shipped }

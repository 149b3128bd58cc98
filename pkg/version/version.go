// Package version says which Domicile this is. Every binary of one build says
// the same.
package version

import (
	"cmp"
	"runtime/debug"
)

// linked is set by the linker: -X …/pkg/version.linked=v1.2.3.
var linked string

// String returns the version that the linker set, else what the Go tool knows,
// else "unknown".
func String() string {
	if info, ok := debug.ReadBuildInfo(); ok && linked == "" {
		return cmp.Or(info.Main.Version, "unknown")
	}
	return cmp.Or(linked, "unknown")
}

// Package trusted names the headers that say who is calling and from where: only
// Envoy and its agent may write them.
package trusted

import "strings"

// The headers.
const (
	Prefix = "x-domicile-" // of all of them
	Home   = "x-domicile-home"
	Issuer = "x-domicile-issuer"
	User   = "x-domicile-user"
	Entry  = "x-domicile-entry"
)

// FromToken tells of the headers that are absent until a token is verified.
func FromToken(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, Prefix) && name != Entry
}

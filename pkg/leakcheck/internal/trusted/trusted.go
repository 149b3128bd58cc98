// Package trusted names the headers that say who is calling and from where: only
// Envoy and its agent may write them.
package trusted

import (
	"slices"
	"strings"
)

// The headers.
const (
	Prefix = "x-domicile-" // of all of them
	Home   = "x-domicile-home"
	Issuer = "x-domicile-issuer"
	User   = "x-domicile-user"
	Entry  = "x-domicile-entry"
	// What a verified pin says.
	PinHome       = "x-domicile-pin-home"
	PinUser       = "x-domicile-pin-user"
	PinEpoch      = "x-domicile-pin-epoch"
	PinIssuer     = "x-domicile-pin-issuer"
	PinCredential = "x-domicile-pin-credential" // #nosec G101 -- the name of a header
)

// FromToken tells of the headers that are absent until a token is verified.
func FromToken(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, Prefix) && name != Entry
}

// Says tells of the headers that say who is calling, or from where.
func Says(name string) bool {
	return slices.Contains([]string{Home, Issuer, User, Entry, PinHome, PinUser, PinEpoch, PinIssuer, PinCredential}, strings.ToLower(name))
}

// Label names a value of a header for people.
func Label(header, key string) string {
	switch header {
	case Home:
		return "home " + key
	case Issuer:
		return "issuer " + key
	case Entry:
		return "entry " + key
	case PinHome:
		return "pin home " + key
	case PinEpoch:
		return "pin epoch " + key
	case PinIssuer:
		return "pin issuer " + key
	}
	return header + " " + key
}

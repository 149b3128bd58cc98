package topology_test

import (
	"testing"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// What was fetched for an issuer replaces no keys that stand in the bundle: an issuer
// whose keys were fetched until the last policy may still be remembered with them.
func TestT06_FetchedKeysAreOfIssuersThatAreFetched(t *testing.T) {
	issuers := []topology.Issuer{
		{Issuer: "fetched", Remote: &topology.RemoteKeys{}},
		{Issuer: "inline", JWKS: "signed"},
		{Issuer: "secret", Secret: &topology.Secret{}},
		{Issuer: "nameless", Nameless: true, JWKS: "signed"},
	}
	top := &topology.Topology{Issuers: issuers}
	keys := map[string]string{}
	for _, i := range issuers {
		keys[i.Issuer] = "fetched"
	}
	for o, want := range map[*topology.Overlay][]string{
		{Keys: keys}:                   {"fetched", "signed", "", "signed"},
		{Keys: keys, JWKS: "stand-in"}: {"stand-in", "stand-in", "", "signed"},
	} {
		for n, i := range top.With(o).Issuers {
			if i.JWKS != want[n] {
				t.Errorf("%+v: keys of %s are %q, want %q", o, i.Issuer, i.JWKS, want[n])
			}
		}
	}
}

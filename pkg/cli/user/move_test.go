package user

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/agent/moves"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/fence"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// Each agent of a region feeds Envoys of its own: a move that left one out would leave
// its Envoys letting the old tokens in.
func TestT07_EveryAgentOfARegionIsAsked(t *testing.T) {
	ca, err := identity.NewAuthority(topology.TrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(id identity.ID) identity.PEM {
		t.Helper()
		p, err := ca.Issue(id, identity.Options{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	certs := t.TempDir()
	if err := issue(identity.ID{Region: identity.NoRegion, Role: identity.RoleOperator, Name: "o"}).Save(certs); err != nil {
		t.Fatal(err)
	}
	var asked [2]atomic.Int64
	var envoys [2]atomic.Pointer[fence.Spread]
	m := move{s: &session.Session{Env: session.Env{Err: io.Discard, Getenv: func(string) string { return "" }}}, user: "amal", from: "SA", to: "TR", trustDomain: topology.TrustDomain}
	m.access.Cert, m.access.Key, m.access.CA = filepath.Join(certs, identity.CertFile), filepath.Join(certs, identity.KeyFile), filepath.Join(certs, identity.CAFile)
	m.Regions = []string{"sa"}
	var flags []string
	for n := range asked {
		envoys[n].Store(&fence.Spread{Connected: 1, Current: 1})
		agent := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked[n].Add(1)
			json.NewEncoder(w).Encode(moves.Done{Envoys: *envoys[n].Load()})
		}))
		p := issue(identity.ID{Region: "sa", Role: identity.RoleAgent, Name: "a"})
		if agent.TLS, err = identity.ServerTLS(p, topology.TrustDomain, identity.Role(identity.RoleOperator)); err != nil {
			t.Fatal(err)
		}
		agent.StartTLS()
		t.Cleanup(agent.Close)
		flags = append(flags, "sa="+agent.Listener.Addr().String())
	}
	if err := m.find(&cobra.Command{}, append(flags, flags[0])); err != nil {
		t.Fatal(err)
	}
	if err := m.fence(t.Context()); err != nil || asked[0].Load() != 1 || asked[1].Load() != 1 || len(m.Fenced) != 2 {
		t.Fatalf("asked %d and %d times: %+v, %v", asked[0].Load(), asked[1].Load(), m.Fenced, err)
	}
	for want, s := range map[string]fence.Spread{"no Envoy is connected": {}, "1 of 2 Envoys": {Connected: 2, Current: 1}} {
		envoys[1].Store(&s)
		if err := m.fence(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
}

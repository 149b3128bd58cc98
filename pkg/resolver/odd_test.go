package resolver_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/token"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// What is odd is refused here, whatever the server that could read it would say.
func TestOddTokensAreShownToNobody(t *testing.T) {
	b := newBench(t)
	b.enter(t, "amal", "SA")
	bearer := func(tok string) resolver.Request {
		return resolver.Request{Headers: map[string]string{"authorization": "Bearer " + tok}}
	}
	for _, odd := range []string{"syt amal", " syt", "syt\tamal", "syt\namal", "syt\x00", "syt%41", `syt"`, "syt李", "syt;a", strings.Repeat("x", token.MaxToken+1)} {
		b.server.accounts[odd] = resolver.Account{User: "amal"}
		if a := b.Resolve(t.Context(), bearer(odd)); a.Reason != residency.BadToken {
			t.Errorf("%.20q: %+v", odd, a)
		}
	}
	if len(b.server.asked) > 0 {
		t.Errorf("the server was asked %d times", len(b.server.asked))
	}
	for _, good := range []string{"syt_azAZ09-._~+/=:", strings.Repeat("x", token.MaxToken)} {
		b.server.accounts[good] = resolver.Account{User: "amal"}
		if a := b.Resolve(t.Context(), bearer(good)); a.Home != "SA" {
			t.Errorf("%.20q: %+v", good, a)
		}
	}
}

func TestUsersThatCannotStandInAHeader(t *testing.T) {
	b := newBench(t)
	for user, ok := range map[string]bool{
		"@amal:example.org": true, "李": true, "a b": true, strings.Repeat("x", 512): true, "~": true,
		"": false, " a": false, "a ": false, "a\n": false, "\x1fa": false, "a\x7f": false, "\xff": false, "a\ufffd": false, strings.Repeat("x", 513): false,
	} {
		b.server.accounts["syt"] = resolver.Account{User: user, Home: "SA"}
		a := b.Resolve(t.Context(), resolver.Request{Headers: map[string]string{"authorization": "Bearer syt"}})
		if (a.Home == "SA") != ok || !ok && a.Reason != residency.BadToken {
			t.Errorf("%.20q: %+v", user, a)
		}
	}
}

func TestKeysThatAreNotThere(t *testing.T) {
	b := newBench(t)
	exp := fmt.Sprintf(`"exp":%d`, now.Add(time.Hour).Unix())
	q := query(box(b.boxedToken(t, `{"iss":"`+fetched+`","sub":"x","home":"SA",`+exp+`}`)))
	change := func(edit func(*topology.Issuer)) {
		edit(&b.top.Issuers[1])
		b.policy, _ = resolver.NewPolicy(b.policy.Table, b.top, here, nil)
	}
	change(func(i *topology.Issuer) { i.JWKS, i.HomeClaim = b.top.Issuers[0].JWKS, "home" })
	if a := b.Resolve(t.Context(), q); a.Home != "SA" {
		t.Errorf("fetched keys: %+v", a)
	}
	change(func(i *topology.Issuer) { i.JWKS = "" })
	if a := b.Resolve(t.Context(), q); a.Reason != residency.NotDecidable {
		t.Errorf("keys that will come: %+v", a)
	}
	change(func(i *topology.Issuer) { i.Remote = nil })
	if a := b.Resolve(t.Context(), q); a.Reason != residency.BadToken {
		t.Errorf("keys that never come: %+v", a)
	}
}

func TestProposalsNeedThePolicysWord(t *testing.T) {
	b := newBench(t)
	b.address = "SA"
	q := query("/ws?token=" + b.openIMToken(t, b.secret, nil))
	if a := b.Resolve(t.Context(), q); a.Proposal != "SA" {
		t.Errorf("%+v", a)
	}
	b.Propose = nil
	if a := b.Resolve(t.Context(), q); a.Proposal != "" || a.Reason != residency.NoHome {
		t.Errorf("no file: %+v", a)
	}
	b.Propose = func(resolver.Request, topology.GeoIP) string { return "SA" }
	b.top.GeoIP = nil
	if a := b.Resolve(t.Context(), q); a.Proposal != "" || a.Reason != residency.NoHome {
		t.Errorf("not in the policy: %+v", a)
	}
}

func TestNamesOfPins(t *testing.T) {
	b := newBench(t)
	b.enter(t, "amal", "SA")
	q := withHeader(query("/ws?token="+b.openIMToken(t, b.secret, nil)), "cookie", "domicile-pin=x; p=y")
	for name, c := range map[string]struct {
		pins, want topology.Pins
		cookie     string
	}{
		"default":     {topology.Pins{}, topology.Pins{Cookie: "domicile-pin", Header: "domicile-pin"}, "p=y"},
		"header only": {topology.Pins{Header: "h"}, topology.Pins{Header: "h"}, ""},
		"cookie only": {topology.Pins{Cookie: "p"}, topology.Pins{Cookie: "p"}, "domicile-pin=x"},
	} {
		b.top.Pins = &c.pins
		if a := b.Resolve(t.Context(), q); a.Names != c.want || a.Cookie != c.cookie || a.StalePin != (c.cookie != "") {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

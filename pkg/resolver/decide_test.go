package resolver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/resolver"
)

const (
	idp   = "https://id.example.com"
	other = "https://other.example.com"
)

// table has two issuers: idp for SA, TR and US-CA, other for DE.
func table(t interface{ Fatal(...any) }) *residency.Table {
	tab, err := residency.New(residency.Spec{
		Issuers: []residency.Issuer{{Issuer: idp, Homes: []string{"SA", "TR", "US-CA"}}, {Issuer: other, Homes: []string{"DE"}}},
		Epochs:  map[string]uint64{"SA": 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestDecide(t *testing.T) {
	tab := table(t)
	down := resolver.Finding{Failed: true}
	dir := func(home string) resolver.Finding { return resolver.Finding{Home: home} }
	type e = resolver.Evidence
	type v = resolver.Verdict
	for name, c := range map[string]struct {
		e    e
		want v
	}{
		"nothing":                   {e{}, v{Reason: residency.NoIdentity}},
		"nobody vouches":            {e{User: "u", Token: "SA"}, v{Reason: residency.NoIdentity}},
		"no user":                   {e{Issuer: idp, Token: "SA"}, v{Reason: residency.BadToken}},
		"silence":                   {e{Issuer: idp, User: "u"}, v{Reason: residency.NoHome}},
		"token":                     {e{Issuer: idp, User: "u", Token: "SA"}, v{Home: "SA", Source: resolver.SourceToken}},
		"directory":                 {e{Issuer: idp, User: "u", Directory: dir("TR")}, v{Home: "TR", Source: resolver.SourceDirectory}},
		"declared":                  {e{Issuer: idp, User: "u", Declared: "SA"}, v{Home: "SA", Source: resolver.SourceDeclared}},
		"token and directory agree": {e{Issuer: idp, User: "u", Token: "SA", Directory: dir("SA")}, v{Home: "SA", Source: resolver.SourceToken}},
		"they do not":               {e{Issuer: idp, User: "u", Token: "SA", Directory: dir("TR")}, v{Reason: residency.NoHome}},
		"directory before sign-up":  {e{Issuer: idp, User: "u", Directory: dir("TR"), Declared: "SA"}, v{Home: "TR", Source: resolver.SourceDirectory}},
		"token before sign-up":      {e{Issuer: idp, User: "u", Token: "TR", Declared: "SA"}, v{Home: "TR", Source: resolver.SourceToken}},
		"directory down":            {e{Issuer: idp, User: "u", Directory: down}, v{Reason: residency.NotDecidable}},
		"down, but declared":        {e{Issuer: idp, User: "u", Directory: down, Declared: "SA"}, v{Reason: residency.NotDecidable}},
		"down, but a token":         {e{Issuer: idp, User: "u", Token: "SA", Directory: down}, v{Reason: residency.NotDecidable}},
		"address alone":             {e{Issuer: idp, User: "u", Proposed: "SA"}, v{Reason: residency.NoHome, Proposal: "SA"}},
		"address of another home":   {e{Issuer: idp, User: "u", Proposed: "DE"}, v{Reason: residency.NoHome}},
		"address against directory": {e{Issuer: idp, User: "u", Directory: dir("TR"), Proposed: "SA"}, v{Home: "TR", Source: resolver.SourceDirectory}},
		"token not entitled":        {e{Issuer: idp, User: "u", Token: "DE"}, v{Reason: residency.IssuerNotEntitled}},
		"nor by the directory":      {e{Issuer: idp, User: "u", Token: "DE", Directory: dir("SA")}, v{Reason: residency.IssuerNotEntitled}},
		"directory not entitled":    {e{Issuer: idp, User: "u", Directory: dir("DE")}, v{Reason: residency.IssuerNotEntitled}},
		"declared not entitled":     {e{Issuer: other, User: "u", Declared: "SA"}, v{Reason: residency.IssuerNotEntitled}},
		"a state is not its union":  {e{Issuer: idp, User: "u", Declared: "US"}, v{Reason: residency.IssuerNotEntitled}},
		"lower case":                {e{Issuer: idp, User: "u", Token: "sa"}, v{Reason: residency.IssuerNotEntitled}},
		"unknown issuer":            {e{Issuer: "https://evil.example", User: "u", Directory: dir("SA")}, v{Reason: residency.IssuerNotEntitled}},
		"unknown issuer, silent":    {e{Issuer: "https://evil.example", User: "u"}, v{Reason: residency.IssuerNotEntitled}},
	} {
		if got := resolver.Decide(tab, c.e); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	if got := resolver.Decide(nil, e{Issuer: idp, User: "u", Token: "SA"}); got != (v{Reason: residency.NotDecidable}) {
		t.Errorf("no table: %+v", got)
	}
	if got := resolver.Decide(new(residency.Table), e{Issuer: idp, User: "u", Token: "SA"}); got.Home != "" || got.Reason == "" {
		t.Errorf("the zero table: %+v", got)
	}
}

// Whatever is put together: a home is one that the issuer may name and that a source
// other than the address named, and everything else is refused with a reason.
func TestNoEvidenceMakesAHomeThatIsNotEntitled(t *testing.T) {
	tab := table(t)
	entitled := map[string]string{"SA": idp, "TR": idp, "US-CA": idp, "DE": other}
	rapid.Check(t, func(t *rapid.T) {
		home := rapid.OneOf(rapid.SampledFrom([]string{"", "", "SA", "TR", "US-CA", "DE", "US", "sa", "SA ", "QA"}), rapid.String())
		e := resolver.Evidence{
			Issuer: rapid.SampledFrom([]string{"", idp, other, "https://evil.example"}).Draw(t, "issuer"),
			User:   rapid.SampledFrom([]string{"", "amal"}).Draw(t, "user"),
			Token:  home.Draw(t, "token"),
			Directory: resolver.Finding{
				Home: home.Draw(t, "directory"), Failed: rapid.Bool().Draw(t, "down"),
			},
			Declared: home.Draw(t, "declared"),
			Proposed: home.Draw(t, "proposed"),
		}
		v := resolver.Decide(tab, e)
		if (v.Home == "") == (v.Reason == "") {
			t.Fatalf("neither home nor reason, or both: %+v", v)
		}
		if v.Proposal != "" && (v.Home != "" || v.Proposal != e.Proposed || entitled[v.Proposal] != e.Issuer) {
			t.Fatalf("proposal: %+v", v)
		}
		if v.Home == "" {
			return
		}
		if entitled[v.Home] != e.Issuer || e.User == "" || e.Directory.Failed {
			t.Fatalf("%+v gives %+v", e, v)
		}
		want := map[resolver.Source]string{
			resolver.SourceToken: e.Token, resolver.SourceDirectory: e.Directory.Home, resolver.SourceDeclared: e.Declared,
		}[v.Source]
		if want != v.Home || e.Token != "" && e.Token != v.Home || e.Directory.Home != "" && e.Directory.Home != v.Home {
			t.Fatalf("%+v gives %+v", e, v)
		}
	})
}

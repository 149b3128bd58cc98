package requests

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

func algebra(t *testing.T) *Algebra {
	t.Helper()
	table, err := residency.New(residency.Spec{Routes: []residency.Route{{Match: residency.Match{Host: "named.example", Method: "PURGE"}}}})
	if err != nil {
		t.Fatal(err)
	}
	top := &topology.Topology{TrustDomain: "d.test", Regions: []topology.Region{
		{Name: "eu", Host: "EU.example"}, {Name: "eu-west", Host: "west.example"}, {Name: "me", Host: "me.example"},
	}}
	return New(table, top, topology.Region{Name: "eu", Aliases: []string{"127.0.0.1:80"}})
}

// accepts runs the automaton over a text.
func accepts(l *Language, text string) bool {
	at := initial
	for _, r := range text {
		s := above
		if r == '\t' {
			s = 0
		} else if r >= ' ' && r < 0x7f {
			s = 1 + int(r-' ')
		}
		at = l.step(at, s)
	}
	return l.accepts[at]
}

var expressions = []string{
	`/v1/messages(?:/.*)?`, `/v1/profiles/[^/]+`, `[^?]*(?:[;\\#]|%(?:25|2[eE])).*`, `(?i)eu\.example(?::[0-9]*)?`, ``, `.*`, `a|b|`,
	`(ab)*c{2,3}`, `[^\x21-\x7e]`, `^/x$`, `/[a-z0-9-]+/(?:gateway|peer)/[^/]+`, `.*=\s*"?eyJ[A-Za-z0-9_-]+.*`, `\d+x?`,
}

// TestLanguageIsTheRegularExpression compares with package regexp on texts that
// are made near the expressions.
func TestLanguageIsTheRegularExpression(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"/v1", "/messages", "/profiles", "/", "a", "b", "ab", "c", "cc", "%25", "%2e", ";", "?", "EU.example", ":80",
		"gateway", "peer", "=", "eyJx", "é", " ", "\t", "x", "1", "#", ""}
	for _, expr := range expressions {
		l := compile(expr, false)
		if l == nil {
			t.Fatalf("%q does not compile", expr)
		}
		re := regexp.MustCompile(`^(?:` + expr + `)$`)
		for range 3000 {
			text := ""
			for range random.IntN(6) {
				text += pieces[random.IntN(len(pieces))]
			}
			if got, want := accepts(l, text), re.MatchString(text); got != want {
				t.Fatalf("%q on %q: %v, want %v", expr, text, got, want)
			}
		}
	}
}

func TestPathLanguageIgnoresTheQuery(t *testing.T) {
	l := compile(`/v1(?:/.*)?`, true)
	for text, want := range map[string]bool{
		"/v1": true, "/v1/x": true, "/v1?a=/x": true, "/v1/?": true, "/v1x": false, "/v2?/v1": false, "?/v1": false, "/v1x?/": false,
	} {
		if accepts(l, text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestOverlapAndExceeds(t *testing.T) {
	for _, c := range []struct {
		a, b             string
		overlap, exceeds bool
	}{
		{`/v1/.*`, `/v1/messages`, true, true},
		{`/v1/messages`, `/v1/.*`, true, false},
		{`/v1/messages`, `/v1/profiles`, false, true},
		{`[a-c]+`, `[a-c]*`, true, false},
		{`.*`, `[^/]*`, true, true},
		{`[^\x00-\x{10FFFF}]`, `x`, false, false},
		{`x`, `x|y`, true, false},
	} {
		a, b := compile(c.a, false), compile(c.b, false)
		if overlap(a, b) != c.overlap || Exceeds(a, b) != c.exceeds {
			t.Errorf("%s and %s: overlap %v, exceeds %v", c.a, c.b, overlap(a, b), Exceeds(a, b))
		}
	}
}

// TestInexactLanguages: an assertion in the middle widens, so the language is
// never a proof that something is covered.
func TestInexactLanguages(t *testing.T) {
	l := compile(`a\bb|/x`, false)
	if l.exact || !Exceeds(compile(`/x`, false), l) {
		t.Error("an inexact language covers something for certain")
	}
	if compile(`[\x80-\x{ff}]`, false).exact {
		t.Error("a range that splits what is above ASCII is exact")
	}
	for _, ok := range []string{`^/x$`, `\A/x\z`} {
		if !compile(ok, false).exact {
			t.Errorf("%q is not exact", ok)
		}
	}
	if compile(`(`, false) != nil {
		t.Error("a broken expression compiles")
	}
}

func TestMembership(t *testing.T) {
	a := algebra(t)
	at := func(d Dimension, expr, atom string) Truth {
		return a.Membership(d, a.Compile(expr, false))[slices.Index(a.Atoms[d], atom)]
	}
	for _, c := range []struct {
		d          Dimension
		expr, atom string
		want       Truth
	}{
		{Host, `(?i)eu\.example(?::[0-9]*)?`, "eu.example", Yes},
		{Host, `eu\.example`, "eu.example", Maybe},
		{Host, `(?i)eu\.example(?::[0-9]*)?`, "west.example", No},
		{Host, `(?i)eu\.example(?::[0-9]*)?`, otherHost, No},
		{Host, `.*example`, otherHost, Maybe},
		{Host, `.*`, "named.example", Yes},
		{Method, `GET|HEAD`, "HEAD", Yes},
		{Method, `GET|HEAD`, "PURGE", No},
		{Method, `GET|HEAD`, otherMethod, No},
		{Method, `G.*`, otherMethod, Maybe},
		{Entry, `spiffe://d\.test/eu/.*`, "eu", Yes},
		{Entry, `spiffe://d\.test/eu/.*`, "eu-west", No},
		{Entry, `spiffe://d\.test/eu.*`, "eu-west", Yes},
		{Entry, `spiffe://d\.test/eu/gateway/[^/]+`, "eu", Maybe},
		{Entry, `spiffe://d\.test/(?:eu|me)/.*`, otherEntry, No},
		{Entry, `spiffe://d\.test/[a-z]+/.*`, otherEntry, Maybe},
		{Entry, `spiffe://other\.test/eu/.*`, "eu", No},
	} {
		if got := at(c.d, c.expr, c.atom); got != c.want {
			t.Errorf("%s in %s: %d, want %d", c.atom, c.expr, got, c.want)
		}
	}
	for _, v := range a.Membership(Host, nil) {
		if v != Maybe {
			t.Error("what cannot be read is certain")
		}
	}
}

func TestFormulas(t *testing.T) {
	a := algebra(t)
	p := a.InLanguage(a.Compile(`/x`, true))
	q := a.InLanguage(a.Compile(`/y`, true))
	for name, same := range map[string]bool{
		"and with whole":       a.And(p, a.Whole) == p,
		"and with none":        a.And(p, a.None) == a.None,
		"or with none":         a.Or(p, a.None) == p,
		"or with whole":        a.Or(p, a.Whole) == a.Whole,
		"twice not":            a.Not(a.Not(p)) == p,
		"empty and":            a.And() == a.Whole,
		"empty or":             a.Or() == a.None,
		"nested and is flat":   a.And(p, a.And(q, a.Unknown)) == a.And(p, q, a.Unknown),
		"and with itself":      a.And(p, p) == p,
		"not unknown":          a.Not(a.Unknown) == a.Unknown,
		"not whole":            a.Not(a.Whole) == a.None,
		"unreadable":           a.InLanguage(nil) == a.Unknown,
		"a full set is whole":  a.InSet(GRPC, []Truth{Yes, Yes}) == a.Whole,
		"and keeps unknown":    a.And(p, a.Unknown) != p,
		"an empty set is none": a.InSet(GRPC, []Truth{No, No}) == a.None,
	} {
		if !same {
			t.Error(name)
		}
	}
}

// TestDecide compares the answers with brute force over sampled requests: what
// happens to a sample must have been announced.
func TestDecide(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	paths := []string{`/v1/messages(?:/.*)?`, `/v1(?:/.*)?`, `/v1/profiles/[^/]+`, `/ws`, `.*`, `/v1/login(?:/.*)?`, `/[^/]*`}
	samples := []string{"/v1/messages", "/v1/messages/1", "/v1/messagesx", "/v1", "/v1/profiles/u", "/v1/profiles/", "/ws", "/", "/v1/login?x", "", "/x?/ws"}
	for range 150 {
		a := algebra(t)
		var forms []*Formula
		var judges []func(path string, method string) bool
		pick := func() (*Formula, func(path, method string) bool) {
			l := a.Compile(paths[random.IntN(len(paths))], true)
			f, get := a.InLanguage(l), random.IntN(3) == 0
			negate := random.IntN(4) == 0
			if get {
				f = a.And(f, a.InSet(Method, a.Membership(Method, a.Compile("GET", false))))
			}
			if negate {
				f = a.Not(f)
			}
			return f, func(path, method string) bool {
				return (accepts(l, path) && (!get || method == "GET")) != negate
			}
		}
		n := 2 + random.IntN(3)
		for range 2*n + 1 {
			f, j := pick()
			forms, judges = append(forms, f), append(judges, j)
		}
		scope, list, classes := forms[0], forms[1:n+1], forms[n+1:]
		answer := a.Decide(scope, list, classes)
		first := func(js []func(string, string) bool, path, method string) int {
			return slices.IndexFunc(js, func(j func(string, string) bool) bool { return j(path, method) })
		}
		happened := map[pair]bool{}
		for _, path := range samples {
			for _, method := range []string{"GET", "PUT"} {
				item, class := first(judges[1:n+1], path, method), first(judges[n+1:], path, method)
				if !judges[0](path, method) || item < 0 {
					continue
				}
				happened[pair{item, class}] = true
				if !slices.ContainsFunc(answer[item], func(p Possibility) bool { return p.Class == class }) {
					t.Fatalf("%s %q is taken by %d with class %d, announced %v", method, path, item, class, answer)
				}
			}
		}
		announced := 0
		for _, list := range answer {
			announced += len(list)
		}
		if announced > len(happened)+6 { // the samples miss a few odd combinations
			t.Errorf("%d combinations announced, %d seen: %v", announced, len(happened), answer)
		}
	}
}

func TestDecideNamesHostsAndEntries(t *testing.T) {
	a := algebra(t)
	onHost := a.InSet(Host, a.Membership(Host, a.Compile(HostRegex("eu.example"), false)))
	fromMe := a.InSet(Entry, a.Membership(Entry, a.Compile(`spiffe://d\.test/me/.*`, false)))
	got := a.Decide(a.Whole, []*Formula{a.And(onHost, fromMe), a.Whole}, []*Formula{a.Whole})
	if h := strings.Join(got[0][0].Hosts, " "); h != "eu.example" {
		t.Errorf("hosts %s", h)
	}
	if e := strings.Join(got[0][0].Entries, " "); e != "me" {
		t.Errorf("entries %s", e)
	}
	if len(got[1]) != 1 || len(got[1][0].Hosts) != len(a.Atoms[Host]) || len(got[1][0].Entries) != len(a.Atoms[Entry]) {
		t.Errorf("the rest: %v", got[1])
	}
	if none := a.Decide(a.None, []*Formula{a.Whole}, []*Formula{a.Whole}); len(none[0]) != 0 {
		t.Errorf("nothing comes here, and %v was announced", none)
	}
}

// TestTooLarge: a question that grows too large is answered by "everything".
func TestTooLarge(t *testing.T) {
	a := algebra(t)
	var list []*Formula
	for i := range 12 {
		list = append(list, a.InLanguage(a.Compile(`.*a.{`+string(rune('1'+i/2))+`}b.*c.{`+string(rune('1'+i%2))+`}d.*`, false)))
	}
	got := a.Decide(a.Whole, list, []*Formula{a.None})
	for i := range got {
		if len(got[i]) != 2 {
			t.Fatalf("item %d: %v", i, got[i])
		}
	}
}

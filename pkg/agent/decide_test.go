package agent

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/domicile-dev/domicile/pkg/identity"
)

func TestDecide(t *testing.T) {
	q := func(path, user string) question {
		return question{class: "profile", template: "/v1/profiles/{user}", policy: "sha256:1", home: "SA", user: user, path: path}
	}
	for name, c := range map[string]struct {
		q    question
		want bool
	}{
		"owner":                {q("/v1/profiles/amal", "amal"), true},
		"owner with a query":   {q("/v1/profiles/amal?fields=x", "amal"), true},
		"owner, encoded":       {q("/v1/profiles/%61mal", "amal"), true},
		"owner, not ASCII":     {q("/v1/profiles/%E6%9D%8E", "李"), true},
		"owner with an at":     {q("/v1/profiles/@amal:sa", "@amal:sa"), true},
		"another user":         {q("/v1/profiles/deniz", "amal"), false},
		"other case":           {q("/v1/profiles/Amal", "amal"), false},
		"prefix":               {q("/v1/profiles/ama", "amal"), false},
		"longer":               {q("/v1/profiles/amal2", "amal"), false},
		"no user in the path":  {q("/v1/profiles/", ""), false},
		"empty both":           {q("/v1/profiles/", "amal"), false},
		"encoded slash":        {q("/v1/profiles/a%2Fb", "a/b"), false},
		"encoded backslash":    {q("/v1/profiles/a%5Cb", `a\b`), false},
		"encoded twice":        {q("/v1/profiles/%2561mal", "%61mal"), false},
		"encoded twice, owner": {q("/v1/profiles/%2561mal", "amal"), false},
		"NUL":                  {q("/v1/profiles/amal%00", "amal\x00"), false},
		"newline":              {q("/v1/profiles/amal%0a", "amal\n"), false},
		"broken UTF-8":         {q("/v1/profiles/%ff", "\xff"), false},
		"broken escape":        {q("/v1/profiles/%zz", "%zz"), false},
		"path parameter":       {q("/v1/profiles/amal;x=y", "amal;x=y"), false},
		"dot segment":          {q("/v1/profiles/..", ".."), false},
		"encoded dot segment":  {q("/v1/profiles/%2e%2e", ".."), false},
		"one segment more":     {q("/v1/profiles/amal/x", "amal"), false},
		"slash at the end":     {q("/v1/profiles/amal/", "amal"), false},
		"double slash":         {q("/v1//profiles/amal", "amal"), false},
		"another path":         {q("/v2/profiles/amal", "amal"), false},
		"absolute form":        {q("http://x/v1/profiles/amal", "amal"), false},
		"no path":              {q("", "amal"), false},
		"owner by pin":         {byPin("/v1/profiles/amal", "amal"), true},
		"owner by pin, 李":      {byPin("/v1/profiles/%E6%9D%8E", "李"), true},
		"another by pin":       {byPin("/v1/profiles/deniz", "amal"), false},
		"nobody by pin":        {question{class: "profile", template: "/v1/profiles/{user}", policy: "sha256:1", home: "SA", hash: "amal", path: "/v1/profiles/amal"}, false},
		"token before pin":     {question{class: "profile", template: "/v1/profiles/{user}", policy: "sha256:1", home: "SA", user: "deniz", hash: identity.UserHash(hashKey, "amal"), path: "/v1/profiles/amal"}, false},
		"zero":                 {question{}, false},
		"no class":             {question{template: "/a/{user}", policy: "p", home: "SA", user: "u", path: "/a/u"}, false},
		"no policy":            {question{class: "c", template: "/a/{user}", home: "SA", user: "u", path: "/a/u"}, false},
		"no home":              {question{class: "c", template: "/a/{user}", policy: "p", user: "u", path: "/a/u"}, false},
		"no template":          {question{class: "c", policy: "p", home: "SA", user: "u", path: "/a/u"}, false},
		"template, no user":    {question{class: "c", template: "/a/u", policy: "p", home: "SA", user: "u", path: "/a/u"}, false},
		"template, two users":  {question{class: "c", template: "/{user}/{user}", policy: "p", home: "SA", user: "u", path: "/x/u"}, false},
		"template, other name": {question{class: "c", template: "/{app}/{user}", policy: "p", home: "SA", user: "u", path: "/x/u"}, true},
		"other name is bad":    {question{class: "c", template: "/{app}/{user}", policy: "p", home: "SA", user: "u", path: "/%2f/u"}, false},
	} {
		if got := decide(c.q, hashKey); got != c.want {
			t.Errorf("%s: decide = %v, want %v", name, got, c.want)
		}
	}
}

func TestWithoutKeyAPinTellsNobody(t *testing.T) {
	if q := byPin("/v1/profiles/amal", "amal"); !decide(q, hashKey) || decide(q, nil) || decide(q, []byte("other")) {
		t.Error("the key does not count")
	}
}

// A pin beside a token that names a home was compared with no token: were its user
// the caller where the token names none, whoever has it would be that user.
func TestT07_APinBesideATokensHomeTellsNobody(t *testing.T) {
	ask := func(headers map[string]string) bool {
		headers[HeaderPolicy], headers[HeaderPinHome], headers[HeaderPinUser] = "sha256:1", "SA", identity.UserHash(hashKey, "amal")
		return decide(read(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			ContextExtensions: map[string]string{ContextClass: "profile", ContextTemplate: "/v1/profiles/{user}"},
			Request:           &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Headers: headers, Path: "/v1/profiles/amal"}},
		}}), hashKey)
	}
	if !ask(map[string]string{}) {
		t.Error("a pin that the route has honoured does not count")
	}
	if ask(map[string]string{HeaderHome: "SA"}) {
		t.Error("a pin tells the user of a token that names none")
	}
	if ask(map[string]string{HeaderHome: "SA", HeaderUser: "deniz"}) || !ask(map[string]string{HeaderHome: "SA", HeaderUser: "amal"}) {
		t.Error("the token's user does not count")
	}
}

var hashKey = []byte("k")

// byPin is a question of a user whose token Envoy cannot read.
func byPin(path, user string) question {
	return question{class: "profile", template: "/v1/profiles/{user}", policy: "sha256:1", home: "SA", hash: identity.UserHash(hashKey, user), path: path}
}

func FuzzSubjectOf(f *testing.F) {
	f.Add("/v1/profiles/amal")
	f.Add("/v1/profiles/%2e%2e?x")
	f.Fuzz(func(t *testing.T, path string) {
		u, ok := subjectOf("/v1/profiles/{user}", path)
		if !ok {
			return
		}
		if _, again := decodeSegment(u); !again {
			t.Errorf("subject %q of %q would be read differently by a second decoder", u, path)
		}
	})
}

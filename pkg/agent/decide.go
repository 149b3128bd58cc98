package agent

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// question is one ext_authz call, reduced to what the decision needs.
type question struct {
	class, template, policy string // from the route
	home, user              string // from the verified token; set by Envoy, never by the client
	hash                    string // of the user, from a verified pin; counts where user is empty
	path                    string // as Envoy routed it, with the query
}

// decide tells whether the caller is the user whom the path names. The zero
// question is refused. Key is that of identity.UserHash; without it a pin alone does
// not tell who calls.
func decide(q question, key []byte) bool {
	if q.class == "" || q.template == "" || q.policy == "" || q.home == "" {
		return false
	}
	subject, ok := subjectOf(q.template, q.path)
	switch {
	case !ok:
		return false
	case q.user != "":
		return subject == q.user
	}
	return len(key) > 0 && identity.IsUserHash(q.hash) && identity.UserHash(key, subject) == q.hash
}

// subjectOf reads the user from a path by a template such as
// /v1/profiles/{user}: segment by segment, the user's percent-decoded once and
// strictly. A path that others could read differently has no subject.
func subjectOf(template, path string) (string, bool) {
	path, _, _ = strings.Cut(path, "?")
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) || len(want) < 2 || want[0] != "" || got[0] != "" {
		return "", false
	}
	user, found := "", false
	for i, w := range want {
		switch {
		case w == "{user}" && found:
			return "", false
		case w == "{user}":
			u, ok := decodeSegment(got[i])
			if !ok {
				return "", false
			}
			user, found = u, true
		case strings.HasPrefix(w, "{") && strings.HasSuffix(w, "}"):
			if _, ok := decodeSegment(got[i]); !ok {
				return "", false
			}
		case w != got[i]:
			return "", false
		}
	}
	return user, found
}

// decodeSegment percent-decodes one path segment. What decodes to a separator, a
// dot segment, a control character, another escape or broken UTF-8 is refused: a
// backend may read it as another path.
func decodeSegment(s string) (string, bool) {
	u, err := url.PathUnescape(s)
	if err != nil || u == "" || u == "." || u == ".." || !utf8.ValidString(u) || strings.ContainsAny(u, "/\\%;#?") {
		return "", false
	}
	if strings.ContainsFunc(u, unicode.IsControl) {
		return "", false
	}
	return u, true
}

package pattern_test

import (
	"regexp"
	"testing"

	"github.com/domicile-dev/domicile/pkg/envoy/internal/pattern"
)

const token = "eyJa.eyJb.c"

func TestTokensElsewhere(t *testing.T) {
	query := []string{"token", "to", "v"}
	cookies := []string{"domicile-pin", "s-id"}
	for _, c := range []struct {
		expression, in string
		want           bool
	}{
		{pattern.TokenInQuery(nil), "/a?token=" + token, true},
		{pattern.TokenInQuery(query), "/a?token=" + token, false},
		{pattern.TokenInQuery(query), "/a?to=" + token, false},
		{pattern.TokenInQuery(query), "/a?x=1&v=" + token + "&y", false},
		{pattern.TokenInQuery(query), "/a?toke=" + token, true},
		{pattern.TokenInQuery(query), "/a?t=" + token, true},
		{pattern.TokenInQuery(query), "/a?tokens=" + token, true},
		{pattern.TokenInQuery(query), "/a?x=1&access_token=" + token + "&y=2", true},
		{pattern.TokenInQuery(query), "/a?token=" + token + "&b=" + token, true},
		{pattern.TokenInQuery(query), "/a?=" + token, true},
		{pattern.TokenInQuery(query), "/a?b=eyJnot", false},
		{pattern.TokenInCookies(nil), "a=" + token, true},
		{pattern.TokenInCookies(cookies), "domicile-pin=" + token, false},
		{pattern.TokenInCookies(cookies), "a=b; domicile-pin=" + token + "; c=d", false},
		{pattern.TokenInCookies(cookies), "s-id=" + token, false},
		{pattern.TokenInCookies(cookies), "s_id=" + token, true},
		{pattern.TokenInCookies(cookies), "domicile_pin=" + token, true},
		{pattern.TokenInCookies(cookies), "domicile-pi=" + token, true},
		{pattern.TokenInCookies(cookies), "domicile-pins=" + token, true},
		{pattern.TokenInCookies(cookies), "domicile-pin=" + token + "; s=" + token, true},
		{pattern.Query("token") + "=.*", "/?%74oken=1", true},
		{pattern.Query("token") + "=.*", "/?a=b&t%6Fken=1", true},
		{pattern.Query("token") + "=.*", "/?atoken=1", false},
		{pattern.Query("token") + "=.*", "/token=1", false},
		{pattern.Cookie("s") + ".*", "a=b,s=1", true},
		{pattern.Cookie("s") + ".*", "as=1", false},
	} {
		if got := regexp.MustCompile("^(?:" + c.expression + ")$").MatchString(c.in); got != c.want {
			t.Errorf("%s on %s: %v", c.expression, c.in, got)
		}
	}
}

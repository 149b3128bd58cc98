package envoy_test

import (
	"testing"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/residency"
)

// fenceOf keeps out by the value of a header, for the reason given; the others pass.
func fenceOf(t *testing.T, header string, users map[string]string) *httprbacv3.RBAC {
	t.Helper()
	packed := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	act := func(name string, a rbacv3.RBAC_Action) *xdsmatcherv3.Matcher_OnMatch {
		return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
			Name: name, TypedConfig: packed(&rbacv3.Action{Name: name, Action: a}),
		}}}
	}
	m := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	for user, why := range users {
		m[user] = act(why, rbacv3.RBAC_DENY)
	}
	return &httprbacv3.RBAC{Matcher: &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input:    &xdscorev3.TypedExtensionConfig{Name: "h", TypedConfig: packed(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: header})},
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: m}},
		}},
		OnNoMatch: act("allow", rbacv3.RBAC_ALLOW),
	}}
}

// Who is kept out comes from the agent: before its first word everybody is, and each
// word counts for the next request, of connections that are open as well.
func TestT37_TheFenceComesFromTheAgent(t *testing.T) {
	r := newReal(t, func(r *real) { r.fence = make(chan proto.Message) })
	token := "Bearer " + r.token(homely, map[string]any{"home": "DE"})
	far := "Bearer " + r.token(homely, map[string]any{"home": "SA"})
	secret := "Bearer syt_YW1hbA_abcdefghijklmnopqrst_1a2b3c"
	pinned := []string{"Authorization: " + secret, "domicile-pin: " + r.pin("eu", "DE", opaque, secret, nil)}
	denied(residency.NotDecidable).check(t, "before the agent has answered", r.ask(t, "eu", "/v1/messages", "Authorization: "+token))

	// Both gateways ask their agents, which share the channel.
	say := func(m proto.Message) {
		for range 2 {
			select {
			case r.fence <- m:
			case <-time.After(10 * time.Second):
				t.Fatal("no Envoy asks for the fence")
			}
		}
	}
	until := func(name string, want wantOutcome, lines ...string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; {
			o := r.ask(t, "eu", "/v1/messages", lines...)
			if o.status == want.status || time.Now().After(end) {
				want.check(t, name, o)
				return
			}
		}
	}
	say(&httprbacv3.RBAC{})
	until("an empty fence", served("eu"), "Authorization: "+token)
	until("at the peer", served("sa"), "Authorization: "+far)
	say(fenceOf(t, "x-domicile-user", map[string]string{"amal": "erased"}))
	until("erased", denied(residency.Erased), "Authorization: "+token)
	until("erased, far", denied(residency.Erased), "Authorization: "+far)
	say(fenceOf(t, "x-domicile-user", map[string]string{"amal": "moved"}))
	until("moved", denied(residency.BadToken), "Authorization: "+token)
	served("eu").check(t, "a pin of nobody in the fence", r.ask(t, "eu", "/v1/messages", pinned...))
	say(fenceOf(t, "x-domicile-pin-user", map[string]string{"5e1f": "erased"}))
	until("by token again", served("eu"), "Authorization: "+token)
	denied(residency.Erased).check(t, "a pin of somebody in the fence", r.ask(t, "eu", "/v1/messages", pinned...))
}

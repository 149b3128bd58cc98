package fence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// FilterName is the name of the HTTP filter, and of its resource.
const FilterName = "domicile.fence"

// The names of the actions: they stand in the details of Envoy's answer, by which it
// gets its reason.
const (
	ActionErased = "erased"
	ActionMoved  = "moved"
)

// The headers that only Envoy sets, from tokens and pins that it has verified.
const (
	headerUser      = "x-domicile-user"
	headerIssuer    = "x-domicile-issuer"
	headerHome      = "x-domicile-home"
	headerPinUser   = "x-domicile-pin-user"
	headerPinIssuer = "x-domicile-pin-issuer"
	headerPinHome   = "x-domicile-pin-home"
)

// filter is the fence as Envoy takes it.
type filter struct {
	version  string // hash of the content
	resource *anypb.Any
}

// current returns the filter of the entries, and a channel that is closed when it is
// no longer theirs.
func (f *Fence) current() (*filter, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.filter == nil {
		made, err := makeFilter(sorted(f.live()))
		if err != nil {
			return nil, nil, err
		}
		f.filter = made
	}
	return f.filter, f.changed, nil
}

// makeFilter makes an RBAC filter that refuses the entries and lets everybody else
// by. With none it has neither rules nor a matcher, and does nothing.
func makeFilter(entries []Entry) (*filter, error) {
	b := &builder{}
	config := &httprbacv3.RBAC{}
	if len(entries) > 0 {
		config.Matcher = b.matcher(entries)
	}
	resource := b.pack(&corev3.TypedExtensionConfig{Name: FilterName, TypedConfig: b.pack(config)})
	if b.err != nil {
		return nil, fmt.Errorf("write fence filter: %w", b.err)
	}
	sum := sha256.Sum256(resource.GetValue())
	return &filter{hex.EncodeToString(sum[:]), resource}, nil
}

// builder packs messages and keeps the first error.
type builder struct{ err error }

func (b *builder) pack(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil && b.err == nil {
		b.err = err
	}
	return out
}

type onMatch = xdsmatcherv3.Matcher_OnMatch

func (b *builder) action(name string, a rbacv3.RBAC_Action) *onMatch {
	return &onMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: name, TypedConfig: b.pack(&rbacv3.Action{Name: name, Action: a}),
	}}}
}

func (b *builder) allow() *onMatch { return b.action("allow", rbacv3.RBAC_ALLOW) }

// oneOf looks a header up; what is not there goes on to otherwise, always: a branch
// without an answer would be one that other versions of Envoy may read differently.
func (b *builder) oneOf(header string, branches map[string]*onMatch, otherwise *onMatch) *onMatch {
	if len(branches) == 0 {
		return otherwise
	}
	return &onMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: b.tree(header, branches, otherwise)}}
}

func (b *builder) tree(header string, branches map[string]*onMatch, otherwise *onMatch) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: &xdscorev3.TypedExtensionConfig{
				Name: "header", TypedConfig: b.pack(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: header}),
			},
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: branches}},
		}},
		OnNoMatch: otherwise,
	}
}

// matcher looks first at the user of the token and then, where that is nobody in the
// fence, at the user of the pin.
func (b *builder) matcher(entries []Entry) *xdsmatcherv3.Matcher {
	// A token of a user who moved may name no home; the pin beside it does.
	byToken := b.users(entries, headerIssuer, func(e Entry) string { return e.User }, headerHome, headerPinHome)
	byPin := b.users(entries, headerPinIssuer, func(e Entry) string { return e.Hash }, headerPinHome)
	return b.tree(headerUser, byToken, b.oneOf(headerPinUser, byPin, b.allow()))
}

// users makes the branches of all users: by issuer, then by the homes they left.
func (b *builder) users(entries []Entry, issuer string, name func(Entry) string, homes ...string) map[string]*onMatch {
	everywhere, limited := map[string]*onMatch{}, map[string]map[string]Entry{}
	for _, e := range entries {
		if e.Issuer == "" {
			everywhere[name(e)] = b.verdict(e, homes, b.allow())
			continue
		}
		if limited[name(e)] == nil {
			limited[name(e)] = map[string]Entry{}
		}
		limited[name(e)][e.Issuer] = e
	}
	for user, issuers := range limited {
		otherwise := everywhere[user]
		if otherwise == nil {
			otherwise = b.allow()
		}
		branches := make(map[string]*onMatch, len(issuers))
		for iss, e := range issuers {
			branches[iss] = b.verdict(e, homes, otherwise)
		}
		everywhere[user] = b.oneOf(issuer, branches, otherwise)
	}
	return everywhere
}

// verdict refuses by one entry and leaves to otherwise what is not against it.
func (b *builder) verdict(e Entry, homes []string, otherwise *onMatch) *onMatch {
	if e.Erased {
		return b.action(ActionErased, rbacv3.RBAC_DENY)
	}
	left := map[string]*onMatch{}
	for _, h := range e.From {
		left[h] = b.action(ActionMoved, rbacv3.RBAC_DENY)
	}
	out := otherwise
	for _, header := range homes {
		out = b.oneOf(header, left, out)
	}
	return out
}

// resources is the list of the state-of-the-world form.
func resources(f *filter) []*anypb.Any { return []*anypb.Any{f.resource} }

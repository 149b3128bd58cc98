package resolver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/topology"
)

var (
	now     = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	hashKey = []byte("k")
)

const (
	here    = "me-riyadh"
	openIM  = "https://openim.example.com"
	matrix  = "https://matrix.example.org"
	boxed   = "https://boxed.example.com"
	fetched = "https://fetched.example.com"
)

// bench is a resolver with everything around it.
type bench struct {
	*resolver.Resolver
	top     *topology.Topology
	policy  *resolver.Policy
	homes   *directory.Memory
	server  *fakeServer
	fence   fakeFence
	address string // what it proposes
	secret  []byte
	boxKey  *ecdsa.PrivateKey // signs tokens of boxed and idp
	pins    *pin.Keys
	at      time.Time
}

type fakeServer struct {
	accounts map[string]resolver.Account
	err      error
	asked    []string // issuers
}

func (s *fakeServer) Ask(_ context.Context, i topology.Issuer, tok string) (resolver.Account, error) {
	s.asked = append(s.asked, i.Issuer)
	if s.err != nil {
		return resolver.Account{}, s.err
	}
	a, ok := s.accounts[tok]
	if !ok {
		return resolver.Account{}, resolver.ErrRefused
	}
	return a, nil
}

type fakeFence struct{ erased, moved map[string]string }

func (f fakeFence) Erased(issuer, user string) bool      { return f.erased[user] == issuer }
func (f fakeFence) Moved(issuer, user, home string) bool { return f.moved[user] == issuer+" "+home }

func newKeys(t testing.TB, kid string) (*pin.Keys, string) {
	t.Helper()
	data, err := pin.NewKey(kid, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	k, err := pin.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.Public()
	if err != nil {
		t.Fatal(err)
	}
	return k, string(public)
}

func jwks(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	k, err := jwk.PublicKeyOf(key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{at: now, homes: directory.NewMemory(), server: &fakeServer{accounts: map[string]resolver.Account{}}, fence: fakeFence{map[string]string{}, map[string]string{}}}
	var pinPublic string
	var err error
	if b.boxKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	boxPublic := jwks(t, b.boxKey)
	b.pins, pinPublic = newKeys(t, "pin")
	b.secret = []byte(strings.Repeat("s", 32))
	b.top = &topology.Topology{
		Regions: []topology.Region{{Name: here, Country: "SA", PinKeys: pinPublic}},
		Pins:    &topology.Pins{TTL: 5 * time.Minute, Cookie: topology.PinCookie, Header: topology.PinHeader},
		GeoIP:   &topology.GeoIP{},
		Issuers: []topology.Issuer{
			{Issuer: boxed, JWKS: boxPublic, Audiences: []string{"im"}, HomeClaim: "home", Sources: []topology.TokenSource{{Query: "v", JSON: "token"}, {Header: "x-boxed"}}},
			{Issuer: fetched, Remote: &topology.RemoteKeys{}, Sources: []topology.TokenSource{{Query: "v", JSON: "token"}}},
			{Issuer: idp, JWKS: boxPublic, CountryClaim: "country"},
			{Issuer: matrix, Whoami: &topology.Whoami{Service: "message"}, Sources: []topology.TokenSource{{Header: "authorization", Prefix: "Bearer "}, {Query: "access_token"}}},
			{
				Issuer: openIM, Nameless: true, UserClaim: "UserID", MaxLifetime: 24 * time.Hour, Secret: &topology.Secret{Regions: []string{here}},
				Sources: []topology.TokenSource{{Query: "token"}, {Cookie: "session"}, {Subprotocol: "bearer."}, {Query: "v", JSON: "token"}},
			},
		},
	}
	tab, err := residency.New(residency.Spec{
		Regions: []residency.Region{{Name: here, Country: "SA"}}, Epochs: map[string]uint64{"SA": 2},
		Issuers: []residency.Issuer{
			{Issuer: boxed, Homes: []string{"SA"}}, {Issuer: fetched, Homes: []string{"SA"}}, {Issuer: idp, Homes: []string{"SA", "TR"}},
			{Issuer: matrix, Homes: []string{"SA", "DE"}}, {Issuer: openIM, Homes: []string{"SA"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.policy, err = resolver.NewPolicy(tab, b.top, here, map[string][]byte{openIM: fmt.Appendf(nil, `{"kty":"oct","k":%q}`, base64.RawURLEncoding.EncodeToString(b.secret))})
	if err != nil {
		t.Fatal(err)
	}
	b.Resolver = resolver.New(resolver.Config{
		Region: here, Policy: func() *resolver.Policy { return b.policy }, HashKey: hashKey,
		Directory: func() resolver.Directory { return b.homes },
		Server:    b.server, Fence: b.fence, Propose: func(resolver.Request, topology.GeoIP) string { return b.address },
		Signer: func() *pin.Signer {
			return b.pins.Choose(pin.Since(nil).See(b.pins, b.policy.PinKeys, now), now)
		},
		Now: func() time.Time { return b.at },
	})
	return b
}

// enter puts a user into the directory.
func (b *bench) enter(t testing.TB, user, home string) {
	t.Helper()
	if _, err := b.homes.Put(context.Background(), directory.Entry{Hash: identity.UserHash(hashKey, user), Home: home}); err != nil {
		t.Fatal(err)
	}
}

func unsigned(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"ES256"}`)) + "." + enc([]byte(claims)) + "." + enc(make([]byte, 64))
}

func (b *bench) openIMToken(t testing.TB, secret []byte, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"UserID": "amal", "PlatformID": 1, "exp": now.Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.Sign(payload, jws.WithKey(jwa.HS256(), secret))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (b *bench) boxedToken(t testing.TB, claims string) string {
	t.Helper()
	out, err := jws.Sign([]byte(claims), jws.WithKey(jwa.ES256(), b.boxKey))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func box(tok string) string {
	data, err := json.Marshal(map[string]string{"token": tok, "userID": "amal"})
	if err != nil {
		panic(err)
	}
	return "/ws?v=" + base64.StdEncoding.EncodeToString(data)
}

func query(path string) resolver.Request {
	return resolver.Request{Path: path, Headers: map[string]string{}}
}

// padded makes the length of a JSON text one of which base64 needs no padding.
func padded(s string) string { return s + strings.Repeat(" ", (3-len(s)%3)%3) }

// byEnvoy is a request whose token Envoy has verified.
func byEnvoy(issuer, user, tok string) resolver.Request {
	return resolver.Request{Path: "/v1/messages", Headers: map[string]string{
		"x-domicile-issuer": issuer, "x-domicile-user": user, "authorization": "Bearer " + tok,
	}}
}

func TestResolve(t *testing.T) {
	b := newBench(t)
	b.enter(t, "amal", "SA")
	b.enter(t, "deniz", "TR")
	b.enter(t, "@a:example.org", "DE")
	b.server.accounts["syt_amal"] = resolver.Account{User: "@a:example.org"}
	b.server.accounts["syt_nobody"] = resolver.Account{}
	b.server.accounts["syt_old"] = resolver.Account{User: "@a:example.org", Expires: now}
	b.server.accounts["syt_two_homes"] = resolver.Account{User: "@a:example.org", Home: "SA"}
	b.server.accounts["syt_odd"] = resolver.Account{User: "a\r\nx-domicile-home: SA"}
	b.server.accounts["syt_new"] = resolver.Account{User: "@new:example.org", Declared: "SA"}
	exp := fmt.Sprintf(`"exp":%d`, now.Add(time.Hour).Unix())
	good := b.openIMToken(t, b.secret, nil)
	jwt := func(claims string) string { return unsigned(claims) } // Envoy has verified it
	opaque := func(tok string) resolver.Request {
		return resolver.Request{Headers: map[string]string{"authorization": "Bearer " + tok}}
	}
	for name, c := range map[string]struct {
		q    resolver.Request
		home string
		why  residency.Reason
	}{
		"nothing":                        {resolver.Request{}, "", residency.NoIdentity},
		"verified, in the directory":     {byEnvoy(idp, "deniz", jwt(`{"iss":"`+idp+`","sub":"deniz"}`)), "TR", ""},
		"verified, declared":             {byEnvoy(idp, "new", jwt(`{"iss":"`+idp+`","sub":"new","country":"TR"}`)), "TR", ""},
		"declared, not entitled":         {byEnvoy(idp, "new", jwt(`{"iss":"`+idp+`","sub":"new","country":"DE"}`)), "", residency.IssuerNotEntitled},
		"verified, in no directory":      {byEnvoy(idp, "new", jwt(`{"iss":"`+idp+`","sub":"new"}`)), "", residency.NoHome},
		"another user than Envoy says":   {byEnvoy(idp, "amal", jwt(`{"iss":"`+idp+`","sub":"deniz"}`)), "", residency.BadToken},
		"another issuer than Envoy says": {byEnvoy(idp, "deniz", jwt(`{"iss":"`+other+`","sub":"deniz"}`)), "", residency.BadToken},
		"an issuer that nobody knows":    {byEnvoy(other, "deniz", jwt(`{"iss":"`+other+`","sub":"deniz"}`)), "", residency.BadToken},
		"no user":                        {byEnvoy(idp, "", jwt(`{"iss":"`+idp+`"}`)), "", residency.BadToken},
		"the user is a number":           {byEnvoy(idp, "", jwt(`{"iss":"`+idp+`","sub":7}`)), "", residency.BadToken},
		"verified, but opaque":           {byEnvoy(idp, "deniz", "syt_amal"), "", residency.BadToken},
		"verified, but whose?":           {byEnvoy(matrix, "deniz", jwt(`{"iss":"`+matrix+`","sub":"deniz"}`)), "", residency.BadToken},
		"verified, and a second token": {resolver.Request{Path: "/x?token=" + good, Headers: map[string]string{
			"x-domicile-issuer": idp, "x-domicile-user": "deniz", "authorization": "Bearer " + jwt(`{"iss":"`+idp+`","sub":"deniz"}`),
		}}, "", residency.TwoIdentities},
		"not verified by Envoy": {opaque(jwt(`{"iss":"` + idp + `","sub":"deniz","exp":9999999999}`)), "", residency.BadToken},

		"opaque":                         {opaque("syt_amal"), "DE", ""},
		"opaque in the query":            {query("/sync?access_token=syt_amal"), "DE", ""},
		"opaque twice, the same":         {resolver.Request{Path: "/sync?access_token=syt_amal", Headers: opaque("syt_amal").Headers}, "DE", ""},
		"opaque twice, another":          {resolver.Request{Path: "/sync?access_token=syt_new", Headers: opaque("syt_amal").Headers}, "", residency.TwoIdentities},
		"a parameter twice":              {query("/sync?access_token=syt_amal&access_token=syt_amal"), "", residency.TwoIdentities},
		"a parameter twice, escaped":     {query("/sync?access_token=syt_amal&%61ccess_token=syt_new"), "", residency.TwoIdentities},
		"a parameter behind a semicolon": {query("/sync?access_token=syt_amal;access_token=syt_new"), "", residency.TwoIdentities},
		"refused by its server":          {opaque("syt_other"), "", residency.BadToken},
		"its server names nobody":        {opaque("syt_nobody"), "", residency.BadToken},
		"its server says: ended":         {opaque("syt_old"), "", residency.BadToken},
		"its server names an odd user":   {opaque("syt_odd"), "", residency.BadToken},
		"server against directory":       {opaque("syt_two_homes"), "", residency.NoHome},
		"declared by its server":         {opaque("syt_new"), "SA", ""},
		"Basic":                          {resolver.Request{Headers: map[string]string{"authorization": "Basic YTpi"}}, "", residency.BadToken},
		"Basic beside a token":           {resolver.Request{Path: "/sync?access_token=syt_amal", Headers: map[string]string{"authorization": "Basic YTpi"}}, "", residency.TwoIdentities},
		"two headers":                    {resolver.Request{Headers: map[string]string{"authorization": "Bearer syt_amal,Bearer syt_amal"}}, "", residency.TwoIdentities},
		"two headers, odd":               {resolver.Request{Headers: map[string]string{"authorization": "Basic x, Bearer syt_amal"}}, "", residency.TwoIdentities},
		"an empty token":                 {opaque(""), "", residency.BadToken},
		"an odd token":                   {opaque("syt amal"), "", residency.BadToken},
		"lower case scheme":              {resolver.Request{Headers: map[string]string{"authorization": "bearer syt_amal"}}, "", residency.BadToken},

		"OpenIM in the query":       {query("/ws?token=" + good), "SA", ""},
		"OpenIM in a cookie":        {resolver.Request{Headers: map[string]string{"cookie": "a=b; session=" + good + "; c=d"}}, "SA", ""},
		"OpenIM in a quoted cookie": {resolver.Request{Headers: map[string]string{"cookie": `session="` + good + `"`}}, "SA", ""},
		"two cookies":               {resolver.Request{Headers: map[string]string{"cookie": "session=" + good + "; session=" + good}}, "", residency.TwoIdentities},
		"two cookies by a comma":    {resolver.Request{Headers: map[string]string{"cookie": "a=b,session=" + good + "; session=" + good}}, "", residency.TwoIdentities},
		"a subprotocol":             {resolver.Request{Headers: map[string]string{"sec-websocket-protocol": "im.v1, bearer." + good}}, "SA", ""},
		"two subprotocols":          {resolver.Request{Headers: map[string]string{"sec-websocket-protocol": "bearer." + good + ",bearer.x"}}, "", residency.TwoIdentities},
		"no token in it":            {resolver.Request{Headers: map[string]string{"sec-websocket-protocol": "im.v1", "cookie": "a=b"}}, "", residency.NoIdentity},
		"OpenIM in v":               {query(box(good)), "SA", ""},
		"OpenIM in v and beside it": {query(box(good) + "&token=" + good), "SA", ""},
		"v against token":           {query(box(good) + "&token=" + b.openIMToken(t, b.secret, map[string]any{"UserID": "deniz"})), "", residency.TwoIdentities},
		"v is no base64":            {query("/ws?v=%%%"), "", residency.BadToken},
		"v with a line break":       {query("/ws?v=" + box(good)[6:20] + "%0A" + box(good)[20:]), "", residency.BadToken},
		"v and then dirt":           {query("/ws?v=" + base64.RawStdEncoding.EncodeToString([]byte(padded(`{"token":"`+good+`"}`))) + "!"), "", residency.BadToken},
		"v is a version":            {query("/ws?v=2"), "", residency.BadToken},
		"v is no JSON":              {query("/ws?v=" + base64.StdEncoding.EncodeToString([]byte("token"))), "", residency.BadToken},
		"v has no token":            {query("/ws?v=" + base64.StdEncoding.EncodeToString([]byte(`{"x":1}`))), "", residency.BadToken},
		"v has a number":            {query("/ws?v=" + base64.StdEncoding.EncodeToString([]byte(`{"token":1}`))), "", residency.BadToken},
		"v has two tokens":          {query("/ws?v=" + base64.StdEncoding.EncodeToString([]byte(`{"token":"`+good+`","token":"x"}`))), "", residency.BadToken},
		"v has two by case":         {query("/ws?v=" + base64.StdEncoding.EncodeToString([]byte(`{"token":"`+good+`","Token":"x"}`))), "", residency.BadToken},
		"v has two by Kelvin's K":   {query("/ws?v=" + base64.StdEncoding.EncodeToString([]byte(`{"token":"`+good+`","to\u212aen":"x"}`))), "", residency.BadToken},
		"v is odd beside a token":   {query("/ws?v=2&token=" + good), "", residency.TwoIdentities},
		"another's secret":          {query("/ws?token=" + b.openIMToken(t, []byte(strings.Repeat("x", 32)), nil)), "", residency.BadToken},
		"ended":                     {query("/ws?token=" + b.openIMToken(t, b.secret, map[string]any{"exp": now.Add(-time.Minute).Unix()})), "", residency.BadToken},
		"for too long":              {query("/ws?token=" + b.openIMToken(t, b.secret, map[string]any{"exp": now.Add(25 * time.Hour).Unix()})), "", residency.BadToken},
		"with an issuer":            {query("/ws?token=" + b.openIMToken(t, b.secret, map[string]any{"iss": openIM})), "", residency.BadToken},
		"with a foreign issuer":     {query("/ws?token=" + b.openIMToken(t, b.secret, map[string]any{"iss": "x"})), "", residency.BadToken},
		"no user in it":             {query("/ws?token=" + b.openIMToken(t, b.secret, map[string]any{"UserID": ""})), "", residency.BadToken},
		"a home that it may not":    {query("/ws?token=" + b.openIMToken(t, b.secret, map[string]any{"UserID": "deniz"})), "", residency.IssuerNotEntitled},
		"where OpenIM has none":     {opaque(good), "", residency.BadToken},

		"boxed":                     {query(box(b.boxedToken(t, `{"iss":"`+boxed+`","sub":"x","aud":"im","home":"SA",`+exp+`}`))), "SA", ""},
		"boxed, against directory":  {query(box(b.boxedToken(t, `{"iss":"`+boxed+`","sub":"deniz","aud":"im","home":"SA",`+exp+`}`))), "", residency.NoHome},
		"boxed, not entitled":       {query(box(b.boxedToken(t, `{"iss":"`+boxed+`","sub":"deniz","aud":"im","home":"TR",`+exp+`}`))), "", residency.IssuerNotEntitled},
		"boxed, another audience":   {query(box(b.boxedToken(t, `{"iss":"`+boxed+`","sub":"x","aud":"x","home":"SA",`+exp+`}`))), "", residency.BadToken},
		"boxed, where it is not":    {query(box(b.boxedToken(t, `{"iss":"`+idp+`","sub":"deniz",`+exp+`}`))), "", residency.BadToken},
		"boxed, keys not fetched":   {query(box(b.boxedToken(t, `{"iss":"`+fetched+`","sub":"x",`+exp+`}`))), "", residency.NotDecidable},
		"boxed, in a header":        {resolver.Request{Headers: map[string]string{"x-boxed": b.boxedToken(t, `{"iss":"`+boxed+`","sub":"x","aud":"im","home":"SA",`+exp+`}`)}}, "SA", ""},
		"a home from the client":    {resolver.Request{Path: "/ws?token=" + good, Headers: map[string]string{"x-domicile-home": "TR"}}, "SA", ""},
		"a home that is not Envoys": {withHeader(byEnvoy(idp, "deniz", jwt(`{"iss":"`+idp+`","sub":"deniz"}`)), "x-domicile-home", "SA"), "", residency.TwoIdentities},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.Resolve(t.Context(), c.q)
			if a.Home != c.home || a.Reason != c.why {
				t.Fatalf("%+v, want home %q, reason %q", a, c.home, c.why)
			}
			if (a.Home == "") != (a.User == "" && a.Issuer == "" && a.Pin == "" && a.Keep == 0) {
				t.Errorf("a refusal tells something, or a home is without it: %+v", a)
			}
		})
	}
	if got := strings.Join(b.server.asked, " "); strings.ReplaceAll(got, matrix, "") != strings.Repeat(" ", len(b.server.asked)-1) {
		t.Errorf("asked %s", got)
	}
}

func withHeader(q resolver.Request, name, value string) resolver.Request {
	q.Headers[name] = value
	return q
}

func TestSourcesThatAreDown(t *testing.T) {
	b := newBench(t)
	b.enter(t, "amal", "SA")
	good := query("/ws?token=" + b.openIMToken(t, b.secret, nil))
	if a := b.Resolve(t.Context(), good); a.Home != "SA" {
		t.Fatalf("%+v", a)
	}
	b.homes.SetAvailable(false)
	if a := b.Resolve(t.Context(), good); a.Reason != residency.NotDecidable || a.Err == nil {
		t.Errorf("directory down: %+v", a)
	}
	b.homes.SetAvailable(true)
	b.server.err = errors.New("down")
	opaque := resolver.Request{Headers: map[string]string{"authorization": "Bearer syt_amal"}}
	if a := b.Resolve(t.Context(), opaque); a.Reason != residency.NotDecidable {
		t.Errorf("server down: %+v", a)
	}
	b.Server = nil
	if a := b.Resolve(t.Context(), opaque); a.Reason != residency.NotDecidable {
		t.Errorf("no server: %+v", a)
	}
	b.Directory = func() resolver.Directory { return nil }
	if a := b.Resolve(t.Context(), good); a.Reason != residency.NoHome {
		t.Errorf("no directory: %+v", a)
	}
	b.Directory = nil
	if a := b.Resolve(t.Context(), good); a.Reason != residency.NoHome {
		t.Errorf("no directory at all: %+v", a)
	}
	b.address = "SA"
	if a := b.Resolve(t.Context(), good); a.Reason != residency.NoHome || a.Proposal != "SA" {
		t.Errorf("an address: %+v", a)
	}
	b.HashKey = nil
	if a := b.Resolve(t.Context(), good); a.Reason != residency.NotDecidable {
		t.Errorf("no key: %+v", a)
	}
	b.HashKey, b.policy = hashKey, nil
	if a := b.Resolve(t.Context(), good); a.Reason != residency.NotDecidable {
		t.Errorf("no policy: %+v", a)
	}
}

func TestT37_TheFenceRefuses(t *testing.T) {
	b := newBench(t)
	b.enter(t, "amal", "SA")
	exp := fmt.Sprintf(`"exp":%d`, now.Add(time.Hour).Unix())
	good := query("/ws?token=" + b.openIMToken(t, b.secret, nil))
	boxedSA := query(box(b.boxedToken(t, `{"iss":"`+boxed+`","sub":"x","aud":"im","home":"SA",`+exp+`}`)))
	b.fence.moved["amal"], b.fence.moved["x"] = openIM+" SA", boxed+" SA"
	if a := b.Resolve(t.Context(), good); a.Reason != residency.NotDecidable || a.Pin != "" || a.Home != "" {
		t.Errorf("moved, and the directory is behind: %+v", a)
	}
	if a := b.Resolve(t.Context(), boxedSA); a.Reason != residency.BadToken {
		t.Errorf("moved, and an old token: %+v", a)
	}
	b.fence.moved["amal"] = openIM + " TR"
	if a := b.Resolve(t.Context(), good); a.Home != "SA" {
		t.Errorf("moved here: %+v", a)
	}
	b.fence.erased["amal"] = openIM
	b.homes.SetAvailable(false) // nobody is asked about an erased user
	if a := b.Resolve(t.Context(), good); a.Reason != residency.Erased {
		t.Errorf("erased: %+v", a)
	}
}

func TestT07_PinsAreBoundToWhatTheyWereIssuedFor(t *testing.T) {
	b := newBench(t)
	b.enter(t, "deniz", "TR")
	b.enter(t, "amal", "SA")
	verify := func(a resolver.Answer) pin.Claims {
		t.Helper()
		c, err := pin.Verify(a.Pin, b.policy.PinKeys, here, b.at)
		if err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		return c
	}
	end := now.Add(3 * time.Minute)
	jwt := unsigned(fmt.Sprintf(`{"iss":%q,"sub":"deniz","exp":%d}`, idp, end.Unix()))
	a := b.Resolve(t.Context(), withHeader(byEnvoy(idp, "deniz", jwt), "cookie", "a=b; domicile-pin=old; c=d"))
	c := verify(a)
	if c.Home != "TR" || c.Epoch != 0 || c.Issuer != idp || c.Region != here || c.User != identity.UserHash(hashKey, "deniz") {
		t.Errorf("claims: %+v", c)
	}
	if c.Credential != jwt[len(jwt)-43:] || !c.Expires.Equal(end) || a.Keep != 3*time.Minute {
		t.Errorf("bound to %q until %v, kept for %v", c.Credential, c.Expires, a.Keep)
	}
	if !a.StalePin || a.Cookie != "a=b; c=d" {
		t.Errorf("cookie: %v %q", a.StalePin, a.Cookie)
	}
	// What stands in the query is in no header that a later pin could be held to.
	tok := b.openIMToken(t, b.secret, nil)
	a = b.Resolve(t.Context(), query("/ws?token="+tok))
	if c := verify(a); c.Epoch != 2 || c.Credential != tok[len(tok)-43:] || a.Keep != 0 || a.StalePin || !c.Expires.Equal(now.Add(5*time.Minute)) {
		t.Errorf("query: %+v %+v", a, c)
	}
	// A short token's end is the end of others too.
	b.server.accounts["short"] = resolver.Account{User: "amal"}
	a = b.Resolve(t.Context(), resolver.Request{Headers: map[string]string{"authorization": "Bearer short"}})
	if c := verify(a); a.Keep != 0 || c.Credential != "Bearer short" {
		t.Errorf("short: %+v %+v", a, c)
	}
	b.server.accounts["ending"] = resolver.Account{User: "amal", Expires: now.Add(time.Second)}
	a = b.Resolve(t.Context(), resolver.Request{Headers: map[string]string{"authorization": "Bearer ending"}})
	if c := verify(a); !c.Expires.Equal(now.Add(10 * time.Second)) {
		t.Errorf("a token that is about to end: %v", c.Expires.Sub(now))
	}
	b.top.Pins.TTL = 0
	a = b.Resolve(t.Context(), query("/ws?token="+tok))
	if c := verify(a); !c.Expires.Equal(now.Add(10 * time.Minute)) {
		t.Errorf("default lifetime: %v", c.Expires.Sub(now))
	}
	b.top.Pins.TTL = time.Hour
	if c := verify(b.Resolve(t.Context(), query("/ws?token="+tok))); !c.Expires.Equal(now.Add(10 * time.Minute)) {
		t.Errorf("a lifetime that is too long: %v", c.Expires.Sub(now))
	}
	b.Signer = func() *pin.Signer { return nil }
	if a := b.Resolve(t.Context(), query("/ws?token="+tok)); a.Home != "SA" || a.Pin != "" || a.Keep != 0 {
		t.Errorf("no key to sign with: %+v", a)
	}
	b.Signer = nil
	if a := b.Resolve(t.Context(), query("/ws?token="+tok)); a.Home != "SA" || a.Pin != "" {
		t.Errorf("nothing to sign with: %+v", a)
	}
	b.top.Pins = nil
	if a := b.Resolve(t.Context(), query("/ws?token="+tok)); a.Home != "SA" || a.Pin != "" || a.Names.Header != "" {
		t.Errorf("no pins: %+v", a)
	}
}

func TestAmbiguousIssuers(t *testing.T) {
	b := newBench(t)
	b.enter(t, "amal", "SA")
	secret := fmt.Appendf(nil, `{"kty":"oct","k":%q}`, base64.RawURLEncoding.EncodeToString(b.secret))
	twin := b.top.Issuers[4]
	twin.Issuer = "https://twin.example.com"
	second := b.top.Issuers[3]
	second.Issuer = "https://second.example.com"
	b.top.Issuers = append(b.top.Issuers, twin, second)
	var err error
	b.policy, err = resolver.NewPolicy(b.policy.Table, b.top, here, map[string][]byte{openIM: secret, twin.Issuer: secret})
	if err != nil {
		t.Fatal(err)
	}
	if a := b.Resolve(t.Context(), query("/ws?token="+b.openIMToken(t, b.secret, nil))); a.Reason != residency.BadToken {
		t.Errorf("two issuers share a secret: %+v", a)
	}
	b.server.accounts["syt_amal"] = resolver.Account{User: "amal"}
	if a := b.Resolve(t.Context(), query("/sync?access_token=syt_amal")); a.Reason != residency.BadToken || len(b.server.asked) > 0 {
		t.Errorf("two servers could read it, and %v were shown it: %+v", b.server.asked, a)
	}
}

func TestPolicySaysWhatItCannotUse(t *testing.T) {
	b := newBench(t)
	p, err := resolver.NewPolicy(b.policy.Table, b.top, here, nil)
	if err == nil || !strings.Contains(err.Error(), openIM) {
		t.Errorf("no secret: %v", err)
	}
	b.enter(t, "amal", "SA")
	b.policy = p
	if a := b.Resolve(t.Context(), query("/ws?token="+b.openIMToken(t, b.secret, nil))); a.Reason != residency.BadToken {
		t.Errorf("without its secret: %+v", a)
	}
	// A secret that lies here and is not for this region verifies nothing.
	b.top.Issuers[4].Secret.Regions = []string{"eu-frankfurt"}
	b.policy, err = resolver.NewPolicy(b.policy.Table, b.top, here, map[string][]byte{openIM: fmt.Appendf(nil, `{"kty":"oct","k":%q}`, base64.RawURLEncoding.EncodeToString(b.secret))})
	if err != nil {
		t.Fatal(err)
	}
	if a := b.Resolve(t.Context(), query("/ws?token="+b.openIMToken(t, b.secret, nil))); a.Reason != residency.BadToken {
		t.Errorf("another region's secret: %+v", a)
	}
	b.top.Regions[0].PinKeys, b.top.Issuers[0].JWKS = "x", "y"
	if p, err = resolver.NewPolicy(b.policy.Table, b.top, here, nil); err == nil || p.PinKeys != nil || !strings.Contains(err.Error(), "pin keys") || !strings.Contains(err.Error(), boxed) {
		t.Errorf("broken keys: %v", err)
	}
}

func TestLongest(t *testing.T) {
	b := newBench(t)
	for home, want := range map[string]time.Duration{
		"SA": 90*24*time.Hour + time.Minute, "QA": 2 * time.Hour, "": 90*24*time.Hour + time.Minute,
	} {
		got := b.policy.Longest(home)
		if home == "" {
			got = b.policy.Longest()
		}
		if got != want {
			t.Errorf("%q: %v, want %v", home, got, want)
		}
	}
}

func FuzzResolve(f *testing.F) {
	b := newBench(f)
	b.enter(f, "amal", "SA")
	b.server.accounts["syt_amal"] = resolver.Account{User: "amal"}
	tok := b.openIMToken(f, b.secret, nil)
	f.Add("/ws?token="+tok, "", "", "")
	f.Add(box(tok), "Bearer syt_amal", "session=x", "bearer.y")
	f.Add("/?v=e30", "Bearer a,Bearer b", "session=a;session=b", "bearer.")
	f.Fuzz(func(t *testing.T, path, authorization, cookie, subprotocol string) {
		b.server.asked = nil
		a := b.Resolve(t.Context(), resolver.Request{Path: path, Headers: map[string]string{
			"authorization": authorization, "cookie": cookie, "sec-websocket-protocol": subprotocol,
		}})
		if (a.Home == "") == (a.Reason == "") || a.Home != "" && (a.Home != "SA" || a.User != "amal") {
			t.Errorf("%+v", a)
		}
		if a.Home != "" && !strings.Contains(authorization+path+cookie+subprotocol, "syt_amal") && !strings.Contains(path+cookie+subprotocol, tok) && !strings.Contains(path, "v=") && !strings.Contains(path, "%") {
			t.Errorf("a home without a token: %+v", a)
		}
	})
}

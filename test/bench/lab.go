package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// The installation that is measured: the users whom the load asks for live in
// the region of the gateway, every other home lives in the other region.
const (
	here      = "eu-frankfurt"
	elsewhere = "me-riyadh"
	host      = "eu.bench.example"
	service   = "im"
	issuer    = "https://id.bench.example"
	audience  = "im"

	smallHomes, bigHomes = 10, 1000
	messagePath          = "/v1/messages"
	socketPath           = "/ws"

	// mostTokens is how many tokens stay below the gateway's cache of 32,768
	// together with those that are measured cold.
	mostTokens = 22_000
	mostRounds = 10
)

// classNames are the six classes of GOALS.md. The requests of the load are of
// the last but one, so that the classes before it are looked at too.
var classNames = []string{"login", "presence", "profile", "relation", "message", "media"}

func homeName(i int) string { return fmt.Sprintf("H%04d", i) }

// homeHere tells whether the i-th home is served by the measured gateway's region.
func homeHere(i int) bool { return i%2 == 0 }

// table is a policy of so many homes × six classes.
func table(homes int) (*residency.Table, error) {
	s := residency.Spec{Regions: []residency.Region{{Name: here, Country: "DE"}, {Name: elsewhere, Country: "SA"}}}
	for _, c := range classNames {
		s.Routes = append(s.Routes, residency.Route{
			Class: c, Match: residency.Match{PathPrefix: "/v1/" + c}, Subject: residency.SubjectCaller, Service: service,
		})
		if c == "message" {
			s.Routes[len(s.Routes)-1].Match.PathPrefix = messagePath
			s.Routes = append(s.Routes, residency.Route{
				Class: c, Match: residency.Match{Path: socketPath}, Subject: residency.SubjectCaller, Service: service,
				LongLived: true, Carries: []string{"message", "presence"},
			})
		}
	}
	i := residency.Issuer{Issuer: issuer}
	for h := range homes {
		home, serve := homeName(h), elsewhere
		if homeHere(h) {
			serve = here
		}
		i.Homes = append(i.Homes, home)
		for _, c := range classNames {
			s.Rules = append(s.Rules, residency.Rule{
				Home: home, Class: c, Serve: []string{serve}, Entry: []string{here, elsewhere}, MaxAge: 24 * time.Hour,
			})
		}
	}
	s.Issuers = []residency.Issuer{i}
	return residency.New(s)
}

// place is where the two regions run; the other one is never asked.
func place(jwks, gateway, backend, agent, nobody string) *topology.Topology {
	listen := topology.DefaultListen()
	listen.Plain = gateway
	return &topology.Topology{
		TrustDomain: topology.TrustDomain,
		Regions: []topology.Region{
			{
				Name: here, Country: "DE", Host: host, Peer: nobody, Agent: agent, Listen: listen,
				Backends: map[string][]string{service: {backend}},
			},
			{
				Name: elsewhere, Country: "SA", Host: "sa.bench.example", Peer: nobody, Agent: agent,
				Listen: topology.DefaultListen(), Backends: map[string][]string{service: {nobody}},
			},
		},
		Issuers: []topology.Issuer{{Issuer: issuer, Audiences: []string{audience}, HomeClaim: "home", JWKS: jwks}},
	}
}

// mint signs tokens of the issuer.
type mint struct {
	raw  *ecdsa.PrivateKey
	key  jwk.Key
	JWKS string
}

func newMint() (*mint, error) {
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make issuer key: %w", err)
	}
	key, err := jwk.Import(raw)
	if err != nil {
		return nil, fmt.Errorf("make issuer key: %w", err)
	}
	for name, v := range map[string]any{jwk.KeyIDKey: "bench", jwk.AlgorithmKey: jwa.ES256(), jwk.KeyUsageKey: "sig"} {
		if err := key.Set(name, v); err != nil {
			return nil, fmt.Errorf("make issuer key: %w", err)
		}
	}
	pub, err := jwk.PublicKeyOf(key)
	if err != nil {
		return nil, fmt.Errorf("make issuer key: %w", err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(pub); err != nil {
		return nil, fmt.Errorf("make issuer key: %w", err)
	}
	body, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode issuer key: %w", err)
	}
	return &mint{raw, key, string(body)}, nil
}

// publicPEM is the key as HAProxy wants it.
func (m *mint) publicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(m.raw.Public())
	if err != nil {
		return nil, fmt.Errorf("encode issuer key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func (m *mint) token(user, home string, now time.Time) (string, error) {
	t, err := jwt.NewBuilder().Issuer(issuer).Audience([]string{audience}).Subject(user).
		IssuedAt(now).Expiration(now.Add(12*time.Hour)).Claim("home", home).Build()
	if err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	signed, err := jwt.Sign(t, jwt.WithKey(jwa.ES256(), m.key))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return string(signed), nil
}

// requests renders n requests, each of another user, spread over the homes that
// live here.
func (m *mint) requests(label string, n, homes int) ([][]byte, error) {
	now := time.Now()
	out := make([][]byte, n)
	for i := range out {
		token, err := m.token(fmt.Sprintf("%s-%06d", label, i), homeName(i%(homes/2)*2), now)
		if err != nil {
			return nil, err
		}
		out[i] = []byte("GET " + messagePath + "/5 HTTP/1.1\r\nHost: " + host +
			"\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: Bearer " + token + "\r\n\r\n")
	}
	return out, nil
}

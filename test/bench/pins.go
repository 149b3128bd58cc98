package main

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/topology"

	"github.com/domicile-dev/domicile/test/bench/figures"
)

// pinSide is the product where only an agent can read the tokens: a pin beside each
// names the home. Nobody is asked.
const pinSide = "pin"

// withPins makes the issuer one whose server must be asked.
func withPins(t *topology.Topology, jwks string) {
	t.Issuers = []topology.Issuer{{Issuer: issuer, Whoami: &topology.Whoami{Service: service, Path: "/whoami", Member: "user"}}}
	t.Pins = &topology.Pins{TTL: pin.MaxLifetime, Cookie: topology.PinCookie, Header: topology.PinHeader}
	for i := range t.Regions {
		t.Regions[i].PinKeys = jwks
	}
}

// pinRequests renders n requests of so many users with opaque tokens and their pins.
func (m *mint) pinRequests(n, homes int) ([][]byte, error) {
	now := time.Now()
	out := make([][]byte, n)
	for i := range out {
		user := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "user-%d", i)))
		value := "Bearer syt_" + user
		t, err := jwt.NewBuilder().Issuer(topology.PinIssuer(here)).Audience([]string{here}).Subject(user).
			IssuedAt(now).Expiration(now.Add(pin.MaxLifetime-10*time.Second)).Claim("home", homeName(i%(homes/2)*2)).
			Claim("epoch", "0").Claim("idp", issuer).Claim("cred", pin.Credential(value)).Build()
		if err != nil {
			return nil, fmt.Errorf("make pin: %w", err)
		}
		signed, err := jwt.Sign(t, jwt.WithKey(jwa.ES256(), m.key))
		if err != nil {
			return nil, fmt.Errorf("sign pin: %w", err)
		}
		out[i] = []byte("GET " + messagePath + "/5 HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: " +
			value + "\r\n" + topology.PinHeader + ": " + string(signed) + "\r\n\r\n")
	}
	return out, nil
}

func (b *bench) printPins(m samples) {
	b.report.Add("P2", "by pin / bare, requests/s", "×", m.rate(pinSide, bareSide), figures.AtLeast(0.90))
	b.report.Add("P2", "the same by Envoy's CPU time a request", "×", m.cost(pinSide, bareSide), figures.AtLeast(0.90))
}

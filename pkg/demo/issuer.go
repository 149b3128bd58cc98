package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// keyID names the demo's key in tokens and key sets.
const keyID = "demo"

// issuer is one issuer of the deployment, as far as making its tokens goes. In
// a demo all issuers share one key.
type issuer struct {
	Issuer    string   `json:"issuer"`
	Audience  string   `json:"audience,omitempty"`
	HomeClaim string   `json:"homeClaim,omitempty"` // empty: the directory says it
	UserClaim string   `json:"userClaim"`
	Nameless  bool     `json:"nameless,omitempty"`
	Homes     []string `json:"homes"`
}

// newIssuerKey makes an ES256 key: the private JWK, and the set that verifies.
func newIssuerKey() (private, public []byte, err error) {
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make issuer key: %w", err)
	}
	key, err := jwk.Import(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("make issuer key: %w", err)
	}
	for name, v := range map[string]any{jwk.KeyIDKey: keyID, jwk.AlgorithmKey: jwa.ES256(), jwk.KeyUsageKey: "sig"} {
		if err := key.Set(name, v); err != nil {
			return nil, nil, fmt.Errorf("make issuer key: %w", err)
		}
	}
	pub, err := jwk.PublicKeyOf(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make issuer key: %w", err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(pub); err != nil {
		return nil, nil, fmt.Errorf("make issuer key: %w", err)
	}
	if private, err = json.Marshal(key); err != nil {
		return nil, nil, fmt.Errorf("encode issuer key: %w", err)
	}
	if public, err = json.Marshal(set); err != nil {
		return nil, nil, fmt.Errorf("encode issuer key: %w", err)
	}
	return private, public, nil
}

// mint is how tokens are made: by a key, for one of some issuers.
type mint struct {
	key     jwk.Key
	issuers []issuer
}

// openMint reads what the demo left in its directory; no process is asked.
func openMint(dir string) (*mint, error) {
	data, err := os.ReadFile(filepath.Join(dir, fileIssuerKey))
	if err != nil {
		return nil, fmt.Errorf("read issuer key: %w", err)
	}
	key, err := jwk.ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("read issuer key: %w", err)
	}
	m := &mint{key: key}
	if data, err = os.ReadFile(filepath.Join(dir, fileIssuers)); err != nil {
		return nil, fmt.Errorf("read issuers: %w", err)
	}
	if err := json.Unmarshal(data, &m.issuers); err != nil {
		return nil, fmt.Errorf("read issuers: %w", err)
	}
	if len(m.issuers) == 0 {
		return nil, fmt.Errorf("read issuers: the deployment has none")
	}
	return m, nil
}

// token signs a token. The issuer is the first that may name the home, one whose
// tokens do before others, else the first. Home "" leaves the home claim out. Claims replace what is there.
func (m *mint) token(user, home string, claims map[string]any, now time.Time, ttl time.Duration) (string, error) {
	by := m.issuers[0]
	for _, says := range []bool{true, false} { // in its tokens, before in the directory only
		if i := slices.IndexFunc(m.issuers, func(i issuer) bool { return slices.Contains(i.Homes, home) && (i.HomeClaim != "") == says }); i >= 0 {
			by = m.issuers[i]
			break
		}
	}
	all := map[string]any{
		by.UserClaim: user, jwt.IssuedAtKey: now.Unix(), jwt.ExpirationKey: now.Add(ttl).Unix(),
	}
	if by.Audience != "" {
		all[jwt.AudienceKey] = by.Audience
	}
	if !by.Nameless {
		all[jwt.IssuerKey] = by.Issuer
	}
	if home != "" && by.HomeClaim != "" {
		all[by.HomeClaim] = home
	}
	maps.Copy(all, claims)
	t := jwt.New()
	for name, v := range all {
		if err := t.Set(name, v); err != nil {
			return "", fmt.Errorf("claim %s: %w", name, err)
		}
	}
	signed, err := jwt.Sign(t, jwt.WithKey(jwa.ES256(), m.key))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return string(signed), nil
}

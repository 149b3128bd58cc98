package sim_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// R1 where homes must be found: tokens stand in headers, cookies, the query and
// subprotocols, and name no home; pins stand beside them, good ones and such as must
// not count. A good pin of these tests mostly names another home than the directory
// does, so that it can be told which of them was believed. Some users are erased, some
// have left a home.
//
// Seen red, with seed 1: an oracle that believed in SA's first epoch, one for which a
// pin counts beside any token, and one for which it counts in any region: 6, 13 and
// more of 10,000 requests disagreed.
func TestR1_WhereHomesAreFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "policies"))); err != nil {
		t.Fatal(err)
	}
	edit := func(name, old, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		data, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(data), old) {
			t.Fatalf("%s does not hold %q: %v", name, old, err)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(data), old, text, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("deployment.yaml", `homes: ["SA", "TR", "DE", "FR", "QA"]}`, `homes: ["SA", "TR", "DE", "FR", "QA"],
       from: [{header: authorization, prefix: "Bearer "}, {cookie: session}, {query: access_token}, {subprotocol: "bearer."}]}
    - {issuer: "`+homeless+`", jwks: {file: jwks.json}, audiences: [im], homes: ["SA", "TR", "DE", "FR", "QA"],
       from: [{header: authorization, prefix: "Bearer "}, {cookie: session}, {query: access_token}, {subprotocol: "bearer."}]}
  pins: {}`)
	edit("jurisdictions/sa.yaml", "spec:\n", "spec:\n  pins: {epoch: 2}\n")
	findable = true
	fenced = map[string]string{"found-SA-7": "erased", "sim-DE-3": "erased", "found-TR-7": "TR", "sim-TR-5": "TR", "found-DE-2": "SA"}
	defer func() { findable, fenced = false, nil }()
	d := start(t, dir)
	d.keepOut(t, fenced)
	simulate(t, d, number(t, "DOMICILE_SIM_REQUESTS", 50_000)/5, number(t, "DOMICILE_SIM_SEED", 1))
}

// keepOut tells every region's agent who is erased, and who has left which home.
func (d *demo) keepOut(t *testing.T, users map[string]string) {
	t.Helper()
	for name, r := range d.regions {
		certs := filepath.Join(d.dir, "certs", name+"-agent")
		pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "cert.pem"), filepath.Join(certs, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		// The certificate of an agent has no host name; who it is matters not here.
		c := &http.Client{Timeout: patience, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}, // #nosec G402
		}}
		for user, left := range users {
			path, body := "erase", fmt.Sprintf(`{"user":%q}`, user)
			if left != "erased" {
				path, body = "move", fmt.Sprintf(`{"user":%q,"from":[%q],"to":"FR"}`, user, left)
			}
			resp, err := c.Post("https://"+r.AgentPeer+"/v1/users/"+path+"?wait=10s", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%s of %s: %s: %s", path, name, resp.Status, answer)
			}
		}
	}
}

// unsay adds the tokens that name no home, what the directory knows of their users,
// and pins for them: good ones, and such as must not count.
func (p *pool) unsay(t *testing.T, dir string) {
	t.Helper()
	key, kid := signer(t, filepath.Join(dir, "issuer.jwk"))
	hash := hashKey(t, dir)
	p.pins, p.pinsOf, p.directory = map[string]stamp{}, map[string][]string{}, map[string]string{}
	now := time.Now().Unix()
	header := map[string]any{"alg": "ES256", "kid": kid}
	var made []string // headers, for pins that belong to another
	for _, home := range []string{"SA", "TR", "DE", "FR", "QA", "US", ""} {
		for i := range 8 {
			user := fmt.Sprintf("found-%s-%d", home, i)
			claims := map[string]any{"iss": homeless, "aud": "im", "sub": user, "iat": now, "exp": now + 6*3600}
			tok := sign(t, key, header, claims)
			p.unsaid, p.known[tok] = append(p.unsaid, tok), holder{user: user, issuer: homeless, good: true}
			made = append(made, "Bearer "+tok)
			if home != "" {
				p.directory[user] = home
			}
			tok = sign(t, key, header, with(claims, "exp", now-3600))
			p.broken, p.known[tok] = append(p.broken, tok), holder{user: user, issuer: homeless}
			made = append(made, "Bearer "+tok)
		}
	}
	for _, tok := range p.valid[:min(20, len(p.valid))] { // pins beside tokens that need none
		made = append(made, "Bearer "+tok)
	}
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"eu-frankfurt", "me-riyadh", "tr-istanbul"} {
		key, kid := signer(t, pinKey(dir, region))
		for i, value := range made {
			user := p.known[strings.TrimPrefix(value, "Bearer ")].user
			home := []string{"SA", "TR", "DE", "FR", "US"}[i%5]
			p.stamp(t, key, kid, foreign, region, value, made[(i+1)%len(made)], user, userHash(hash, user), home)
		}
	}
	enter(t, dir, hash, p.directory)
}

// stamp makes the pins of one region for one header value.
func (p *pool) stamp(t *testing.T, key any, kid string, foreign any, region, value, other, user, hash, home string) {
	t.Helper()
	now := time.Now().Unix()
	tail := func(s string) string { return s[len(s)-43:] }
	claims := map[string]any{
		"iss": "urn:domicile:pin:" + region, "aud": region, "sub": hash, "home": home, "epoch": max(epochs[home], "0"), "idp": homeless,
		"cred": tail(value), "iat": now, "exp": now + 600,
	}
	header := map[string]any{"alg": "ES256", "kid": kid}
	if _, ok := key.(ed25519.PrivateKey); ok {
		header["alg"] = "EdDSA"
	}
	add := func(s string, c map[string]any, good bool) {
		p.pins[s] = stamp{region, c["home"].(string), fmt.Sprint(c["epoch"]), c["cred"].(string), map[bool]string{true: user}[c["sub"] == hash], good}
		p.pinsOf[value] = append(p.pinsOf[value], s)
	}
	for range 4 { // good ones are the many
		add(sign(t, key, header, with(claims, "jti", fmt.Sprint(len(p.pins)))), claims, true)
	}
	for _, c := range []map[string]any{with(claims, "epoch", "1"), with(claims, "cred", tail(other)), with(claims, "sub", userHash([]byte("another key"), "root"))} {
		add(sign(t, key, header, c), c, true)
	}
	for _, c := range []map[string]any{
		with(claims, "exp", now-120), with(claims, "exp", nil), with(claims, "exp", now+7*24*3600), with(claims, "aud", "elsewhere"), with(claims, "iss", issuer),
		with(claims, "iss", "urn:domicile:pin:elsewhere"),
	} {
		add(sign(t, key, header, c), c, false)
	}
	add(sign(t, foreign, map[string]any{"alg": "ES256", "kid": kid}, claims), claims, false)
	add(sign(t, nil, map[string]any{"alg": "none"}, claims), claims, false)
	whole := sign(t, key, header, claims)
	at := len(whole) - 20
	add(whole[:at]+map[bool]string{true: "A", false: "B"}[whole[at] == 'B']+whole[at+1:], claims, false)
}

// signer reads a private key as a JWK.
func signer(t *testing.T, file string) (key any, kid string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var jwk struct {
		Kid, Kty, D string
		Keys        []json.RawMessage
	}
	if err := json.Unmarshal(data, &jwk); err != nil {
		t.Fatal(err)
	}
	if len(jwk.Keys) > 0 {
		if err := json.Unmarshal(jwk.Keys[0], &jwk); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := base64.RawURLEncoding.DecodeString(jwk.D)
	if err != nil {
		t.Fatal(err)
	}
	if jwk.Kty == "OKP" {
		return ed25519.NewKeyFromSeed(secret), jwk.Kid
	}
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return k, jwk.Kid
}

func userHash(key []byte, user string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(user))
	return hex.EncodeToString(m.Sum(nil))
}

// enter writes the directory that the agents of the demo read.
func enter(t *testing.T, dir string, key []byte, homes map[string]string) {
	t.Helper()
	var out strings.Builder
	for _, user := range slices.Sorted(maps.Keys(homes)) {
		fmt.Fprintf(&out, "%q: %q\n", userHash(key, user), homes[user])
	}
	file := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(file+".new", []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// hashKey is the key of the agents' keyed hash.
func hashKey(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "users.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pinKey is the file of the key that signs a region's pins.
func pinKey(dir, region string) string { return filepath.Join(dir, "agents", region+"-pin.jwk") }

// whoever adds credentials where homes are found: a token anywhere, pins beside it.
func (g *generator) whoever(w *wire) (token, query string) {
	token = pick(g, pick(g, g.pool.unsaid...), pick(g, g.pool.unsaid...), pick(g, g.pool.valid...))
	if g.of(8) {
		token = pick(g, g.pool.broken...)
	}
	var cookies []string // in one header, as a browser sends them
	defer func() {
		if len(cookies) > 0 {
			w.add("Cookie", strings.Join(cookies, "; "))
		}
	}()
	place := func(t string) {
		switch g.IntN(8) {
		case 0:
			cookies = append(cookies, pick(g, "session=", "a=b; session=")+t)
		case 1:
			query += "&" + pick(g, "access_token=", "access%5Ftoken=", "a=1&access_token=") + t
		case 2:
			w.add("Sec-WebSocket-Protocol", pick(g, "", "chat, ")+"bearer."+t)
		default:
			w.add("Authorization", "Bearer "+t)
		}
	}
	place(token)
	if g.of(12) {
		place(pick(g, pick(g, g.pool.unsaid...), pick(g, g.pool.valid...), pick(g, g.pool.broken...)))
	}
	for g.of(2) {
		own := g.pool.pinsOf["Bearer "+token]
		if len(own) == 0 || g.of(8) {
			own = g.pool.pinsOf[pick(g, slices.Sorted(maps.Keys(g.pool.pinsOf))...)]
		}
		p := pick(g, own...)
		if g.of(3) {
			cookies = append(cookies, pick(g, "domicile-pin=", "a=b; domicile-pin=")+p)
		} else {
			w.add("Domicile-Pin", p)
		}
	}
	return token, strings.TrimPrefix(query, "&")
}

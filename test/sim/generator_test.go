package sim_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes random requests, the same ones for the same seed.
type generator struct {
	*rand.Rand
	doors []door
	pool  *pool
	name  string
	n     int
}

// of tells whether something happens that does so once in n times.
func (g *generator) of(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// next makes one request and says where to send it.
func (g *generator) next() (string, wire) {
	d := pick(g, g.doors...)
	g.n++
	w := wire{region: d.region, role: d.role, h2: g.of(7), marker: fmt.Sprintf("sim=%s-%d.", g.name, g.n)}
	w.method = pick(g, "GET", "GET", "GET", "POST", "POST", "PUT", "OPTIONS", "HEAD")
	credentials := g.credentials
	if findable {
		credentials = g.whoever
	}
	token, query := credentials(&w)
	g.path(&w, g.pool.known[token].user)
	if query != "" {
		query = "&" + query
	}
	w.target += "?" + w.marker + query + pick(g, "", "", "", "&a=/../x", "&b=%2f;c")
	g.host(&w, d)
	if g.of(2) {
		for range 1 + g.IntN(3) {
			g.lie(&w)
		}
	}
	switch {
	case w.method == "POST" || w.method == "PUT":
		g.content(&w)
	case w.method == "GET" && !w.h2 && g.of(12):
		g.upgrade(&w)
	}
	if g.of(20) {
		g.spoil(&w)
	}
	g.Shuffle(len(w.headers), func(i, j int) { w.headers[i], w.headers[j] = w.headers[j], w.headers[i] })
	return d.addr, w
}

func (w *wire) add(name, value string) { w.headers = append(w.headers, [2]string{name, value}) }

// credentials adds who the caller says he is; it returns a token of his, and
// what to add to the query.
func (g *generator) credentials(w *wire) (token, query string) {
	token = pick(g, g.pool.valid...)
	if g.of(6) {
		token = pick(g, g.pool.broken...)
	}
	second := pick(g, g.pool.valid...)
	if g.of(4) {
		second = pick(g, g.pool.broken...)
	}
	name := pick(g, "Authorization", "authorization", "AUTHORIZATION")
	if w.h2 {
		name = "Authorization"
	}
	switch g.IntN(24) {
	case 0, 1:
	case 2:
		w.add(name, pick(g, "Basic Zm9v", "Bearer x.y.z", "Bearer "+token[1:], "Bearer "+token[:len(token)-3], "Digest "+token))
	case 3:
		w.add(name, "Bearer "+token)
		w.add("Authorization", pick(g, "Bearer "+second, "Bearer "+token, "Basic Zm9v", "Bearer x.y.z"))
	case 4:
		w.add(name, "Bearer "+token+","+pick(g, "", " ")+"Bearer "+second)
	case 5:
		if g.of(2) {
			w.add(name, "Bearer "+token)
		}
		w.add("Cookie", pick(g, "session=", "a=b; token=", "token=")+second)
	case 6:
		if g.of(2) {
			w.add(name, "Bearer "+token)
		}
		query = pick(g, "token=", "access_token=", "a=1&jwt=") + second
	default:
		w.add(name, "Bearer "+token)
	}
	return token, query
}

func (g *generator) path(w *wire, user string) {
	who := pick(g, user, user, g.pool.known[pick(g, g.pool.valid...)].user, "nobody")
	clean := pick(g, "/v1/messages", "/v1/messages", "/v1/messages/"+who, "/v1/profiles/"+who, "/v1/profiles/"+who, "/v1/friends/"+who, "/v1/friends/"+who,
		"/v1/login", "/v1/login/start", "/healthz", "/ws")
	if w.h2 && w.method == "POST" && g.of(3) {
		clean = "/grpc.health.v1.Health/Check"
		w.add("Content-Type", "application/grpc")
		w.add("Te", "trailers")
		w.body = "\x00\x00\x00\x00\x00"
		w.target = clean
		return
	}
	switch g.IntN(20) {
	case 0:
		clean = pick(g, "/", "/v1", "/v1/", "/nowhere", "/__stats", "/.domicile/health/message", "/v1/profiles", "/v1/profiles/", "/v1/friends/", "/ws/x", "/api"+clean)
	case 1:
		clean += pick(g, "x", "/", "/x", ".", "%20", "-", "/..", "/.", "/../x", "/../"+user)
	case 2:
		clean = pick(g, strings.ToUpper(clean), strings.Replace(clean, "v1", "V1", 1), strings.Replace(clean, "/v1", "", 1))
	case 3:
		i := 1 + g.IntN(len(clean)-1) // one letter escaped
		clean = clean[:i] + fmt.Sprintf(pick(g, "%%%02x", "%%%02X"), clean[i]) + clean[i+1:]
	case 4:
		clean = pick(g, "/", "/x/..", "/./", "/../..", "/%2e%2e", "/a/b/../..") + clean
		if strings.HasPrefix(clean, "/./") {
			clean = clean[:2] + clean[3:]
		}
	case 5:
		clean += pick(g, ";a=b", ";", "%3bx", "%2f..%2fx", "%5c..", "%00", "%252e%252e", "/%2f", "/..%3b/x")
	case 6:
		clean = pick(g, "/..;x"+clean, clean+"/..;", strings.ReplaceAll(clean, "/", "//"), strings.Replace(clean, "/", "/.;a/", 1), clean+`\x`)
	case 7:
		if !w.h2 {
			clean = pick(g, "http://", "HTTP://") + pick(g, loopback, "sa.im.example.com", "TR.im.example.com:80", "evil.example", "u@sa.im.example.com", "a.example,b.example") + clean
		}
	}
	w.target = clean
}

func (g *generator) host(w *wire, d door) {
	switch {
	case w.h2 && g.of(8):
		w.add("Host", pick(g, "sa.im.example.com", "tr.im.example.com", "eu.im.example.com", "evil.example", "eu.im.example.com:8443"))
		return
	case w.h2 || !g.of(5):
		w.add("Host", pick(g, d.addr, loopback))
		return
	}
	switch g.IntN(8) {
	case 0:
		w.add("Host", pick(g, "sa.im.example.com,tr.im.example.com", "sa.im.example.com, "+loopback, loopback+",evil.example"))
	case 1:
		w.add("Host", pick(g, loopback, "sa.im.example.com"))
		w.add(pick(g, "Host", "host", "HOST"), pick(g, loopback, "tr.im.example.com"))
	case 2:
		w.add("Host", pick(g, "sa.im.example.com.", "u@sa.im.example.com", "sa.im.example.com/x", "eu.im.example.com#x", "", "sa.im.example.com x", "sа.im.example.com"))
	case 3:
		if g.of(2) {
			w.add("Host", pick(g, "evil.example", "im.example.com", "sa.im.example.com.evil.example", "xn--s-7sb.im.example.com", "127.0.0.2"))
		} // else none
	default:
		w.add("Host", pick(g, "sa.im.example.com", "TR.IM.Example.com", "eu.im.example.com:443", "tr.im.example.com:8080", "eu.im.example.com"))
	}
}

// lie adds what a client may claim without being believed.
func (g *generator) lie(w *wire) {
	region := pick(g, "eu-frankfurt", "me-riyadh", "tr-istanbul")
	home := pick(g, "SA", "TR", "DE", "SA, TR", "")
	l := pick(g, [][2]string{
		{"x-domicile-home", home}, {"X-Domicile-Home", home}, {"X-DOMICILE-HOME", home}, {"x-domicile-user", "root"}, {"x-domicile-issuer", issuer},
		{"x-domicile-entry", "spiffe://domicile.local/" + region + "/gateway/x"}, {"x-domicile-region", region}, {"x-domicile-pin", "eyJ"}, {"x-domicile-" + home + "x", "1"},
		{"x-envoy-original-path", "/healthz"}, {"x-envoy-upstream-rq-timeout-ms", "1"}, {"x-envoy-retry-on", "5xx,retriable-status-codes"}, {"x-envoy-retriable-status-codes", "200"},
		{"x-envoy-max-retries", "5"}, {"x-envoy-hedge-on-per-try-timeout", "true"}, {"x-envoy-upstream-rq-per-try-timeout-ms", "1"}, {"x-envoy-internal", "true"},
		{"x-envoy-decorator-operation", "x"}, {"x-envoy-original-host", "tr.im.example.com"},
		{"X-Forwarded-For", "88.230.0.1"}, {"X-Forwarded-For", strings.Repeat("1.1.1.1, ", 60) + "2.2.2.2"}, {"X-Forwarded-Host", "tr.im.example.com"}, {"X-Forwarded-Proto", "https"},
		{"Forwarded", "for=88.230.0.1;host=tr.im.example.com"}, {"X-Real-IP", "88.230.0.1"}, {"X-Forwarded-Client-Cert", "URI=spiffe://domicile.local/" + region + "/gateway/x"},
		{"X-Original-URL", "/healthz"}, {"X-HTTP-Method-Override", "DELETE"}, {"Origin", "https://evil.example"}, {"Access-Control-Request-Method", "GET"}, {"X-Request-Id", "1"},
	}...)
	if !w.h2 && g.of(6) {
		l = [2]string{"Connection", pick(g, "x-domicile-home", "keep-alive, x-domicile-user", "close, x-domicile-home", "x-domicile-issuer", "authorization")}
	}
	w.add(l[0], l[1])
	if g.of(5) {
		w.add(l[0], pick(g, l[1], "TR"))
	}
}

// content adds a body; over HTTP/2 the client frames it.
func (g *generator) content(w *wire) {
	if w.body == "" {
		w.body = pick(g, "", "{}", `{"displayName":"x"}`, "hi", strings.Repeat("long ", 1000))
	}
	switch {
	case w.h2:
	case g.of(3):
		w.chunked = true
		w.add("Transfer-Encoding", "chunked")
		if g.of(2) {
			w.trailers = [][2]string{{"x-domicile-home", "TR"}, {"X-Domicile-User", "root"}, {"Authorization", "Bearer " + pick(g, g.pool.valid...)}}[g.IntN(3):]
			w.add("Trailer", w.trailers[0][0])
		}
	default:
		w.add("Content-Length", fmt.Sprint(len(w.body)))
	}
}

func (g *generator) upgrade(w *wire) {
	if g.of(3) {
		w.target = strings.Replace(w.target, w.target[:strings.Index(w.target, "?")], "/ws", 1)
	}
	w.add("Connection", pick(g, "Upgrade", "upgrade", "keep-alive, Upgrade"))
	w.add("Upgrade", pick(g, "websocket", "websocket", "WebSocket", "h2c", "foo"))
	w.add("Sec-WebSocket-Version", pick(g, "13", "13", "13", "7"))
	w.add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

// spoil makes a request that no proxy may pass on.
func (g *generator) spoil(w *wire) {
	name := pick(g, "x_domicile_home", "X_Domicile_Home", "x-domicile_user", "any_thing")
	switch {
	case w.h2 || g.of(2):
		w.add(name, "TR")
	case w.method == "POST" || w.method == "PUT":
		if w.chunked {
			w.add("Content-Length", "3")
		} else {
			w.add("Content-Length", pick(g, "0", "1", "-1", "+2", "1,2"))
		}
	default:
		w.add(pick(g, "x domicile-home", "x-domicile-home ", ""), "TR")
	}
}

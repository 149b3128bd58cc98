package sim_test

import (
	"slices"
	"strconv"
	"strings"
)

// This file is the oracle. It is written from the words of the design and from
// the facts of policies/, set down again by hand; it shares no code with pkg/,
// nor with the generator. It reads a request as it goes over the wire and says
// what may happen to it.

// The facts of policies/deployment.yaml and policies/jurisdictions.
var (
	regionOfHome = map[string]string{"SA": "me-riyadh", "TR": "tr-istanbul", "DE": "eu-frankfurt", "FR": "eu-frankfurt"}
	regionOfHost = map[string]string{"sa.im.example.com": "me-riyadh", "tr.im.example.com": "tr-istanbul", "eu.im.example.com": "eu-frankfurt"}
	observed     = "" // the home under observation
	entitled     = []string{"SA", "TR", "DE", "FR", "QA"}
)

const (
	issuer   = "https://id.example.com"
	loopback = "127.0.0.1"
)

var statuses = map[string]int{
	"bad-request": 400, "no-identity": 401, "bad-token": 401, "two-identities": 401, "issuer-not-entitled": 403, "no-home": 403,
	"no-class": 403, "no-rule": 403, "entry-not-allowed": 403, "wrong-host": 421, "not-decidable": 503,
}

func deny(reasons ...string) []outcome {
	var out []outcome
	for _, r := range reasons {
		out = append(out, outcome{status: statuses[r], reason: r})
	}
	return out
}

// judge says what may happen to a request, given every token that exists. Mostly
// that is one outcome. Where the design leaves a choice there are more; these are
// all of them:
//
//   - choice 1: what only a careless parser accepts (an absolute target with a
//     user in it, or with another Host, none or several beside it; a backslash,
//     "..;x", an unknown Upgrade, ten or more names in Connection)
//     is refused or read in the one harmless way;
//   - choice 2: a request with two identities of which one is bad;
//   - choice 3: Authorization nominated by Connection is kept, dropped or
//     refused;
//   - choice 4: somebody else's profile or friends, whose home nobody knows yet:
//     not-decidable, or the refusal that the caller's own home would get;
//   - choice 5: an upgrade of something that is no WebSocket: the backend may
//     have answered before the connection is closed;
//   - choice 6: over HTTP/2 a bad request may be reset.
func judge(w wire, tokens map[string]holder) []outcome {
	r := read(w)
	out := deny("bad-request")
	if !r.bad {
		out = decide(w, r, tokens)
		if r.careless {
			out = append(out, deny("bad-request")...)
		}
	}
	for i := range out { // gRPC says it in trailers
		if r.grpc {
			out[i].status = 200
		}
	}
	if r.bad && w.h2 {
		out = append(out, outcome{})
	}
	return out
}

// reading is what a request says once everything is normalised.
type reading struct {
	bad, careless          bool
	host, path, query      string
	authorization, cookies []string
	nominated              bool   // Connection names authorization
	webSocket              bool   // asks for one
	version                string // of the WebSocket protocol
	grpc                   bool
}

func read(w wire) reading {
	var r reading
	all := map[string][]string{}
	for _, h := range w.headers {
		name := strings.ToLower(h[0])
		all[name] = append(all[name], h[1])
		r.bad = r.bad || name == "" || strings.ContainsAny(name, "_ \t")
	}
	lengths, hosts := all["content-length"], all["host"]
	r.authorization, r.cookies = all["authorization"], all["cookie"]
	r.version, r.grpc = strings.Join(all["sec-websocket-version"], ","), slices.Contains(all["content-type"], "application/grpc")
	connection := strings.Split(strings.ToLower(strings.ReplaceAll(strings.Join(all["connection"], ","), " ", "")), ",")
	r.nominated = slices.Contains(connection, "authorization")
	if upgrade := all["upgrade"]; len(upgrade) > 0 && slices.Contains(connection, "upgrade") {
		r.webSocket = strings.EqualFold(upgrade[0], "websocket")
		r.careless = !r.webSocket
	}
	r.careless = r.careless || len(connection) >= 10
	// Beside an absolute target a Host says nothing.
	absolute := len(w.target) > 7 && strings.EqualFold(w.target[:7], "http://")
	if absolute && (len(hosts) != 1 || hosts[0] == "") {
		r.careless, hosts = true, []string{loopback}
	}
	if len(hosts) != 1 || len(lengths)+len(all["transfer-encoding"]) > 1 || strings.Trim(strings.Join(lengths, ""), "0123456789") != "" {
		r.bad = true
		return r
	}
	r.readTarget(w, hosts[0], absolute)
	return r
}

func (r *reading) readTarget(w wire, host string, absolute bool) {
	target := w.target
	r.bad = r.bad || host == ""
	if absolute {
		authority, rest, _ := strings.Cut(target[7:], "/")
		if _, after, user := strings.Cut(authority, "@"); user {
			authority, r.careless = after, true
		}
		r.careless = r.careless || canonical(host) != canonical(authority)
		target, host = "/"+rest, authority
	}
	r.host = canonical(host)
	known := regionOfHost[r.host] != "" || r.host == loopback
	if r.host == "" || !known && w.role == "gateway" {
		r.bad = true
	}
	if !strings.HasPrefix(target, "/") || strings.Contains(target, "#") {
		r.bad = true
	}
	path, query, _ := strings.Cut(target, "?")
	if strings.Contains(path, `\`) {
		r.careless, path = true, strings.ReplaceAll(path, `\`, "/")
	}
	var segments []string
	parts := strings.Split(path, "/")
	for i, s := range parts {
		s = unescape(s, r)
		if name, _, params := strings.Cut(s, ";"); params {
			if name != ".." && name != "." {
				r.bad = true // a parameter could hide where a class ends
			}
			s, r.careless = name, true
		}
		dots := s == "" || s == "." || s == ".."
		if s == ".." && len(segments) > 0 {
			segments = segments[:len(segments)-1]
		}
		if !dots {
			segments = append(segments, s)
		} else if i == len(parts)-1 {
			segments = append(segments, "")
		}
	}
	r.path, r.query = "/"+strings.Join(segments, "/"), query
	// Only what can be closed later may be upgraded.
	if class, _ := classify(*r); r.webSocket && r.path != "/ws" && !(class == "message" && r.grpc) {
		r.bad = true
	}
}

// canonical gives the one spelling of a host, without its port; "" if there is
// none.
func canonical(host string) string {
	name, port, _ := strings.Cut(host, ":")
	name = strings.ToLower(name)
	plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
	if !plain || strings.HasSuffix(name, ".") || strings.Trim(port, "0123456789") != "" {
		return ""
	}
	return name
}

// unescape decodes what needs no escape. An escape that hides a separator, a
// parameter, an escape or the end of a string is ambiguous.
func unescape(s string, r *reading) string {
	first, rest, escaped := strings.Cut(s, "%")
	for i := range len(first) {
		r.bad = r.bad || first[i] >= 0x80
	}
	if !escaped {
		return s
	}
	code, err := strconv.ParseUint(rest[:min(2, len(rest))], 16, 8)
	if err != nil || len(rest) < 2 {
		r.bad = true
		return first + "%" + unescape(rest, r)
	}
	c := string(rune(code))
	switch {
	case strings.Contains("/\\;%\x00", c):
		r.bad = true
	case code < 0x80 && (strings.Contains("-._~", c) || strings.ToLower(c) != strings.ToUpper(c) || c >= "0" && c <= "9"):
		return first + c + unescape(rest[2:], r)
	}
	return first + "%" + rest[:2] + unescape(rest[2:], r)
}

// decide tests in the order of the deny reasons.
func decide(w wire, r reading, tokens map[string]holder) []outcome {
	if r.nominated && len(r.authorization) > 0 { // choice 3
		r.nominated = false
		out := append(decide(w, r, tokens), deny("bad-request")...)
		r.authorization = nil
		return append(out, decide(w, r, tokens)...)
	}
	var seen []holder
	for _, a := range r.authorization {
		for part := range strings.SplitSeq(a, ",") {
			if t, bearer := strings.CutPrefix(strings.TrimSpace(part), "Bearer "); bearer {
				seen = append(seen, tokens[t])
			}
		}
	}
	// Anywhere else a token is none, but beside one it is a second.
	elsewhere := r.query + "&" + strings.ReplaceAll(strings.Join(r.cookies, "&"), "; ", "&")
	for part := range strings.SplitSeq(elsewhere, "&") {
		_, value, _ := strings.Cut(part, "=")
		if h, ok := tokens[value]; ok && len(r.authorization) > 0 {
			seen = append(seen, h)
		}
	}
	class, user := classify(r)
	if len(r.authorization) > 1 || len(seen) > 1 {
		if slices.ContainsFunc(seen, func(h holder) bool { return !h.good }) { // choice 2
			return deny("two-identities", "bad-token")
		}
		return deny("two-identities")
	}
	switch class { // these ask nobody who he is
	case "health":
		return arrive(w, r, class, outcome{region: w.region})
	case "login":
		region := regionOfHost[r.host]
		if r.host == loopback {
			region = w.region
		}
		if region == "" {
			return deny("no-home")
		}
		return arrive(w, r, class, outcome{region: region, user: "-", class: "login"})
	}
	if len(seen) == 0 {
		return deny("no-identity")
	}
	caller := seen[0]
	switch {
	case !caller.good:
		return deny("bad-token")
	case caller.home == "":
		return deny("no-home")
	case !slices.Contains(entitled, caller.home):
		return deny("issuer-not-entitled")
	case class == "":
		return deny("no-class")
	}
	region, refusal := regionOfHome[caller.home], ""
	if region == "" {
		refusal = "no-rule"
	} else if class == "relation" && w.region != region {
		refusal = "entry-not-allowed"
		if named := regionOfHost[r.host]; named != "" && named != region {
			refusal = "wrong-host"
		}
	}
	if refusal != "" && caller.home == observed {
		region, refusal = "today", ""
	}
	switch {
	case user != caller.user && refusal != "": // choice 4
		return deny("not-decidable", refusal)
	case user != caller.user && user != "":
		return deny("not-decidable")
	case refusal != "":
		return deny(refusal)
	}
	return arrive(w, r, class, outcome{region: region, user: caller.user, home: caller.home, class: class})
}

// classify finds the first class that matches, and the user named in the path.
func classify(r reading) (class, user string) {
	under := func(p string) bool { return r.path == p || strings.HasPrefix(r.path, p+"/") }
	switch {
	case r.path == "/healthz":
		return "health", ""
	case under("/v1/login"):
		return "login", ""
	case under("/v1/messages"), r.path == "/ws", r.grpc && strings.HasPrefix(r.path, "/grpc.health.v1.Health/"):
		return "message", ""
	}
	for _, p := range [][2]string{{"/v1/profiles/", "profile"}, {"/v1/friends/", "relation"}} {
		if user, ok := strings.CutPrefix(r.path, p[0]); ok && user != "" && !strings.Contains(user, "/") {
			return p[1], user
		}
	}
	return "", ""
}

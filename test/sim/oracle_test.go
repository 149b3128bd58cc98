package sim_test

import (
	"net/url"
	"slices"
	"strings"
)

// This file is the oracle, with reading_test.go. It is written from the words of the design and from
// the facts of policies/, set down again by hand; it shares no code with pkg/,
// nor with the generator. It reads a request as it goes over the wire and says
// what may happen to it.

// The facts of policies/deployment.yaml and policies/jurisdictions.
var (
	regionOfHome = map[string]string{"SA": "me-riyadh", "TR": "tr-istanbul", "DE": "eu-frankfurt", "FR": "eu-frankfurt"}
	regionOfHost = map[string]string{"sa.im.example.com": "me-riyadh", "tr.im.example.com": "tr-istanbul", "eu.im.example.com": "eu-frankfurt"}
	observed     = ""                  // the home under observation
	findable     = false               // tokens may stand elsewhere or name no home, and there are pins
	fenced       = map[string]string{} // users who are erased, or the home that they left
	epochs       = map[string]string{"SA": "2"}
	entitled     = []string{"SA", "TR", "DE", "FR", "QA"}
)

const (
	issuer   = "https://id.example.com"
	homeless = "https://accounts.example.com" // its tokens name no home
	loopback = "127.0.0.1"
)

var statuses = map[string]int{
	"bad-request": 400, "no-identity": 401, "bad-token": 401, "two-identities": 401, "issuer-not-entitled": 403, "no-home": 403,
	"no-class": 403, "no-rule": 403, "entry-not-allowed": 403, "erased": 410, "wrong-host": 421, "not-decidable": 503,
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
//   - choice 6: over HTTP/2 a bad request may be reset;
//   - choice 7: a parameter with an escape in its name is a token's, or a stray one too;
//   - choice 8: a pin beside a token that would be refused for its home anyway;
//   - choice 9: a pin of somebody who is kept out, whoever presents it.
func judge(w wire, known *pool) []outcome {
	r := read(w)
	out := deny("bad-request")
	if !r.bad {
		out = decide(w, r, known)
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

// decide tests in the order of the deny reasons.
func decide(w wire, r reading, known *pool) []outcome {
	if r.nominated && len(r.authorization) > 0 { // choice 3
		r.nominated = false
		out := append(decide(w, r, known), deny("bad-request")...)
		r.authorization = nil
		return append(out, decide(w, r, known)...)
	}
	seen, strays := r.credentials(known.known)
	if len(r.authorization)+len(seen) > 0 { // anywhere else a token is none, but beside one it is a second
		seen = append(seen, strays...)
	}
	class, user := classify(r)
	pins := r.allPins()
	if len(r.authorization) > 1 || len(seen) > 1 || findable && len(pins) > 1 {
		if slices.ContainsFunc(seen, func(c credential) bool { return !c.good }) { // choice 2
			return deny("two-identities", "bad-token")
		}
		return deny("two-identities")
	}
	if r.escaped { // choice 7
		r.escaped = false
		return append(decide(w, r, known), deny("two-identities")...)
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
	switch {
	case len(seen) == 0:
		return deny("no-identity")
	case !seen[0].good:
		return deny("bad-token")
	case fenced[seen[0].user] == "erased":
		return deny("erased")
	case fenced[seen[0].user] != "" && fenced[seen[0].user] == seen[0].home: // which he has left
		return deny("bad-token")
	}
	var p stamp // that this region signed
	if len(pins) > 0 && findable && known.pins[pins[0]].good && known.pins[pins[0]].region == w.region {
		p = known.pins[pins[0]]
	}
	out := settle(w, r, seen[0].holder, home(seen[0], p, known), class, user)
	switch fenced[p.user] { // choice 9
	case "":
	case "erased":
		out = append(out, deny("erased")...)
	case p.home:
		out = append(out, deny("bad-token")...)
	}
	return out
}

// settle judges a caller whose home is known, or is none.
func settle(w wire, r reading, caller holder, home, class, user string) []outcome {
	switch {
	case home == "two" && !slices.Contains(entitled, caller.home): // choice 8
		return deny("two-identities", "issuer-not-entitled")
	case home == "two":
		return deny("two-identities")
	case home == "":
		return deny("no-home")
	case !slices.Contains(entitled, home):
		return deny("issuer-not-entitled")
	case fenced[caller.user] == home: // the directory may not know yet
		return deny("bad-token", "not-decidable")
	case class == "":
		return deny("no-class")
	}
	region, refusal := regionOfHome[home], ""
	if region == "" {
		refusal = "no-rule"
	} else if class == "relation" && w.region != region {
		refusal = "entry-not-allowed"
		if named := regionOfHost[r.host]; named != "" && named != region {
			refusal = "wrong-host"
		}
	}
	if refusal != "" && home == observed {
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
	return arrive(w, r, class, outcome{region: region, user: caller.user, home: home, issuer: caller.issuer, found: caller.home == "", class: class})
}

// credential is a token where tokens are looked for; value is the header's, where
// it stands in one that a pin can be bound to.
type credential struct {
	holder
	value string
}

// credentials finds the tokens of a request, and those that stand where none is
// looked for.
func (r reading) credentials(tokens map[string]holder) (seen, strays []credential) {
	for _, a := range r.authorization {
		for part := range strings.SplitSeq(a, ",") {
			if t, bearer := strings.CutPrefix(strings.TrimSpace(part), "Bearer "); bearer {
				seen = append(seen, credential{tokens[t], a})
			}
		}
	}
	place := func(name, value, named string) {
		h, ok := tokens[value]
		switch {
		case findable && name == named:
			seen = append(seen, credential{h, ""})
		case ok:
			strays = append(strays, credential{h, ""})
		}
	}
	for part := range strings.SplitSeq(r.query, "&") {
		name, value, _ := strings.Cut(part, "=")
		plain, _ := url.QueryUnescape(name)
		place(plain, value, "access_token")
	}
	for part := range strings.SplitSeq(strings.Join(r.cookies, "; "), "; ") {
		name, value, _ := strings.Cut(part, "=")
		place(name, value, "session")
	}
	for item := range strings.SplitSeq(strings.Join(r.protocols, ","), ",") {
		if t, ok := strings.CutPrefix(strings.TrimSpace(item), "bearer."); ok && findable {
			seen = append(seen, credential{tokens[t], ""})
		}
	}
	return seen, strays
}

// allPins are what stands where pins do.
func (r reading) allPins() []string {
	out := r.pins
	for part := range strings.SplitSeq(strings.Join(r.cookies, "; "), "; ") {
		if v, ok := strings.CutPrefix(part, "domicile-pin="); ok {
			out = append(out, v)
		}
	}
	return out
}

// home says where a caller is at home: where the token says, or else where a pin does
// that this region signed, for this token in a header and for the home's epoch, or
// else where the directory does; "two" where token and pin contradict each other.
func home(c credential, p stamp, known *pool) string {
	switch {
	case c.home != "" && p.good && c.home != p.home:
		return "two"
	case c.home != "":
		return c.home
	case p.good && c.value != "" && strings.HasSuffix(c.value, p.credential) && p.epoch == max(epochs[p.home], "0") && slices.Contains(entitled, p.home):
		return p.home // of a home that nobody may name a pin says nothing
	}
	return known.directory[c.user]
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

package sim_test

import (
	"slices"
	"strconv"
	"strings"
)

// This file is the oracle's half that reads HTTP; the other half judges what it read.

// reading is what a request says once everything is normalised.
type reading struct {
	bad, careless, escaped bool
	host, path, query      string
	authorization, cookies []string
	protocols, pins        []string // Sec-WebSocket-Protocol and domicile-pin
	nominated              bool     // Connection names authorization
	webSocket              bool     // asks for one
	version                string   // of the WebSocket protocol
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
	r.protocols, r.pins = all["sec-websocket-protocol"], all["domicile-pin"]
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
	r.escaped = strings.Contains(query, "access%5Ftoken=")
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

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/policies"
)

func TestSeries(t *testing.T) {
	hundred := make(series, 100)
	for i := range hundred {
		hundred[99-i] = float64(i + 1)
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"median of an odd number", series{9, 1, 5}.median(), 5},
		{"median of an even number", series{9, 1, 5, 2}.median(), 3.5},
		{"median of one", series{7}.median(), 7},
		{"min", series{3, 1, 2}.min(), 1},
		{"max", series{3, 1, 2}.max(), 3},
		{"p99 of 100", hundred.quantile(0.99), 99},
		{"p50 of 100", hundred.quantile(0.5), 50},
		{"p99 of fewer than 100 is the greatest", hundred[:40].quantile(0.99), 100},
		{"milliseconds", ms([]time.Duration{1500 * time.Microsecond})[0], 1.5},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if !math.IsNaN(series{}.median()) || !math.IsNaN(series{}.min()) {
		t.Error("nothing measured gives a figure")
	}
	s := series{3, 1, 2}
	if s.median(); s[0] != 3 {
		t.Error("the order of the rounds is lost")
	}
	if d := cmp.Diff(series{2, 0.5}, series{4, 2, 9}.over(series{2, 4})); d != "" {
		t.Errorf("ratios are not taken round by round: %s", d)
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		g    *goal
		x    float64
		want bool
	}{
		{atLeast(0.9), 0.9, true}, {atLeast(0.9), 0.899, false}, {atMost(30), 30, true}, {atMost(30), 30.1, false},
		{atMost(30), math.NaN(), false}, {atLeast(0.9), math.NaN(), false},
	} {
		if got := c.g.met(c.x); got != c.want {
			t.Errorf("%v %v: %v", c.x, c.g, got)
		}
	}
}

func TestCostAndRateMeanTheSame(t *testing.T) {
	m := samples{}
	m.add("a", sample{rate: 200, cost: 10})
	m.add("b", sample{rate: 100, cost: 20})
	if r, c := m.rate("a", "b").median(), m.cost("a", "b").median(); r != 2 || c != 2 {
		t.Errorf("a is twice as good as b, but by rate it is %v and by cost %v", r, c)
	}
}

func TestReport(t *testing.T) {
	r := &report{Rounds: 3, Versions: []version{{"Envoy", "9.9"}}}
	r.add("P3", "second", "×", series{2, 1, 3}, atLeast(2.5))
	r.add("P1", "first", "×", series{1}, atLeast(0.9))
	r.note("a note")
	var text, body bytes.Buffer
	if err := r.table(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.00 ×", "1.00–3.00", "≥ 2.5 ×", "NO", "1 of 2 goals met", "Envoy 9.9", "a note"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &text)
		}
	}
	if strings.Index(text.String(), "first") > strings.Index(text.String(), "second") {
		t.Error("the rows are not in their order")
	}
	if err := r.json(&body); err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(body.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*r, back); d != "" {
		t.Error(d)
	}
}

func TestReadHead(t *testing.T) {
	for _, c := range []struct {
		in                   string
		head, status, length int
		fails                bool
	}{
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", head: 38, status: 200, length: 2},
		{in: "HTTP/1.1 403 Forbidden\r\nx: y\r\ncontent-length:0\r\n\r\n", head: 50, status: 403},
		{in: "HTTP/1.1 101 Switching Protocols\r\n\r\n", head: 36, status: 101},
		{in: "HTTP/1.1 200 OK\r\nContent-Le"},
		{in: ""},
		{in: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", fails: true},
		{in: "HTTP/1.1 200 OK\r\nx-content-length: 5\r\n\r\n", fails: true},
		{in: "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", fails: true},
		{in: "SSH-2.0-OpenSSH_9\r\n\r\n", fails: true},
		{in: "HTTP/1.1 2xx OK\r\n\r\n", fails: true},
	} {
		head, status, length, err := readHead([]byte(c.in))
		if (err != nil) != c.fails || !c.fails && (head != c.head || status != c.status || length != c.length) {
			t.Errorf("%q: head %d, status %d, length %d, %v", c.in, head, status, length, err)
		}
	}
}

// A refused request must end the run, wherever in the load it is.
func TestDriveCountsAndFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 3)
				for {
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 "+string(buf)+" X\r\ncontent-length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	conns, err := dialAll(l.Addr().String(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(conns)
	good := &requests{list: [][]byte{[]byte("200")}}
	n, _, err := drive(t.Context(), conns, time.Minute, 50, good.exchange)
	if n != 50 || err != nil {
		t.Errorf("%d of 50 done: %v", n, err)
	}
	bad := &requests{list: [][]byte{[]byte("200"), []byte("200"), []byte("503")}}
	if _, _, err := drive(t.Context(), conns, time.Minute, 50, bad.exchange); err == nil || !strings.Contains(err.Error(), "status 503") {
		t.Errorf("a refusal went unnoticed: %v", err)
	}
}

func TestEchoUnmasks(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go echo(server)
	if err := client.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := talk(&wire{client, make([]byte, 4096)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455, 1.3
		t.Errorf("accept key %s", got)
	}
}

func TestCPUTime(t *testing.T) {
	const stat = "7 (an odd) name) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 3 0 1 2 3"
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	threads := fstest.MapFS{
		"7/stat": file(stat), "7/task/7/schedstat": file("1000 5 1\n"), "7/task/8/schedstat": file("2500 5 1\n"),
	}
	for name, c := range map[string]struct {
		proc fstest.MapFS
		want time.Duration
	}{
		"threads":             {threads, 3500},
		"a kernel without":    {fstest.MapFS{"7/stat": file(stat)}, 2 * time.Second},
		"schedstat all zero":  {fstest.MapFS{"7/stat": file(stat), "7/task/7/schedstat": file("0 0 0\n")}, 2 * time.Second},
		"no such process":     {fstest.MapFS{}, -1},
		"a broken schedstat":  {fstest.MapFS{"7/stat": file(stat), "7/task/7/schedstat": file("x 0 0")}, -1},
		"a stat cut short":    {fstest.MapFS{"7/stat": file("7 (x) S 1 7")}, -1},
		"a stat without name": {fstest.MapFS{"7/stat": file("7")}, -1},
	} {
		got, err := cpuTime(c.proc, 7)
		if c.want < 0 != (err != nil) || err == nil && got != c.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestField(t *testing.T) {
	if got := field("processor\t: 0\nmodel name\t: AMD: X\n", "model name"); got != "AMD: X" {
		t.Errorf("%q", got)
	}
}

func TestFlags(t *testing.T) {
	o, err := parseFlags([]string{"--rows", "p7, P1", "--seconds", "0.5"}, io.Discard)
	if err != nil || !o.wants("P7") || o.wants("P3", "P5") || o.seconds != 500*time.Millisecond || o.rounds != 5 {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range [][]string{
		{"--rows", "P2"}, {"--rows", ""}, {"--rounds", "0"}, {"--seconds", "0"}, {"--output", "xml"}, {"--users", "30000"}, {"--users", "1"}, {"--changes", "1"}, {"x"}, {"--seconds", "31"},
	} {
		if _, err := parseFlags(bad, io.Discard); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if _, err := parseFlags([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

// Cold tokens together with warm ones must stay below the gateway's cache.
func TestColdTokensFitBesideWarmOnes(t *testing.T) {
	b := &bench{options: options{tokens: mostTokens, rounds: mostRounds}}
	if n := b.tokens + b.rounds*b.coldTokens(); n > 32768 {
		t.Errorf("%d tokens would push each other out", n)
	}
}

func TestSyntheticPolicyIsGood(t *testing.T) {
	if n := len(countries()); n != 249 {
		t.Errorf("%d countries", n)
	}
	set, problems := policy.Parse(manyPolicies(), policies.Shipped())
	if policy.HasErrors(problems) || len(set.Jurisdictions) != 249 || len(set.Deployment.Regions) != manyRegions {
		t.Errorf("%v", problems[:min(3, len(problems))])
	}
}

func TestChangedPoliciesDifferInOneCell(t *testing.T) {
	allow, forbid, err := archives(t.TempDir() + "/p")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(allow, forbid) {
		t.Error("nothing changes")
	}
}

func TestTokensCarryOnlyHomesServedHere(t *testing.T) {
	m, err := newMint()
	if err != nil {
		t.Fatal(err)
	}
	list, err := m.requests("u", 12, smallHomes)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range list {
		seen[string(r)] = true
	}
	if len(seen) != 12 {
		t.Errorf("%d different requests of 12", len(seen))
	}
	regions := rivals{homes: smallHomes}.regionMap()
	for i := range 12 {
		if home := homeName(i % (smallHomes / 2) * 2); regions[home] != here {
			t.Errorf("home %s lives in %s", home, regions[home])
		}
	}
}

package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/policies"
	"github.com/domicile-dev/domicile/test/bench/large"
	"github.com/domicile-dev/domicile/test/bench/load"
)

func TestCostAndRateMeanTheSame(t *testing.T) {
	m := samples{}
	m.add("a", sample{rate: 200, cost: 10})
	m.add("b", sample{rate: 100, cost: 20})
	if r, c := m.rate("a", "b").Median(), m.cost("a", "b").Median(); r != 2 || c != 2 {
		t.Errorf("a is twice as good as b, but by rate it is %v and by cost %v", r, c)
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
		if err := talk(&load.Wire{Conn: client, Buf: make([]byte, 4096)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455, 1.3
		t.Errorf("accept key %s", got)
	}
}

func TestFlags(t *testing.T) {
	o, err := parseFlags([]string{"--rows", "p7, P1", "--seconds", "0.5"}, io.Discard)
	if err != nil || !o.wants("P7") || o.wants("P3", "P5") || o.seconds != 500*time.Millisecond || o.rounds != 5 {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range [][]string{
		{"--rows", "P8"}, {"--rows", ""}, {"--rounds", "0"}, {"--seconds", "0"}, {"--output", "xml"}, {"--users", "30000"}, {"--users", "1"}, {"--changes", "1"}, {"x"}, {"--seconds", "31"},
	} {
		if _, err := parseFlags(bad, io.Discard); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if _, err := parseFlags([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

func TestColdTokensFitBesideWarmOnes(t *testing.T) {
	b := &bench{options: options{tokens: mostTokens, rounds: mostRounds}}
	if n := b.tokens + b.rounds*b.coldTokens(); n > 32768 {
		t.Errorf("%d tokens would push each other out", n)
	}
}

func TestSyntheticPolicyIsGood(t *testing.T) {
	if n := len(large.Countries()); n != 249 {
		t.Errorf("%d countries", n)
	}
	set, problems := policy.Parse(large.Policies(large.Homes, large.Regions, classNames, time.Now()), policies.Shipped())
	if policy.HasErrors(problems) || len(set.Jurisdictions) != 249 || len(set.Deployment.Regions) != large.Regions {
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

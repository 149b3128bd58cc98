package inforce_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/domicile-dev/domicile/pkg/agent/inforce"
	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/follow"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/residency"
	"github.com/domicile-dev/domicile/pkg/topology"
)

const region = "me-riyadh"

// opened is a directory that notes what is done to it.
type opened struct {
	*directory.Memory
	kind   string
	forgot []string
	closed bool
}

func (o *opened) Forget(hash string) { o.forgot = append(o.forgot, hash) }
func (o *opened) Close()             { o.closed = true }

type stand struct {
	*inforce.State
	t      *testing.T
	dir    string
	now    *follow.Policy
	opened []*opened
	err    error
}

func newStand(t *testing.T) *stand {
	s := &stand{t: t, dir: t.TempDir()}
	s.State = inforce.New(inforce.Config{
		Region: region, Policy: func() *follow.Policy { return s.now }, PinKey: s.path("pin.jwk"), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Open: func(d *topology.Directory) (inforce.Directory, error) {
			if d == nil || s.err != nil {
				return nil, s.err
			}
			o := &opened{Memory: directory.NewMemory(), kind: d.Kind}
			s.opened = append(s.opened, o)
			return o, nil
		},
	})
	return s
}

func (s *stand) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stand) write(name, data string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(data), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// policy is one with an issuer whose secret is in a file of this region.
func (s *stand) policy(edit func(*topology.Topology)) *follow.Policy {
	s.t.Helper()
	tab, err := residency.New(residency.Spec{Issuers: []residency.Issuer{{Issuer: "im", Homes: []string{"SA"}}}})
	if err != nil {
		s.t.Fatal(err)
	}
	top := &topology.Topology{
		Regions: []topology.Region{{Name: region}}, Pins: &topology.Pins{},
		Issuers:   []topology.Issuer{{Issuer: "im", Nameless: true, Secret: &topology.Secret{File: s.path("secret.json"), Regions: []string{region}}}},
		Directory: &topology.Directory{Kind: "redis"},
	}
	if edit != nil {
		edit(top)
	}
	return &follow.Policy{Result: &compile.Result{Table: tab, Topology: top}}
}

// newPin makes a key, and its public half.
func newPin(t *testing.T, kid string) (private, public string) {
	t.Helper()
	data, err := pin.NewKey(kid, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	k, err := pin.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Public()
	if err != nil {
		t.Fatal(err)
	}
	return string(data), string(p)
}

func secret(fill string) string {
	return `{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(fill, 32))) + `"}`
}

func (s *stand) problems(want ...string) {
	s.t.Helper()
	err := s.Problems()
	if (err == nil) != (len(want) == 0) {
		s.t.Fatalf("problems: %v, want %q", err, want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			s.t.Errorf("problems: %v, want %q", err, w)
		}
	}
}

func TestWhatIsOnThisMachineIsFollowed(t *testing.T) {
	s := newStand(t)
	s.Refresh()
	if s.Policy() != nil || s.Directory() != nil || s.Signer() != nil {
		t.Error("something is in force before the first policy")
	}
	s.problems("pin.jwk")
	private, public := newPin(t, "a")
	s.write("pin.jwk", private)
	s.now = s.policy(func(top *topology.Topology) { top.Regions[0].PinKeys = public })
	s.Refresh()
	s.problems("secret.json", "issuer im")
	if s.Policy() == nil || s.Directory() == nil || s.Signer() == nil || s.Signer().Kid() != "a" {
		t.Fatal("what can be used is not in force")
	}
	s.write("secret.json", secret("k"))
	s.Refresh()
	s.problems()
	first := s.Policy()
	s.Refresh()
	if s.Policy() != first {
		t.Error("made again though nothing has changed")
	}
	s.write("secret.json", secret("l"))
	s.Refresh()
	if s.Policy() == first {
		t.Error("a new secret is not taken up")
	}
	// What breaks stays as it was.
	second := s.Policy()
	if err := os.Remove(s.path("secret.json")); err != nil {
		t.Fatal(err)
	}
	s.write("pin.jwk", "{")
	s.Refresh()
	s.problems("secret.json", "read pin keys")
	if s.Policy() != second || s.Signer() == nil || s.Signer().Kid() != "a" {
		t.Error("a broken file took something away")
	}
	s.write("secret.json", secret("l"))
	other, _ := newPin(t, "b")
	s.write("pin.jwk", other)
	s.Refresh()
	s.problems("pins are not issued")
	if s.Signer() != nil {
		t.Error("a key signs whose public half is in no policy")
	}
}

func TestDirectoriesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		s.now = s.policy(nil)
		s.Refresh()
		s.Refresh()
		if len(s.opened) != 1 || s.opened[0].kind != "redis" {
			t.Fatalf("opened: %+v", s.opened)
		}
		s.Forget("h")
		if got := s.opened[0].forgot; len(got) != 1 {
			t.Errorf("forgot %v", got)
		}
		s.now = s.policy(func(top *topology.Topology) { top.Directory = &topology.Directory{Kind: "http"} })
		s.Refresh()
		if len(s.opened) != 2 || s.opened[0].closed {
			t.Fatalf("opened: %+v", s.opened)
		}
		time.Sleep(6 * time.Second) // the bubble's clock
		synctest.Wait()
		if !s.opened[0].closed || s.opened[1].closed {
			t.Error("the old one stays open, or the new one does not")
		}
		s.err = errors.New("no such kind")
		s.now = s.policy(func(top *topology.Topology) { top.Directory = &topology.Directory{Kind: "x"} })
		s.Refresh()
		if _, _, err := s.Directory().Lookup(ctx, "h"); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("one that cannot be opened: %v", err)
		}
		s.problems("no such kind", "pin.jwk", "secret.json")
		s.err = nil
		s.now = s.policy(func(top *topology.Topology) { top.Directory = nil })
		time.Sleep(6 * time.Second) // Run takes it up
		synctest.Wait()
		if s.Directory() != nil {
			t.Error("there is one that nobody has")
		}
		s.Forget("h")
		s.now = s.policy(nil)
		s.Refresh()
		cancel()
		if err := <-done; err != nil || !s.opened[2].closed {
			t.Errorf("%v; open after the end", err)
		}
		time.Sleep(6 * time.Second)
	})
}

func TestSecretsOfOtherRegionsAreNotRead(t *testing.T) {
	s := newStand(t)
	private, _ := newPin(t, "a")
	s.write("pin.jwk", private)
	s.now = s.policy(func(top *topology.Topology) {
		top.Issuers[0].Secret.Regions, top.Pins = []string{"eu-frankfurt"}, nil
	})
	s.Refresh()
	s.problems() // the file is not there, and nobody asks
}

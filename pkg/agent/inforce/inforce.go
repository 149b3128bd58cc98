// Package inforce joins the policy in force at an agent with what only its machine
// knows: the symmetric keys of issuers, the private keys of pins, and the directory.
// None of them is in a bundle, and each may change while the agent runs.
//
// What cannot be used is not half used: a broken key file leaves the keys as they
// were, an issuer whose secret is missing verifies nothing, and a directory that
// cannot be opened answers every question with an error. Problems tells all of it.
//
// All methods are safe for concurrent use.
package inforce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/follow"
	"github.com/domicile-dev/domicile/pkg/pin"
	"github.com/domicile-dev/domicile/pkg/resolver"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// recheck is how often the files of this machine are looked at.
const recheck = 5 * time.Second

// maxSecret bounds a key file, in bytes.
const maxSecret = 1 << 20

// Directory is an open directory.
type Directory interface {
	directory.Directory
	// Forget makes the next Lookup of a user ask the source.
	Forget(hash string)
	Close()
}

// Config of a State. Region, Policy, Log and Now are required.
type Config struct {
	Region string
	// Policy returns what is in force; nil before the first.
	Policy func() *follow.Policy
	// PinKey is the file of the private keys of pins; empty for none.
	PinKey string
	// Open opens the directory of a deployment, nil where it has none. It returns nil
	// where there is none on this machine either.
	Open func(*topology.Directory) (Directory, error)
	Log  *slog.Logger
	Now  func() time.Time
}

// State is what is in force at an agent.
type State struct {
	Config

	mu       sync.Mutex
	followed *follow.Policy
	policy   *resolver.Policy
	secrets  map[string][]byte
	pinFile  []byte
	pins     *pin.Keys
	since    pin.Since
	opened   bool
	deployed *topology.Directory // that directory was opened for
	dir      Directory
	problems map[string]error // by what they are about
}

// New returns a State; Refresh fills it.
func New(c Config) *State { return &State{Config: c, problems: map[string]error{}} }

// Run looks at the files until ctx ends; then it closes the directory and returns nil.
func (s *State) Run(ctx context.Context) error {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.dir != nil {
				s.dir.Close()
			}
			return nil
		case <-tick.C:
			s.Refresh()
		}
	}
}

// Policy returns the policy in force; nil before the first.
func (s *State) Policy() *resolver.Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policy
}

// Directory returns the directory; nil where there is none.
func (s *State) Directory() Directory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dir
}

// Forget makes the next look at a user's home ask the source.
func (s *State) Forget(hash string) {
	if d := s.Directory(); d != nil {
		d.Forget(hash)
	}
}

// Signer returns what pins are signed with now; nil for nothing.
func (s *State) Signer() *pin.Signer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pins.Choose(s.since, s.Now())
}

// Problems tells what cannot be used; nil where all can.
func (s *State) Problems() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []error
	for _, about := range slices.Sorted(maps.Keys(s.problems)) {
		all = append(all, s.problems[about])
	}
	return errors.Join(all...)
}

// Refresh takes up what has changed in the policy or on this machine.
func (s *State) Refresh() {
	followed := s.Config.Policy()
	s.mu.Lock()
	defer s.mu.Unlock()
	var deployed *topology.Directory
	if followed != nil {
		deployed = followed.Topology.Directory
	}
	if !s.opened || !reflect.DeepEqual(deployed, s.deployed) {
		s.open(deployed)
	}
	s.readPins()
	if followed != nil {
		secrets := s.readSecrets(followed.Topology)
		if followed != s.followed || !maps.EqualFunc(secrets, s.secrets, bytes.Equal) {
			s.join(followed, secrets)
		}
	}
	if s.policy != nil {
		s.since = s.since.See(s.pins, s.policy.PinKeys, s.Now())
	}
	var err error
	if s.policy != nil && s.policy.Topology.Pins != nil && s.PinKey != "" && s.pins != nil && len(s.since) == 0 {
		err = fmt.Errorf("pins are not issued: no key in %s has its public half in the policy for %s", s.PinKey, s.Region)
	}
	s.note("pins", err)
}

// note remembers a problem, or that it is over, and logs it once.
func (s *State) note(about string, err error) {
	old := s.problems[about]
	switch {
	case err == nil && old != nil:
		delete(s.problems, about)
		s.Log.Info("can be used again", "what", about)
	case err != nil:
		s.problems[about] = err
		if old == nil || old.Error() != err.Error() {
			s.Log.Error("cannot be used", "what", about, "error", err)
		}
	}
}

// open replaces the directory. The old one is closed when nobody can be asking it any
// more.
func (s *State) open(deployed *topology.Directory) {
	s.opened, s.deployed = true, deployed
	if old := s.dir; old != nil {
		time.AfterFunc(recheck, old.Close)
	}
	s.dir = nil
	if s.Open == nil {
		return
	}
	d, err := s.Open(deployed)
	if err != nil {
		d = closed{err}
	}
	s.note("directory", err)
	s.dir = d
}

// closed is a directory that could not be opened.
type closed struct{ err error }

func (c closed) Lookup(context.Context, string) (string, bool, error) {
	return "", false, fmt.Errorf("%w: %w", directory.ErrUnavailable, c.err)
}
func (closed) Forget(string) {}
func (closed) Close()        {}

func (s *State) readPins() {
	if s.PinKey == "" {
		return
	}
	data, err := readFile(s.PinKey)
	if err == nil && bytes.Equal(data, s.pinFile) {
		s.note("pin keys", nil)
		return
	}
	var keys *pin.Keys
	if err == nil {
		keys, err = pin.ParseKeys(data)
	}
	if err == nil {
		s.pins, s.pinFile = keys, data
	}
	s.note("pin keys", err)
}

// readSecrets reads the symmetric keys that this region has. One that cannot be read
// stays as it was.
func (s *State) readSecrets(top *topology.Topology) map[string][]byte {
	out := map[string][]byte{}
	for _, i := range top.Issuers {
		if i.Secret == nil || !slices.Contains(i.Secret.Regions, s.Region) {
			continue
		}
		data, err := readFile(i.Secret.File)
		if err != nil {
			data = s.secrets[i.Issuer]
		}
		s.note("secret of "+i.Issuer, err)
		out[i.Issuer] = data
	}
	return out
}

func (s *State) join(followed *follow.Policy, secrets map[string][]byte) {
	p, err := resolver.NewPolicy(followed.Table, followed.Topology, s.Region, secrets)
	s.note("keys of issuers", err)
	s.followed, s.secrets, s.policy = followed, secrets, p
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = fmt.Errorf("read %s: larger than %d bytes", path, maxSecret)
	}
	return data, err
}

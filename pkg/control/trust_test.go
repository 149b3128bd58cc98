package control

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
)

// trusts makes a replica that believes kim and lee from the start, with an empty disk.
func (s *signed) trusts() {
	s.t.Helper()
	s.stop()
	var lines []string
	for _, name := range []string{"kim", "lee"} {
		lines = append(lines, name+" "+s.keys[name].Public())
	}
	var err error
	s.trust, err = approval.ReadTrust([]byte(strings.Join(lines, "\n")))
	s.must(err)
	if err := os.Remove(s.state); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	s.start()
}

// write puts a record into the store as somebody who got at etcd would.
func (s *signed) write(b *bundle.Bundle, envelope string) {
	s.t.Helper()
	head, err := s.head(s.t.Context())
	s.must(err)
	_, err = s.store.Publish(s.t.Context(), head.Sequence, b.Archive(), store.Record{Table: "sha256:x", At: time.Now().UTC(), Envelope: envelope})
	s.must(err)
}

// T19: who trusts signers from the start takes no first policy from anybody else.
func TestT19TheFirstPolicyIsSigned(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		s.trusts()
		b, other := s.pack(s.files()), s.pack(s.files(tighter...))
		for name, c := range map[string]struct{ envelope, want string }{
			"by nobody":       {"", "nobody signed it"},
			"by one":          {s.signOn(store.Record{}, b, approval.Apply, "kim"), "also be signed by lee"},
			"by a third":      {s.signOn(store.Record{}, b, approval.Apply, "kim", "max"), "also be signed by lee"},
			"of another":      {s.signOn(store.Record{}, other, approval.Apply, "kim", "lee"), "for another change"},
			"for later":       {s.signOn(store.Record{Sequence: 1}, b, approval.Apply, "kim", "lee"), "for another change"},
			"for a roll-back": {s.signOn(store.Record{}, b, approval.Rollback, "kim", "lee"), "for another change"},
		} {
			if got := missing(s.put(b, c.envelope)); !strings.Contains(got, c.want) {
				t.Errorf("%s: %s", name, got)
			}
		}
		s.must(s.put(b, s.signOn(store.Record{}, b, approval.Apply, "kim", "lee")))
		if n, _ := s.inForce(); n != 1 {
			t.Errorf("in force %d", n)
		}
	})
}

// T19: the same for what stands in the store already, whoever wrote it there.
func TestT19TheStoreIsNotBelievedByItself(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		s.write(s.pack(shipped(t)), "") // no signers: what follows would need none
		synctest.Wait()
		s.trusts()
		if n, _ := s.inForce(); n != 0 {
			t.Errorf("in force %d", n)
		}
		if r := s.Status().Refused; r == nil || !strings.Contains(r.Error, "--trust (kim, lee)") {
			t.Errorf("refused %+v", r)
		}
		// The operators sign a policy on top of what stands there: that is where it begins.
		b := s.pack(s.files())
		s.write(b, s.sign(b, approval.Apply, "kim", "lee"))
		synctest.Wait()
		if n, digest := s.inForce(); n != 2 || digest != b.Digest() {
			t.Errorf("in force %d %s: %+v", n, digest, s.Status().Refused)
		}
		// From there on its own signers decide: the author alone may tighten.
		tight := s.pack(s.files(tighter...))
		s.must(s.put(tight, s.sign(tight, approval.Apply, "kim")))
		s.trusts()
		if n, _ := s.inForce(); n != 3 {
			t.Errorf("after a restart with an empty disk: in force %d: %+v", n, s.Status().Refused)
		}
		s.write(s.pack(shipped(t)), "")
		s.trusts()
		if n, _ := s.inForce(); n != 0 {
			t.Errorf("a step that nobody signed: in force %d", n)
		}
	})
}

package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
)

// signed is a control plane, with real policies, whose deployment lists signers.
type signed struct {
	t     *testing.T
	store *store.Memory
	out   *recorder
	keys  map[string]*approval.Key
	state string
	trust approval.Trust
	stop  func()
	*Controller
}

// governed runs f in a bubble on a day that suits the shipped policies.
func governed(t *testing.T, f func(*testing.T, *signed)) {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state.json")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))) // of the bubble's clock
		s := &signed{t: t, store: store.NewMemory(), out: &recorder{}, keys: map[string]*approval.Key{}, state: state}
		for _, name := range []string{"kim", "lee", "max"} {
			k, err := approval.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			s.keys[name] = k
		}
		s.start()
		f(t, s)
		s.stop()
	})
}

// start runs a replica on the same store and state.
func (s *signed) start() {
	s.t.Helper()
	c, err := New(Config{Store: s.store, Publisher: s.out, Log: slog.New(slog.DiscardHandler), State: s.state, Trust: s.trust})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	s.Controller = c
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
	synctest.Wait()
}

// files are the shipped policies with signers, edited.
func (s *signed) files(edits ...string) map[string][]byte {
	s.t.Helper()
	out := maps.Clone(shipped(s.t))
	deployment := string(out["deployment.yaml"])
	signers := fmt.Sprintf(`
  signers:
    - {name: kim, key: %q, roles: [author]}
    - {name: lee, key: %q, roles: [compliance]}
    - {name: max, key: %q, roles: [oncall]}
  approvals: {apply: [author], loosen: [author, compliance], emergencyDeny: [oncall]}
`, s.keys["kim"].Public(), s.keys["lee"].Public(), s.keys["max"].Public())
	out["deployment.yaml"] = []byte(strings.TrimRight(deployment, "\n") + signers)
	for i := 0; i < len(edits); i += 3 {
		old := string(out[edits[i]])
		if !strings.Contains(old, edits[i+1]) {
			s.t.Fatalf("%s does not hold %q", edits[i], edits[i+1])
		}
		out[edits[i]] = []byte(strings.Replace(old, edits[i+1], edits[i+2], 1))
	}
	return out
}

// The edits: one that tightens, and one that loosens. The tests of SA say nothing
// about either.
var (
	tighter = []string{"jurisdictions/sa.yaml", "presence: {}", "presence: {entry: [me-riyadh, eu-frankfurt]}", "jurisdictions/sa_test.yaml", `entry: tr-istanbul, expect: {allow: me-riyadh}}
  - {name: presence by way of Frankfurt`, `entry: tr-istanbul, expect: {deny: entry-not-allowed}}
  - {name: presence by way of Frankfurt`}
)

func (s *signed) pack(files map[string][]byte) *bundle.Bundle { return packed(s.t, files) }

// sign makes an envelope for a bundle on top of the head.
func (s *signed) sign(b *bundle.Bundle, a approval.Action, by ...string) string {
	s.t.Helper()
	head, err := s.store.Head(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return s.signOn(head, b, a, by...)
}

func (s *signed) signOn(head store.Record, b *bundle.Bundle, a approval.Action, by ...string) string {
	s.t.Helper()
	st := approval.Statement{
		Deployment: "demo", Action: a, Sequence: head.Sequence + 1, Previous: head.Bundle, Bundle: b.Digest(),
		At: time.Now().UTC().Truncate(time.Second), Expires: time.Now().UTC().Add(time.Hour).Truncate(time.Second),
	}
	var envelope []byte
	var err error
	for _, name := range by {
		if envelope, err = approval.Sign(s.t.Context(), envelope, st, s.keys[name]); err != nil {
			s.t.Fatal(err)
		}
	}
	return string(envelope)
}

func (s *signed) put(b *bundle.Bundle, envelope string, more ...func(*Change)) error {
	ch := Change{Archive: b.Archive(), By: By{Author: "somebody", Envelope: envelope}}
	for _, m := range more {
		m(&ch)
	}
	_, err := s.Apply(s.t.Context(), ch)
	synctest.Wait()
	return err
}

func (s *signed) inForce() (uint64, string) {
	s.t.Helper()
	p := s.Status().Policy
	if p == nil {
		return 0, ""
	}
	return p.Sequence, p.Bundle
}

func (s *signed) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func missing(err error) string {
	var u *Unapproved
	if !errors.As(err, &u) {
		return fmt.Sprint("no refusal: ", err)
	}
	if u.Cause != nil {
		return "cause: " + u.Cause.Error()
	}
	var out []string
	for _, r := range u.Missing {
		out = append(out, strings.Join(r, "|"))
	}
	return strings.Join(out, " ")
}

// An entry more for relations: it loosens.
func (s *signed) loosened() map[string][]byte {
	return s.files(
		"jurisdictions/sa.yaml", "relation: {entry: [me-riyadh]}", "relation: {entry: [me-riyadh, tr-istanbul]}",
		"jurisdictions/sa.yaml", "classes: [login, message, presence, profile], for: [entry]", "classes: [login, message, presence, profile, relation], for: [entry]",
		"jurisdictions/sa_test.yaml", "entry: tr-istanbul, expect: {deny: entry-not-allowed}}", "entry: tr-istanbul, expect: {allow: me-riyadh}}",
	)
}

func TestChangesNeedTheirRoles(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		base := s.pack(s.files())
		s.must(s.put(base, "")) // the first is trusted
		tight, loose := s.pack(s.files(tighter...)), s.pack(s.loosened())
		for name, c := range map[string]struct {
			b        *bundle.Bundle
			envelope string
			want     string
		}{
			"nobody":                 {tight, "", "author"},
			"another role":           {tight, s.sign(tight, approval.Apply, "lee"), "author"},
			"loosened by nobody":     {loose, "", "author compliance"},
			"loosened by one":        {loose, s.sign(loose, approval.Apply, "kim"), "compliance"},
			"signatures for another": {loose, s.sign(tight, approval.Apply, "kim", "lee"), "cause: the signatures are for another change: its bundle is " + tight.Digest() + ", not " + loose.Digest()},
			"for another action":     {tight, s.sign(tight, approval.Rollback, "kim"), "cause: the signatures are for another change: its action is rollback, not apply"},
		} {
			if got := missing(s.put(c.b, c.envelope)); got != c.want {
				t.Errorf("%s: %s", name, got)
			}
			if n, b := s.inForce(); n != 1 || b != base.Digest() {
				t.Fatalf("%s: in force %d", name, n)
			}
		}
		s.must(s.put(tight, s.sign(tight, approval.Apply, "kim")))
		stale := s.sign(loose, approval.Apply, "kim", "lee")
		s.must(s.put(loose, stale))
		if n, b := s.inForce(); n != 3 || b != loose.Digest() {
			t.Errorf("in force %d", n)
		}
		h, err := s.History(t.Context(), 10)
		if err != nil || h[0].ApprovedBy != "kim (author), lee (compliance)" || h[0].Loosened == 0 || h[1].Tightened == 0 || h[1].Loosened != 0 {
			t.Errorf("history %+v, %v", h, err)
		}
		// A rollback is judged like any change; who signed before has not signed this.
		_, err = s.Rollback(t.Context(), 2, By{Author: "x", Envelope: stale})
		if got := missing(err); !strings.HasPrefix(got, "cause: ") {
			t.Errorf("rollback under old signatures: %s", got)
		}
		_, err = s.Rollback(t.Context(), 2, By{Author: "x", Envelope: s.sign(tight, approval.Rollback, "kim")})
		s.must(err)
	})
}

// Who may sign is itself a question of loosening.
func TestSignersGuardThemselves(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		s.must(s.put(s.pack(s.files()), ""))
		none := s.pack(shipped(t))
		if got := missing(s.put(none, s.sign(none, approval.Apply, "kim"))); got != "compliance" {
			t.Errorf("removing all signers: %s", got)
		}
		weaker := s.pack(s.files("deployment.yaml", "\n  approvals: {apply: [author], loosen: [author, compliance]", "\n  approvals: {apply: [author], loosen: [author]"))
		if got := missing(s.put(weaker, s.sign(weaker, approval.Apply, "kim"))); got != "compliance" {
			t.Errorf("asking for less: %s", got)
		}
		s.must(s.put(weaker, s.sign(weaker, approval.Apply, "kim", "lee")))
		if h, err := s.History(t.Context(), 1); err != nil || !h[0].Governance {
			t.Errorf("the history does not say that the approvals changed: %+v, %v", h, err)
		}
		loose := s.files(
			"deployment.yaml", "\n  approvals: {apply: [author], loosen: [author, compliance]", "\n  approvals: {apply: [author], loosen: [author]",
			"deployment.yaml", "roles: [compliance]", "roles: [author]")
		b := s.pack(loose)
		if got := missing(s.put(b, "")); got != "author" {
			t.Errorf("the weaker deployment asks for %s", got)
		}
	})
}

func TestTheBrake(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		base := s.pack(s.files())
		s.must(s.put(base, ""))
		deny := func(files map[string][]byte) *bundle.Bundle {
			files["denials.yaml"] = []byte("apiVersion: domicile.dev/v1\nkind: Denials\nspec: {denials: [{home: \"SA\", classes: [message], reason: INC-31, by: max, at: 2026-11-24T12:00:00Z}]}\n")
			return s.pack(files)
		}
		denied := deny(s.files())
		brake := func(ch *Change) { ch.Denial = true }
		if got := missing(s.put(denied, "", brake)); got != "oncall" {
			t.Errorf("unsigned: %s", got)
		}
		if got := missing(s.put(denied, s.sign(denied, approval.Deny, "kim"), brake)); got != "oncall" {
			t.Errorf("by the author: %s", got)
		}
		sly := deny(s.loosened())
		if err := s.put(sly, s.sign(sly, approval.Deny, "max"), brake); !errors.Is(err, ErrBrake) {
			t.Errorf("a denial that loosens: %v", err)
		}
		s.must(s.put(denied, s.sign(denied, approval.Deny, "max"), brake))
		if n, _ := s.inForce(); n != 2 {
			t.Fatalf("in force %d", n)
		}
		// To let it go is to loosen.
		if got := missing(s.put(base, s.sign(base, approval.Apply, "kim"))); got != "compliance" {
			t.Errorf("dropping the denial: %s", got)
		}
		s.must(s.put(base, s.sign(base, approval.Apply, "kim", "lee")))
	})
}

// Without signers the brake is carried over, whatever is applied or rolled back,
// until it is lifted; tests of what is denied do not stand in the way.
func TestTheBrakeHoldsWithoutSigners(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		plain := s.pack(shipped(t))
		s.must(s.put(plain, ""))
		files := maps.Clone(shipped(t))
		files["denials.yaml"] = []byte("apiVersion: domicile.dev/v1\nkind: Denials\nspec: {denials: [{home: \"SA\", classes: [message], reason: INC-31, by: max, at: 2026-11-24T12:00:00Z}]}\n")
		s.must(s.put(s.pack(files), "", func(ch *Change) { ch.Denial = true }))
		other := s.pack(edit(maps.Clone(shipped(t)), "jurisdictions/tr.yaml", "maxAge: 24h", "maxAge: 12h"))
		s.must(s.put(other, s.sign(other, approval.Apply, "kim"))) // a signature that nobody asked for lifts nothing
		b, err := s.store.Head(t.Context())
		s.must(err)
		held, err := s.open(t.Context(), b.Bundle)
		s.must(err)
		if b.Sequence != 3 || held.Files()["denials.yaml"] == nil {
			t.Error("the denial was not carried over")
		}
		if _, err := s.Rollback(t.Context(), 1, By{}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if b, err = s.store.Head(t.Context()); err != nil || b.Bundle == plain.Digest() {
			t.Errorf("the rollback lifted the denial: %v", err)
		}
		s.must(s.put(plain, "", func(ch *Change) { ch.Lift = true }))
		if _, digest := s.inForce(); digest != plain.Digest() {
			t.Error("it was not lifted")
		}
	})
}

func edit(files map[string][]byte, name, old, text string) map[string][]byte {
	files[name] = bytes.Replace(files[name], []byte(old), []byte(text), 1)
	return files
}

// T18, T19: whoever can write to the store cannot thereby change the policy: what
// is not signed by those who count, or was signed for another place in the
// history, is not followed by any replica, running or fresh.
func TestT19WritersOfTheStoreCannotChangeThePolicy(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		base := s.pack(s.files())
		s.must(s.put(base, ""))
		tight := s.pack(s.files(tighter...))
		s.must(s.put(tight, s.sign(tight, approval.Apply, "kim")))
		head, err := s.store.Head(t.Context())
		s.must(err)
		old := head
		publish := func(b *bundle.Bundle, envelope string) {
			t.Helper()
			head, err = s.store.Publish(t.Context(), head.Sequence, b.Archive(), store.Record{Table: "sha256:x", At: time.Now().UTC(), Author: "mallory", Envelope: envelope, ApprovedBy: "kim (author)"})
			s.must(err)
			synctest.Wait()
		}
		keeps := func(what string) {
			t.Helper()
			if n, b := s.inForce(); n != 2 || b != tight.Digest() {
				t.Fatalf("%s: in force %d", what, n)
			}
			if r := s.Status().Refused; r == nil || r.Sequence != head.Sequence || !strings.Contains(r.Error, "not approved") {
				t.Errorf("%s: refused %+v", what, r)
			}
		}
		publish(base, "") // an older bundle, correctly signed once
		keeps("an older bundle")
		publish(tight, old.Envelope) // its own signatures, for an older place
		keeps("old signatures")
		loose := s.pack(s.loosened())
		publish(loose, s.signOn(head, loose, approval.Apply, "kim"))
		keeps("one signature of two")
		// A restarted replica remembers where it was, and follows no more than that.
		s.stop()
		s.start()
		if n, _ := s.inForce(); n != 0 {
			t.Errorf("a restarted replica follows %d", n)
		}
		if r := s.Status().Refused; r == nil || !strings.Contains(r.Error, "not approved") {
			t.Errorf("refused %+v", r)
		}
	})
}

// T19: a store that was restored from an older backup is noticed after a restart.
func TestT19AnOlderStoreIsNoticedAfterARestart(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		base := s.pack(shipped(t))
		s.must(s.put(base, ""))
		s.must(s.put(s.pack(edit(maps.Clone(shipped(t)), "jurisdictions/tr.yaml", "maxAge: 24h", "maxAge: 12h")), ""))
		s.stop()
		s.store = store.NewMemory() // the backup knows the first only
		if _, err := s.store.Publish(t.Context(), 0, base.Archive(), store.Record{Table: "sha256:x", At: time.Now().UTC()}); err != nil {
			t.Fatal(err)
		}
		s.start()
		if n, _ := s.inForce(); n != 0 {
			t.Errorf("in force %d", n)
		}
		if r := s.Status().Refused; r == nil || !strings.Contains(r.Error, "went back") {
			t.Errorf("refused %+v", r)
		}
		s.stop()
		s.must(os.Remove(s.state)) // somebody who knows why
		s.start()
		if n, _ := s.inForce(); n != 1 {
			t.Errorf("in force %d", n)
		}
	})
}

func TestT19ExpiredSignaturesAreRefused(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		s.must(s.put(s.pack(s.files()), ""))
		tight := s.pack(s.files(tighter...))
		envelope := s.sign(tight, approval.Apply, "kim")
		time.Sleep(time.Hour) // of the bubble's clock
		if got := missing(s.put(tight, envelope)); !strings.Contains(got, "expired at") {
			t.Error(got)
		}
	})
}

// outside edits what no table holds: the keys of an issuer, or a backend's address.
func outside(t *testing.T, files map[string][]byte, what string) map[string][]byte {
	t.Helper()
	switch what {
	case "keys":
		files["jwks.json"] = bytes.Replace(files["jwks.json"], []byte(`"kid"`), []byte(`"use": "sig", "kid"`), 1)
	case "address":
		files["deployment.yaml"] = bytes.Replace(files["deployment.yaml"], []byte("10.1.1.1:8080"), []byte("10.66.6.6:8080"), 1)
	}
	return files
}

const saDenied = "apiVersion: domicile.dev/v1\nkind: Denials\nspec: {denials: [{home: \"SA\", classes: [message], reason: INC-31, by: max, at: 2026-11-24T12:00:00Z}]}\n"

// Keys and addresses stand in no table, and reach as far as any rule: who may not
// loosen may not change them, and the brake changes nothing but itself.
func TestWhatStandsOutsideTheTable(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		s.must(s.put(s.pack(s.files()), ""))
		for _, what := range []string{"keys", "address"} {
			b := s.pack(outside(t, s.files(), what))
			if got := missing(s.put(b, s.sign(b, approval.Apply, "kim"))); got != "compliance" {
				t.Errorf("%s by the author alone: %s", what, got)
			}
			files := outside(t, s.files(), what)
			files["denials.yaml"] = []byte(saDenied)
			b = s.pack(files)
			if err := s.put(b, s.sign(b, approval.Deny, "max"), func(c *Change) { c.Denial = true }); !errors.Is(err, ErrBrake) {
				t.Errorf("%s under the brake: %v", what, err)
			}
		}
		law := s.files()
		for name, data := range maps.Clone(law) {
			if name == "groups.yaml" || strings.HasPrefix(name, "law/") {
				delete(law, name)
				law["library/"+name] = data
			}
		}
		law["library/law/sa.yaml"] = append(bytes.Clone(law["library/law/sa.yaml"]), "# other\n"...)
		b := packed(t, law)
		if got := missing(s.put(b, s.sign(b, approval.Apply, "kim"))); got != "compliance" {
			t.Errorf("another law by the author alone: %s", got)
		}
		if got := s.Status().Policy.OtherLaw; got != nil {
			t.Errorf("shipped law is said to be other: %v", got)
		}
		s.must(s.put(b, s.sign(b, approval.Apply, "kim", "lee")))
		if got := s.Status().Policy.OtherLaw; len(got) != 1 || got[0] != "law/sa.yaml" {
			t.Errorf("other law: %v", got)
		}
	})
}

// A denial that changes nothing now holds as well as any.
func TestNoDenialIsDroppedByTheAuthorAlone(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		files := s.files("jurisdictions/sa.yaml", "relation: {entry: [me-riyadh]}", "relation: {serve: []}",
			"jurisdictions/sa_test.yaml", "home: \"SA\", class: relation, entry: me-riyadh, expect: {allow: me-riyadh}", "home: \"SA\", class: relation, entry: me-riyadh, expect: {deny: forbidden}",
			"jurisdictions/sa_test.yaml", "entry: tr-istanbul, expect: {deny: entry-not-allowed}", "entry: tr-istanbul, expect: {deny: forbidden}",
			"jurisdictions/sa_test.yaml", "entry: eu-frankfurt, expect: {deny: entry-not-allowed}", "entry: eu-frankfurt, expect: {deny: forbidden}")
		plain := s.pack(files)
		files["denials.yaml"] = []byte(strings.Replace(saDenied, "[message]", "[relation]", 1))
		s.must(s.put(s.pack(files), ""))
		if got := missing(s.put(plain, s.sign(plain, approval.Apply, "kim"))); got != "compliance" {
			t.Error(got)
		}
	})
}

// holey is a store that has lost one bundle.
type holey struct {
	*store.Memory
	gone string
}

func (h holey) Bundle(ctx context.Context, digest string) ([]byte, error) {
	if digest == h.gone {
		return nil, store.ErrNotFound
	}
	return h.Memory.Bundle(ctx, digest)
}

// T19: a replica that remembers nothing judges the last step, and follows nothing
// when it cannot be judged.
func TestT19AFreshReplicaFailsClosed(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		base := s.pack(s.files())
		s.must(s.put(base, ""))
		if _, err := s.store.Publish(t.Context(), 1, s.pack(s.loosened()).Archive(), store.Record{Table: "sha256:x", At: time.Now().UTC()}); err != nil {
			t.Fatal(err)
		}
		for name, st := range map[string]store.Store{"readable": s.store, "the one before is gone": holey{s.store, base.Digest()}} {
			c, err := New(Config{Store: st, Publisher: &recorder{}, Log: slog.New(slog.DiscardHandler)})
			s.must(err)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			synctest.Wait()
			if got := c.Status(); got.Policy != nil || got.Refused == nil {
				t.Errorf("%s: in force %+v", name, got.Policy)
			}
			cancel()
			<-done
		}
	})
}

// T19: the time of a record is its writer's word: one that is long past, and was
// not seen then, does not revive signatures that have expired.
func TestT19BackDatedRecords(t *testing.T) {
	governed(t, func(t *testing.T, s *signed) {
		s.must(s.put(s.pack(s.files()), ""))
		tight := s.pack(s.files(tighter...))
		envelope, at := s.sign(tight, approval.Apply, "kim"), time.Now().UTC().Add(time.Minute)
		time.Sleep(30 * 24 * time.Hour) // of the bubble's clock
		if _, err := s.store.Publish(t.Context(), 1, tight.Archive(), store.Record{Table: "sha256:x", At: at, Envelope: envelope}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n, _ := s.inForce(); n != 1 {
			t.Errorf("in force %d", n)
		}
	})
}

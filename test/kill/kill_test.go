// Package kill proves that a change of policy is all or nothing whoever dies
// during it: a real etcd and the real control plane are killed with kill -9 at
// each step of real applies and rollbacks, of bundles larger than one request to
// etcd may be. Afterwards the head is the old record or the new one and nothing
// else, what the records name can be read and verified, the control plane runs
// what the head says, its state file is sound, and the same command succeeds.
//
// A step is told by the request to etcd that it makes, see relay. What lies
// between the requests, such as the check, is hit by a sweep of delays.
package kill_test

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
)

// step is a place of a change at which to kill.
type step struct {
	name  string
	hit   func(next string) func(call) bool
	after bool
	rare  bool // tried by the long run only
}

// chunks is how many puts a bundle of these tests costs.
const chunks = 4

// DOMICILE_KILL_DELAYS says how many delays the sweep tries for each victim, and
// makes the other tests try every step; make proof asks for 40. Without it every
// kind of step is tried, in half a minute.
var delays = cmp.Or(os.Getenv("DOMICILE_KILL_DELAYS"), "3")

func long() bool { return os.Getenv("DOMICILE_KILL_DELAYS") != "" }

// steps are those of an apply that talk to etcd, in their order.
func steps() []step {
	on := func(op, format string, more ...any) func(string) func(call) bool {
		return func(next string) func(call) bool {
			key := fmt.Sprintf(strings.ReplaceAll(format, "NEXT", "bundles/"+next), more...)
			return func(c call) bool { return c.about(op, key) && !c.swapped }
		}
	}
	fetch := func(next string) func(call) bool {
		return func(c call) bool { return c.about("Range", "bundles/"+next) && c.swapped }
	}
	out := []step{{"the look for the archive, after the check", on("Range", "NEXT"), false, false}}
	for i := range chunks {
		for _, after := range []bool{false, true} {
			rare := i != 1 || after // the second alone, without the first, is the worst
			out = append(out, step{fmt.Sprintf("chunk %d", i), on("Put", "NEXT/%06d", i), after, rare})
		}
	}
	return append(out,
		step{"the manifest", on("Txn", "NEXT/manifest"), false, false},
		step{"the manifest", on("Txn", "NEXT/manifest"), true, false},
		step{"the transaction", on("Txn", "head"), false, false},
		step{"the transaction", on("Txn", "head"), true, false},
		step{"the loop's fetch", fetch, false, true},
		step{"the loop's fetch, before it publishes", fetch, true, false})
}

func (x step) String() string {
	if x.after {
		return "after " + x.name
	}
	return "before " + x.name
}

// tally counts what became of the changes that somebody died in.
type tally struct{ old, new int }

func (n *tally) count(old, head store.Record) {
	if head == old {
		n.old++
	} else {
		n.new++
	}
}

// both fails unless both outcomes were seen: a test that only ever kills too
// early, or too late, proves nothing.
func (n *tally) both(t *testing.T) {
	t.Helper()
	t.Logf("%d changes were lost whole, %d were made whole", n.old, n.new)
	if n.old == 0 || n.new == 0 {
		t.Errorf("only one outcome was seen: %+v", *n)
	}
}

// killed runs a command, kills victim where the trap says, and starts it again.
// It returns the command's exit code.
func (s *site) killed(victim *process, x step, next string, args ...string) int {
	s.t.Helper()
	set := &trap{hit: x.hit(next), after: x.after, kill: victim.kill, done: make(chan struct{})}
	s.relay.arm(set)
	type end struct {
		code int
		out  string
	}
	ended := make(chan end, 1)
	go func() {
		code, out := s.run(args...)
		ended <- end{code, out}
	}()
	select {
	case <-set.done:
	case <-time.After(20 * time.Second):
		s.relay.arm(nil)
		s.t.Fatalf("%s: it never came to that: %+v", x, <-ended)
	}
	victim.start(s.t)
	e := <-ended
	if e.code != 0 && !strings.Contains(e.out, "control plane") && !strings.Contains(e.out, "store") {
		s.t.Errorf("%s: exit %d does not say who is away: %s", x, e.code, e.out)
	}
	return e.code
}

// settle judges what is left, makes the change once more, and takes the result as
// the state from which the next round starts. It returns the head after the kill.
func (s *site) settle(what string, code int, next *bundle.Bundle, args ...string) store.Record {
	s.t.Helper()
	old := s.head
	head := s.judge(old, s.now, next)
	if code == 0 && head == old {
		s.t.Errorf("%s: the command succeeded, and the head is the old one", what)
	}
	if head == old || args[0] == "apply" && long() { // a rollback that was made is not made again
		if code, out := s.run(args...); code != 0 {
			s.t.Fatalf("%s: once more: exit %d: %s", what, code, out)
		}
	}
	s.head = s.judge(old, s.now, next)
	if s.head == old || head != old && s.head != head {
		s.t.Errorf("%s: after the second time the head is %+v, and was %+v", what, s.head, head)
	}
	s.now = next
	return head
}

// T28: control and etcd die at each step of an apply that talks to etcd.
//
// Seen red: a manifest written before the chunks, and a history record written
// outside the transaction.
func TestT28_KillAtEachStepOfAnApply(t *testing.T) {
	s := newSite(t)
	var n tally
	for _, victim := range []struct {
		name string
		*process
	}{{"control", &s.control}, {"etcd", &s.etcd}} {
		for _, x := range steps() {
			if !long() && (x.rare || victim.name == "etcd" && x.name != "the manifest" && x.name != "the transaction") {
				continue
			}
			what := victim.name + " " + x.String()
			old := s.head
			dir, next := s.policies()
			code := s.killed(victim.process, x, next.Digest(), "apply", dir)
			head := s.settle(what, code, next, "apply", dir)
			n.count(old, head)
			// What etcd has not seen cannot be, and what it has answered cannot be
			// undone. Where etcd itself dies before the transaction the control plane
			// may finish with the next etcd.
			made := x.name == "the transaction" && x.after || strings.Contains(x.name, "loop")
			if victim.name == "control" && made == (head == old) || victim.name == "etcd" && made && head == old {
				t.Errorf("%s: the change was made: %v", what, head != old)
			}
		}
	}
	n.both(t)
}

// T28: control dies while the archive arrives, and when it has just arrived.
func TestT28_KillWhileTheArchiveIsRead(t *testing.T) {
	s := newSite(t)
	for _, part := range []string{"half", "all but one byte", "all"} {
		if part == "all but one byte" && !long() {
			continue
		}
		dir, next := s.policies()
		archive := next.Archive()
		c, err := net.Dial("tcp", s.admin)
		must(t, err)
		_, err = fmt.Fprintf(c, "POST /v1/apply?author=test&base=%d&digest=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", s.head.Sequence, next.Digest(), s.admin, len(archive))
		must(t, err)
		n := map[string]int{"half": len(archive) / 2}[part]
		if n == 0 {
			n = len(archive) - 1
		}
		_, err = c.Write(archive[:n])
		must(t, err)
		if part == "all" { // the first thing then is to ask for the head
			set := &trap{hit: func(c call) bool { return c.about("Range", "head") }, kill: s.control.kill, done: make(chan struct{})}
			s.relay.arm(set)
			_, err = c.Write(archive[n:])
			must(t, err)
			<-set.done
		} else {
			s.control.kill()
		}
		_ = c.Close()
		s.control.start(t)
		old := s.head
		if head := s.settle(part, 1, next, "apply", dir); head != old {
			t.Errorf("%s of the archive was enough for %+v", part, head)
		}
	}
}

// T28: control dies when it has published and is about to write, or writes, its
// state file.
func TestT28_KillWhileTheStateIsWritten(t *testing.T) {
	s := newSite(t)
	caught, rounds := 0, 2
	if long() {
		rounds = 20
	}
	for range rounds {
		dir, next := s.policies()
		old := s.head
		written := make(chan struct{})
		go func() { // kills as soon as anything stirs beside the old file
			defer close(written)
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
				if l, _ := os.ReadDir(filepath.Dir(s.state)); slices.ContainsFunc(l, temporary) {
					s.control.kill()
					return
				}
				if s.remembers(old, store.Record{Sequence: old.Sequence + 1, Bundle: next.Digest()}) == nil {
					s.control.kill()
					return
				}
			}
		}()
		code, _ := s.run("apply", dir)
		<-written
		left, err := os.ReadDir(filepath.Dir(s.state))
		must(t, err)
		for _, f := range left {
			if temporary(f) {
				caught++
				must(t, os.Remove(filepath.Join(filepath.Dir(s.state), f.Name())))
			}
		}
		s.control.start(t)
		if head := s.settle("state", code, next, "apply", dir); head == old {
			t.Error("the state was written before the change was made")
		}
	}
	t.Logf("%d of %d kills left a half-written file beside the state", caught, rounds)
}

func temporary(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), ".tmp-") }

// T28: a sweep of kill times over the duration of an apply.
func TestT28_KillAtAnyTimeOfAnApply(t *testing.T) {
	delays, err := strconv.Atoi(delays)
	must(t, err)
	s := newSite(t)
	dir, next := s.policies()
	began := time.Now()
	if code, out := s.run("apply", dir); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	lasts := time.Since(began)
	s.head, s.now = s.judge(s.head, s.now, next), next
	var n tally
	for i := range delays {
		for _, victim := range []*process{&s.control, &s.etcd} {
			delay := lasts * time.Duration(i+1) / time.Duration(delays) * 11 / 10
			old := s.head
			dir, next := s.policies()
			cmd := s.command("apply", dir)
			must(t, cmd.Start())
			time.Sleep(delay)
			victim.kill()
			victim.start(t)
			_ = cmd.Wait()
			n.count(old, s.settle(fmt.Sprintf("%s after %s of %s", victim.args[0], delay, lasts), cmd.ProcessState.ExitCode(), next, "apply", dir))
		}
	}
	if long() { // three delays may all be early or late; TestT28_KillAtEachStepOfAnApply sees both
		n.both(t)
	}
}

// A bundle that is larger than etcd's largest request goes there and back, and
// control and etcd die around the transaction of the rollback.
func TestT28_KillDuringARollback(t *testing.T) {
	s := newSite(t)
	first := s.now
	dir, next := s.policies()
	if code, out := s.run("apply", dir); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	s.head, s.now = s.judge(s.head, s.now, next), next
	swap := func(string) func(call) bool { return func(c call) bool { return c.about("Txn", "head") } }
	var n tally
	for _, victim := range []*process{&s.control, &s.etcd} {
		for _, x := range []step{{"the transaction", swap, false, false}, {"the transaction", swap, true, false}} {
			if !long() && x.after != (victim == &s.etcd) {
				continue
			}
			old, to := s.head, s.head.Sequence-1
			code := s.killed(victim, x, first.Digest(), "rollback")
			n.count(old, s.settle("rollback, "+x.String(), code, first, "rollback"))
			if s.head.RollbackOf != to || s.head.Bundle != first.Digest() {
				t.Fatalf("rolled back to %+v, not to sequence %d", s.head, to)
			}
			first, next = next, first
		}
	}
	n.both(t)
}

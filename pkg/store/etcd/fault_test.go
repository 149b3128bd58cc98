package etcd

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/store/storetest"
)

var (
	prefixed = clientv3.WithPrefix()
	keysOnly = clientv3.WithKeysOnly()
)

var errLost = status.Error(codes.Unavailable, "test: answer lost")

// faults counts a client's writes and spoils one of them, either before it
// lands or after.
type faults struct {
	clientv3.KV
	mu     sync.Mutex
	writes int
	spoil  int // number of the write, from 1
	after  bool
	then   func() // runs when it is spoiled
}

func (f *faults) write(do func() error) error {
	f.mu.Lock()
	f.writes++
	hit := f.writes == f.spoil
	f.mu.Unlock()
	if hit && !f.after {
		f.then()
		return errLost
	}
	err := do()
	if hit && err == nil {
		f.then()
		err = errLost
	}
	return err
}

func (f *faults) Do(ctx context.Context, op clientv3.Op) (r clientv3.OpResponse, err error) {
	err = f.write(func() error { r, err = f.KV.Do(ctx, op); return err })
	return r, err
}

func (f *faults) Txn(ctx context.Context) clientv3.Txn { return &faultyTxn{f, f.KV.Txn(ctx)} }

type faultyTxn struct {
	f   *faults
	txn clientv3.Txn
}

func (x *faultyTxn) If(c ...clientv3.Cmp) clientv3.Txn  { x.txn = x.txn.If(c...); return x }
func (x *faultyTxn) Then(o ...clientv3.Op) clientv3.Txn { x.txn = x.txn.Then(o...); return x }
func (x *faultyTxn) Else(o ...clientv3.Op) clientv3.Txn { x.txn = x.txn.Else(o...); return x }
func (x *faultyTxn) Commit() (r *clientv3.TxnResponse, err error) {
	err = x.f.write(func() error { r, err = x.txn.Commit(); return err })
	return r, err
}

// Every write is spoiled twice over, then all is judged by a client without
// faults. An archive of two chunks costs four writes: chunks, manifest, swap.
func TestPublishWithFaults(t *testing.T) {
	s, m := start(t)
	judge := open(t, Config{Endpoints: m.Endpoints()})
	good := s.client.KV
	var head store.Record
	for spoil := 1; spoil <= 4; spoil++ {
		for _, after := range []bool{false, true} {
			f := &faults{KV: good, spoil: spoil, after: after, then: func() {}}
			s.client.KV = f
			archive := make([]byte, chunkSize+1)
			archive[0] = byte(spoil)
			if after {
				archive[1] = 1
			}
			got, err := s.Publish(t.Context(), head.Sequence, archive, storetest.Record(spoil))
			now, headErr := judge.Head(t.Context())
			if headErr != nil && !errors.Is(headErr, store.ErrEmpty) {
				t.Fatal(headErr)
			}
			if spoil == 4 && !after {
				// The only place where the answer is not known.
				if !errors.Is(err, store.ErrUnavailable) || now != head {
					t.Errorf("swap lost: %v, head %+v; want ErrUnavailable, head %+v", err, now, head)
				}
				continue
			}
			if err != nil || now != got || now.Sequence != head.Sequence+1 {
				t.Fatalf("write %d, after %v: %+v, %v; head %+v", spoil, after, got, err, now)
			}
			if f.writes < spoil {
				t.Fatalf("only %d writes: write %d was not spoiled", f.writes, spoil)
			}
			if b, err := judge.Bundle(t.Context(), now.Bundle); err != nil || string(b) != string(archive) {
				t.Fatalf("write %d, after %v: archive has %d bytes, %v", spoil, after, len(b), err)
			}
			head = now
		}
	}
}

// The answer is lost, and somebody else is first, with the same record.
func TestPublishLosesAnswerAndRace(t *testing.T) {
	s, m := start(t)
	other := open(t, Config{Endpoints: m.Endpoints()})
	var theirs store.Record
	s.client.KV = &faults{KV: s.client.KV, spoil: 3, then: func() { theirs = storetest.Publish(t, other, 0, 1) }}
	if r, err := s.Publish(t.Context(), 0, storetest.Archive(1), storetest.Record(1)); !errors.Is(err, store.ErrStale) {
		t.Errorf("publish: %+v, %v, want ErrStale", r, err)
	}
	if h, err := other.History(t.Context(), 0); err != nil || len(h) != 1 || h[0] != theirs {
		t.Errorf("history %+v, %v, want one record", h, err)
	}
}

// line is a TCP connection to etcd that can be cut and muted.
type line struct {
	net.Listener
	to    string
	mu    sync.Mutex
	gate  chan struct{} // closed: bytes pass
	cut   bool
	conns map[net.Conn]struct{}
	all   sync.WaitGroup
}

func newLine(t *testing.T, endpoint string) *line {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{to: u.Host, gate: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(l.gate)
	if l.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			l.all.Go(func() { l.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		l.set(true, false)
		l.all.Wait()
	})
	return l
}

func (l *line) URL() string { return "http://" + l.Addr().String() }

func (l *line) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer far.Close()
	l.mu.Lock()
	dead := l.cut
	l.conns[near], l.conns[far] = struct{}{}, struct{}{}
	l.mu.Unlock()
	if dead {
		return
	}
	var both sync.WaitGroup
	for _, c := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			defer c[0].Close()
			defer c[1].Close()
			buf := make([]byte, 32<<10)
			for {
				n, err := c[0].Read(buf)
				l.mu.Lock()
				gate := l.gate
				l.mu.Unlock()
				<-gate
				if _, werr := c[1].Write(buf[:n]); err != nil || werr != nil {
					return
				}
			}
		})
	}
	both.Wait()
}

// set cuts the line (connections end, new ones too) or mutes it (bytes wait).
func (l *line) set(cut, mute bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for c := range l.conns {
			c.Close()
		}
		clear(l.conns)
	}
	select {
	case <-l.gate:
		if mute {
			l.gate = make(chan struct{})
		}
	default:
		if !mute {
			close(l.gate)
		}
	}
}

// While the line is cut, the head moves and its past is compacted away: the
// watch cannot resume. The probe is too rare to help.
func TestT16CompactionDuringWatch(t *testing.T) {
	s, m := start(t)
	l := newLine(t, m.Endpoints()[0])
	watching := open(t, Config{Endpoints: []string{l.URL()}, Probe: time.Hour})
	events := watching.Watch(t.Context())
	head := storetest.Publish(t, s, 0, 0)
	storetest.UntilHead(t, events, head)
	l.set(true, false)
	for i := range 3 {
		head = storetest.Publish(t, s, head.Sequence, i+1)
	}
	r, err := s.client.Get(t.Context(), s.headKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Compact(t.Context(), r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	old := s.client.Watch(t.Context(), s.headKey(), clientv3.WithRev(2))
	if c := <-old; c.CompactRevision != r.Header.Revision {
		t.Fatalf("a watch on the past answers %+v: not compacted", c)
	}
	l.set(false, false)
	storetest.UntilHead(t, events, head)
	storetest.UntilHead(t, events, storetest.Publish(t, s, head.Sequence, 9))
}

// The list was read, then all falls silent before the watch is open.
func TestT15SilentBetweenListAndWatch(t *testing.T) {
	s, m := start(t)
	head := storetest.Publish(t, s, 0, 1)
	l := newLine(t, m.Endpoints()[0])
	watching := open(t, Config{Endpoints: []string{l.URL()}})
	k := &slowReads{watching.client.KV, make(chan struct{}), make(chan struct{})}
	watching.client.KV = k
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	events := watching.Watch(ctx)
	<-k.read
	l.set(false, true)
	go func() { // from here on reads are only as slow as the line
		close(k.release)
		for range k.read {
		}
	}()
	storetest.UntilHead(t, events, head)
	storetest.UntilLost(t, events)
	l.set(false, false)
	storetest.UntilHead(t, events, head)
	stop()
	for range events {
	}
	close(k.read)
}

// The connection stays, but nothing comes back: no error ever tells.
func TestT15SilentServerIsNoticed(t *testing.T) {
	s, m := start(t)
	l := newLine(t, m.Endpoints()[0])
	watching := open(t, Config{Endpoints: []string{l.URL()}})
	events := watching.Watch(t.Context())
	head := storetest.Publish(t, s, 0, 1)
	storetest.UntilHead(t, events, head)
	l.set(false, true)
	storetest.UntilLost(t, events)
	began := time.Now()
	if _, err := watching.Publish(t.Context(), 1, storetest.Archive(2), storetest.Record(2)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("publish: %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("publish took %v", took)
	}
	head = storetest.Publish(t, s, 1, 3)
	l.set(false, false)
	storetest.UntilHead(t, events, head)
}

// A second voter that never comes up: the member lives, but has no quorum.
func TestT15QuorumLoss(t *testing.T) {
	s, _ := start(t)
	events := s.Watch(t.Context())
	head := storetest.Publish(t, s, 0, 1)
	storetest.UntilHead(t, events, head)
	if _, err := s.client.MemberAdd(t.Context(), []string{"http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	storetest.UntilLost(t, events)
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if _, err := s.Publish(ctx, 1, storetest.Archive(2), storetest.Record(2)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("publish: %v, want ErrUnavailable", err)
	}
	if r, err := s.Head(ctx); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("head: %+v, %v, want ErrUnavailable", r, err)
	}
}

// slowReads holds the answers of reads back until they are asked for.
type slowReads struct {
	clientv3.KV
	read    chan struct{} // an answer is there
	release chan struct{}
}

func (k *slowReads) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	r, err := k.KV.Get(ctx, key, opts...)
	k.read <- struct{}{}
	<-k.release
	return r, err
}

// A probe reads the old head, the watch reports the new one, then the probe's
// answer arrives: nothing went back.
func TestOvertakenProbeIsNoNews(t *testing.T) {
	s, m := start(t)
	first := storetest.Publish(t, s, 0, 1)
	watching := open(t, Config{Endpoints: m.Endpoints()})
	k := &slowReads{watching.client.KV, make(chan struct{}), make(chan struct{})}
	watching.client.KV = k
	ctx, stop := context.WithCancel(t.Context())
	events := watching.Watch(ctx)
	<-k.read // the list
	k.release <- struct{}{}
	storetest.UntilHead(t, events, first)
	<-k.read // the first probe
	storetest.UntilHead(t, events, storetest.Publish(t, s, 1, 2))
	k.release <- struct{}{}
	<-k.read // the second probe: the first one has been judged
	select {
	case e := <-events:
		t.Errorf("event %+v from an old answer", e)
	default:
	}
	stop()
	k.release <- struct{}{}
	for range events {
	}
}

// BenchmarkCommitToEvent is the time from the end of Publish to the event, and
// of the whole publish with fsync.
func BenchmarkCommitToEvent(b *testing.B) {
	s, _ := start(b)
	events := s.Watch(b.Context())
	<-events
	var head store.Record
	var waited time.Duration
	for b.Loop() {
		var err error
		if head, err = s.Publish(b.Context(), head.Sequence, storetest.Archive(1), storetest.Record(1)); err != nil {
			b.Fatal(err)
		}
		committed := time.Now()
		for e := range events {
			if e.Head == head {
				break
			}
		}
		waited += time.Since(committed)
	}
	b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "µs-to-event/op")
}

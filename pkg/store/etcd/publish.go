package etcd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/domicile-dev/domicile/pkg/store"
)

// Publish implements store.Store.
//
// When the answer to the last step is lost (time-out, broken connection, leader
// gone), the transaction may have been committed, may have been lost, or may
// still be on its way. What is left of the deadline goes into reading the
// history at the new sequence:
//   - our own record is there: it was committed, and we answer as if nothing had
//     happened;
//   - another record is there: somebody else moved the head, so ours can never
//     be committed: ErrStale;
//   - nothing is there, or no answer: not known, since it may still arrive:
//     ErrUnavailable.
//
// So that there is something left, the steps before get three quarters of the
// deadline, or all but a second of it.
func (s *Store) Publish(ctx context.Context, base uint64, archive []byte, r store.Record) (store.Record, error) {
	const op = "publish"
	r, err := store.Prepare(base, archive, r)
	if err != nil {
		return store.Record{}, fmt.Errorf("%s: %w", op, err)
	}
	whole, stop := s.within(ctx)
	defer stop()
	end, _ := whole.Deadline()
	left := time.Until(end)
	writing, stop := context.WithDeadline(whole, end.Add(-min(time.Second, left/4)))
	defer stop()

	before, err := s.look(writing)
	switch {
	case err != nil:
		return store.Record{}, explain(ctx, op, err)
	case errors.Is(before.err, store.ErrCorrupt):
		return store.Record{}, explain(ctx, op, before.err)
	case before.Sequence != base:
		return store.Record{}, store.Stale(base, before.Record)
	}
	if err := s.upload(writing, r.Bundle, archive); err != nil {
		return store.Record{}, explain(ctx, op, err)
	}
	e := entry{r, rand.Text()}
	done, err := s.swap(writing, before, e)
	if err != nil && !refused(err) {
		done, err = s.settle(whole, e, err)
	}
	switch {
	case err != nil:
		return store.Record{}, explain(ctx, op, err)
	case !done.ours:
		return store.Record{}, store.Stale(base, done.head)
	}
	return r, nil
}

// outcome of a compare-and-swap that etcd has answered.
type outcome struct {
	ours bool
	head store.Record // the record in our way
}

// swap makes e the head if nobody has touched it since before was read. It
// compares the revision, not the sequence, so that a head that was deleted and
// written again is not mistaken for the old one.
func (s *Store) swap(ctx context.Context, before found, e entry) (outcome, error) {
	value, err := json.Marshal(e)
	if err != nil {
		return outcome{}, err
	}
	r, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(s.headKey()), "=", before.written)).
		Then(
			clientv3.OpPut(s.headKey(), string(value)),
			clientv3.OpPut(s.historyKey(e.Sequence), string(value)),
		).
		Else(clientv3.OpGet(s.headKey())).
		Commit()
	if err != nil {
		return outcome{}, err
	}
	if r.Succeeded {
		return outcome{ours: true}, nil
	}
	var now entry
	if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		if now, err = decode(kvs[0]); err != nil {
			return outcome{}, err
		}
	}
	return outcome{head: now.Record}, nil
}

// settle finds out what became of a swap whose answer was lost. It returns
// cause when that cannot be known.
func (s *Store) settle(ctx context.Context, e entry, cause error) (outcome, error) {
	r, err := s.client.Get(ctx, s.historyKey(e.Sequence))
	if err != nil || len(r.Kvs) == 0 {
		return outcome{}, cause
	}
	there, err := decode(r.Kvs[0])
	if err != nil {
		return outcome{}, err
	}
	return outcome{ours: there.Write == e.Write, head: there.Record}, nil
}

// upload makes the archive readable by its digest. What is there already is
// read and verified instead, which costs etcd no log and no disk: a roll-back
// repeats an old archive. What is there but damaged is written again.
func (s *Store) upload(ctx context.Context, digest string, archive []byte) error {
	_, err := s.archive(ctx, digest)
	if err == nil || !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	n := 0
	for ; n*chunkSize < len(archive); n++ {
		chunk := archive[n*chunkSize : min((n+1)*chunkSize, len(archive))]
		put := clientv3.OpPut(s.chunkKey(digest, n), string(chunk))
		g.Go(func() error { return s.repeat(gctx, put) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	m, err := json.Marshal(manifest{n, len(archive)})
	if err != nil {
		return err
	}
	return s.repeat(ctx, clientv3.OpTxn(nil, []clientv3.Op{
		// Chunks that do not belong here would make the archive unreadable.
		clientv3.OpDelete(s.chunkKey(digest, n), clientv3.WithRange(s.manifestKey(digest))),
		clientv3.OpPut(s.manifestKey(digest), string(m)),
	}, nil))
}

// repeat does an idempotent write until it works, is refused, or ctx ends. The
// client itself repeats no write that may have arrived.
func (s *Store) repeat(ctx context.Context, op clientv3.Op) error {
	for {
		_, err := s.client.Do(ctx, op)
		if err == nil || refused(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

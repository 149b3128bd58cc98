package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/store"
)

// chunkSize keeps a put well under etcd's limit of 1.5 MiB for one request.
const chunkSize = 512 << 10

// pageSize is how many chunks one read fetches: a small bundle comes in one
// round trip, and a large one never makes etcd build an answer of 64 MiB.
const pageSize = 4

// entry is what head and history hold.
type entry struct {
	store.Record
	// Write is a random word for each Publish call: the one way to know our own
	// record from an equal one that somebody else wrote.
	Write string `json:"write"`
}

type manifest struct {
	Chunks int `json:"chunks"`
	Size   int `json:"size"` // bytes
}

// found is one look at the head.
type found struct {
	entry
	err      error // why there is no entry: ErrEmpty, ErrCorrupt
	written  int64 // revision that wrote the head; 0 without one
	revision int64 // of the whole store when it was read
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Record, error) {
	bounded, stop := s.within(ctx)
	defer stop()
	f, err := s.look(bounded)
	if err == nil {
		err = f.err
	}
	if err != nil {
		return store.Record{}, explain(ctx, "read head", err)
	}
	return f.Record, nil
}

// look reads the head, linearizably. Its error is the client's.
func (s *Store) look(ctx context.Context) (found, error) {
	r, err := s.client.Get(ctx, s.headKey())
	if err != nil {
		return found{}, err
	}
	f := found{err: store.ErrEmpty, revision: r.Header.Revision}
	if len(r.Kvs) == 1 {
		f.written = r.Kvs[0].ModRevision
		f.entry, f.err = decode(r.Kvs[0])
	}
	return f, nil
}

func decode(kv *mvccpb.KeyValue) (entry, error) {
	var e entry
	if err := json.Unmarshal(kv.Value, &e); err != nil {
		return entry{}, fmt.Errorf("%w: %s: %w", store.ErrCorrupt, kv.Key, err)
	}
	if e.Sequence == 0 || !bundle.ValidDigest(e.Bundle) {
		return entry{}, fmt.Errorf("%w: %s: sequence %d, bundle %q", store.ErrCorrupt, kv.Key, e.Sequence, e.Bundle)
	}
	e.At = e.At.UTC()
	return e, nil
}

// Bundle implements store.Store.
func (s *Store) Bundle(ctx context.Context, digest string) ([]byte, error) {
	bounded, stop := s.within(ctx)
	defer stop()
	archive, err := s.archive(bounded, digest)
	if err != nil {
		return nil, explain(ctx, "read bundle "+digest, err)
	}
	return archive, nil
}

func (s *Store) archive(ctx context.Context, digest string) ([]byte, error) {
	if !bundle.ValidDigest(digest) {
		return nil, fmt.Errorf("%w: not a digest", store.ErrNotFound)
	}
	var archive []byte
	chunks := 0
	prefix := s.bundleKeys(digest)
	end := clientv3.GetPrefixRangeEnd(prefix)
	for from := prefix; ; {
		r, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize))
		if err != nil {
			return nil, err
		}
		for _, kv := range r.Kvs {
			// The manifest sorts after the chunks.
			if string(kv.Key) == s.manifestKey(digest) {
				return archive, complete(kv, archive, chunks, digest)
			}
			if string(kv.Key) != s.chunkKey(digest, chunks) || len(archive)+len(kv.Value) > bundle.MaxArchive {
				return nil, s.torn(ctx, digest, kv.Key)
			}
			archive = append(archive, kv.Value...)
			chunks++
		}
		if !r.More {
			// Chunks without a manifest are the remains of a publisher that died.
			return nil, store.ErrNotFound
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

// torn says what a chunk means that does not belong where it is: damage, or,
// without a manifest, the remains of a publisher that died, whose puts arrive in
// any order.
func (s *Store) torn(ctx context.Context, digest string, key []byte) error {
	r, err := s.client.Get(ctx, s.manifestKey(digest), clientv3.WithCountOnly())
	switch {
	case err != nil:
		return err
	case r.Count == 0:
		return store.ErrNotFound
	}
	return fmt.Errorf("%w: %s: unexpected, or too large", store.ErrCorrupt, key)
}

func complete(kv *mvccpb.KeyValue, archive []byte, chunks int, digest string) error {
	var m manifest
	if err := json.Unmarshal(kv.Value, &m); err != nil {
		return fmt.Errorf("%w: %s: %w", store.ErrCorrupt, kv.Key, err)
	}
	if m != (manifest{chunks, len(archive)}) {
		return fmt.Errorf("%w: %d chunks with %d bytes, the manifest says %d with %d", store.ErrCorrupt, chunks, len(archive), m.Chunks, m.Size)
	}
	if err := bundle.Verify(archive, digest); err != nil {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return nil
}

// History implements store.Store.
func (s *Store) History(ctx context.Context, limit int) ([]store.Record, error) {
	if limit <= 0 || limit > store.MaxHistory {
		limit = store.MaxHistory
	}
	bounded, stop := s.within(ctx)
	defer stop()
	records, err := s.history(bounded, uint64(limit))
	if err != nil {
		return nil, explain(ctx, "read history", err)
	}
	return records, nil
}

// history asks for exactly the keys it wants: etcd would sort the whole history
// in memory to answer "the last ten".
func (s *Store) history(ctx context.Context, limit uint64) ([]store.Record, error) {
	f, err := s.look(ctx)
	if err == nil {
		err = f.err
	}
	if errors.Is(err, store.ErrEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	newest := f.Sequence
	oldest := newest - min(limit, newest) + 1
	r, err := s.client.Get(ctx, s.historyKey(oldest), clientv3.WithRange(s.historyKey(newest)+"\x00"))
	if err != nil {
		return nil, err
	}
	out := make([]store.Record, 0, len(r.Kvs))
	for _, kv := range slices.Backward(r.Kvs) {
		e, err := decode(kv)
		if err != nil {
			return nil, err
		}
		if want := newest - uint64(len(out)); e.Sequence != want || string(kv.Key) != s.historyKey(want) {
			return nil, fmt.Errorf("%w: %s: found where record %d should be", store.ErrCorrupt, kv.Key, want)
		}
		out = append(out, e.Record)
	}
	if n := newest - oldest + 1; uint64(len(out)) != n {
		return nil, fmt.Errorf("%w: %d of the last %d records exist", store.ErrCorrupt, len(out), n)
	}
	return out, nil
}

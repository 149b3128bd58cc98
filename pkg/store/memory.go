package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/domicile-dev/domicile/pkg/bundle"
)

// Memory is a Store for tests and single processes. It forgets everything when
// the process ends. Its switches play what a real store suffers.
type Memory struct {
	mu       sync.Mutex
	down     bool
	revision int64
	archives map[string][]byte
	records  []written
	watches  map[*watch]struct{}
}

type written struct {
	Record
	revision int64
}

type watch struct {
	feed *Feed
	mark Mark
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{archives: map[string][]byte{}, watches: map[*watch]struct{}{}}
}

// SetAvailable switches the store off and on. Off, every call answers
// ErrUnavailable and watchers learn that the store is lost.
func (m *Memory) SetAvailable(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = !on
	m.tellAll()
}

// Rewind plays the restore of a backup that was taken at a sequence: later
// records are gone. Archives stay.
func (m *Memory) Rewind(sequence uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = slices.Clone(m.records[:min(sequence, uint64(len(m.records)))])
	m.revision = 0
	if n := len(m.records); n > 0 {
		m.revision = m.records[n-1].revision
	}
	m.tellAll()
}

// Head implements Store.
func (m *Memory) Head(ctx context.Context) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return Record{}, fmt.Errorf("read head: %w", err)
	}
	head, err := m.head()
	if err != nil {
		return Record{}, fmt.Errorf("read head: %w", err)
	}
	return head.Record, nil
}

// Bundle implements Store.
func (m *Memory) Bundle(ctx context.Context, digest string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return nil, fmt.Errorf("read bundle %s: %w", digest, err)
	}
	archive, ok := m.archives[digest]
	if !ok {
		return nil, fmt.Errorf("read bundle %s: %w", digest, ErrNotFound)
	}
	if err := bundle.Verify(archive, digest); err != nil {
		return nil, fmt.Errorf("read bundle %s: %w: %w", digest, ErrCorrupt, err)
	}
	return bytes.Clone(archive), nil
}

// Publish implements Store.
func (m *Memory) Publish(ctx context.Context, base uint64, archive []byte, r Record) (Record, error) {
	r, err := Prepare(base, archive, r)
	if err != nil {
		return Record{}, fmt.Errorf("publish: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return Record{}, fmt.Errorf("publish: %w", err)
	}
	if head, _ := m.head(); head.Sequence != base {
		return Record{}, Stale(base, head.Record)
	}
	m.archives[r.Bundle] = bytes.Clone(archive)
	m.revision++
	m.records = append(m.records, written{r, m.revision})
	m.tellAll()
	return r, nil
}

// History implements Store.
func (m *Memory) History(ctx context.Context, limit int) ([]Record, error) {
	if limit <= 0 || limit > MaxHistory {
		limit = MaxHistory
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var out []Record
	for _, w := range slices.Backward(m.records) {
		if len(out) == limit {
			break
		}
		out = append(out, w.Record)
	}
	return out, nil
}

// Watch implements Store.
func (m *Memory) Watch(ctx context.Context) <-chan Event {
	w := &watch{feed: NewFeed()}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watches[w] = struct{}{}
	m.tell(w)
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watches, w)
		w.feed.Close()
	})
	return w.feed.Events()
}

func (m *Memory) tellAll() {
	for w := range m.watches {
		m.tell(w)
	}
}

func (m *Memory) tell(w *watch) {
	var e Event
	var news bool
	if m.down {
		e, news = w.mark.Lost(ErrUnavailable)
	} else {
		head, err := m.head()
		e, news = w.mark.Found(head.Record, head.revision, err)
	}
	if news {
		w.feed.Send(e)
	}
}

func (m *Memory) head() (written, error) {
	if len(m.records) == 0 {
		return written{}, ErrEmpty
	}
	return m.records[len(m.records)-1], nil
}

func (m *Memory) ready(ctx context.Context) error {
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		return err
	case m.down:
		return ErrUnavailable
	}
	return nil
}

package directory

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// Memory is an Editor for tests and single processes.
type Memory struct {
	mu    sync.Mutex
	down  bool
	asked int
	homes map[string]string
}

// NewMemory returns a directory that lists nobody.
func NewMemory() *Memory { return &Memory{homes: map[string]string{}} }

// SetAvailable switches the directory off and on. Off, every call answers
// ErrUnavailable.
func (m *Memory) SetAvailable(up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = !up
}

// Asked counts the calls of Lookup.
func (m *Memory) Asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// Lookup finds a home.
func (m *Memory) Lookup(ctx context.Context, hash string) (home string, found bool, err error) {
	if !identity.IsUserHash(hash) {
		return "", false, fmt.Errorf("look up home: %w", ErrBadHash)
	}
	if err := ctx.Err(); err != nil {
		return "", false, fmt.Errorf("look up home: %w: %w", ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.down {
		return "", false, fmt.Errorf("look up home: %w", ErrUnavailable)
	}
	home, found = m.homes[hash]
	return home, found, nil
}

// Put sets homes, all or none.
func (m *Memory) Put(_ context.Context, entries ...Entry) (int, error) {
	next := map[string]string{}
	for _, e := range entries {
		if err := e.Validate(); err != nil {
			return 0, fmt.Errorf("write directory: %w", err)
		}
		next[e.Hash] = e.Home
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return 0, fmt.Errorf("write directory: %w", ErrUnavailable)
	}
	maps.Copy(m.homes, next)
	return len(entries), nil
}

// Remove forgets users.
func (m *Memory) Remove(_ context.Context, hashes ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return fmt.Errorf("write directory: %w", ErrUnavailable)
	}
	for _, h := range hashes {
		delete(m.homes, h)
	}
	return nil
}

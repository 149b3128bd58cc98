package store_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Target {
		m := store.NewMemory()
		return storetest.Target{
			Open:  func(*testing.T) store.Store { return m },
			Stop:  func(*testing.T) { m.SetAvailable(false) },
			Start: func(*testing.T) { m.SetAvailable(true) },
		}
	})
}

func TestT17MemoryRewound(t *testing.T) {
	m := store.NewMemory()
	events := m.Watch(t.Context())
	first := storetest.Publish(t, m, 0, 1)
	second := storetest.Publish(t, m, 1, 2)
	storetest.UntilHead(t, events, second)
	m.Rewind(1)
	e := <-events
	var back *store.WentBackError
	if !errors.Is(e.Err, store.ErrWentBack) || !errors.As(e.Err, &back) || back.Seen != first || back.Last != second || !e.Connected {
		t.Fatalf("event %+v, want ErrWentBack from %+v to %+v", e, second, first)
	}
	storetest.UntilHead(t, m.Watch(t.Context()), first) // a new watch accepts it

	// Another past of the same length is no better; a longer one is.
	storetest.Publish(t, m, 1, 3)
	if e := <-events; !errors.Is(e.Err, store.ErrWentBack) {
		t.Errorf("event %+v, want ErrWentBack for another second record", e)
	}
	storetest.UntilHead(t, events, storetest.Publish(t, m, 2, 4))
}

func record(n uint64) store.Record { return store.Record{Sequence: n, Bundle: "b"} }

func TestMark(t *testing.T) {
	type step struct {
		head     uint64
		revision int64
		err      error
		lost     bool
		want     string // "": told before
	}
	for name, steps := range map[string][]step{
		"forward":      {{head: 1, revision: 5, want: "head 1"}, {head: 1, revision: 5}, {head: 3, revision: 9, want: "head 3"}},
		"from empty":   {{err: store.ErrEmpty, want: "empty"}, {err: store.ErrEmpty}, {head: 1, revision: 2, want: "head 1"}},
		"lost at once": {{lost: true, want: "lost"}, {lost: true}, {head: 1, revision: 2, want: "head 1"}},
		"lost twice":   {{head: 1, revision: 2, want: "head 1"}, {lost: true, want: "lost"}, {head: 1, revision: 2, want: "head 1"}, {lost: true, want: "lost"}},
		"sequence back": {{head: 4, revision: 4, want: "head 4"}, {head: 3, revision: 9, want: "back"}, {head: 3, revision: 9},
			{lost: true, want: "lost"}, {head: 3, revision: 9, want: "back"}, {head: 5, revision: 10, want: "head 5"}},
		"revision back": {{head: 4, revision: 4, want: "head 4"}, {head: 5, revision: 3, want: "back"}, {head: 6, revision: 5, want: "head 6"}},
		"deleted":       {{head: 4, revision: 4, want: "head 4"}, {err: store.ErrEmpty, want: "back"}, {head: 1, revision: 9, want: "back"}},
		"corrupt":       {{head: 4, revision: 4, want: "head 4"}, {err: store.ErrCorrupt, revision: 5, want: "corrupt"}, {head: 3, revision: 6, want: "back"}, {head: 4, revision: 4, want: "head 4"}},
	} {
		t.Run(name, func(t *testing.T) {
			var m store.Mark
			for i, s := range steps {
				var e store.Event
				var news bool
				switch {
				case s.lost:
					e, news = m.Lost(store.ErrUnavailable)
				case s.err != nil:
					e, news = m.Found(store.Record{}, s.revision, s.err)
				default:
					e, news = m.Found(record(s.head), s.revision, nil)
				}
				got := ""
				if news {
					got = describe(e)
				}
				if got != s.want {
					t.Errorf("step %d: %q, want %q", i, got, s.want)
				}
			}
		})
	}
}

func describe(e store.Event) string {
	switch {
	case !e.Connected:
		return "lost"
	case errors.Is(e.Err, store.ErrEmpty):
		return "empty"
	case errors.Is(e.Err, store.ErrWentBack):
		return "back"
	case errors.Is(e.Err, store.ErrCorrupt):
		return "corrupt"
	case e.Err != nil:
		return e.Err.Error()
	}
	return "head " + string(rune('0'+e.Head.Sequence))
}

func TestFeedThinsOut(t *testing.T) {
	head := func(n uint64) store.Event { return store.Event{Head: record(n), Connected: true} }
	lost := store.Event{Err: store.ErrUnavailable}
	back := store.Event{Connected: true, Err: store.ErrWentBack}
	for name, c := range map[string]struct {
		sent []store.Event
		want []string
	}{
		"nothing":                    {nil, nil},
		"heads":                      {[]store.Event{head(1), head(2), head(3)}, []string{"head 3"}},
		"loss keeps the head":        {[]store.Event{head(1), head(2), lost}, []string{"head 2", "lost"}},
		"failures replace":           {[]store.Event{head(1), lost, back, lost}, []string{"head 1", "lost"}},
		"a head says all":            {[]store.Event{head(1), lost, head(2)}, []string{"head 2"}},
		"loss alone":                 {[]store.Event{lost, back}, []string{"back"}},
		"a head, a loss and another": {[]store.Event{lost, head(1), lost}, []string{"head 1", "lost"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := store.NewFeed()
			for _, e := range c.sent {
				f.Send(e)
			}
			f.Close()
			var got []string
			for e := range f.Events() {
				got = append(got, describe(e))
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
		})
	}
}

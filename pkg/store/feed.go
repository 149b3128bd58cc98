package store

import "errors"

// Feed carries events from one watcher to one reader without ever blocking the
// watcher. What the reader has not yet taken is thinned out: a newer head
// replaces all before it, a newer failure the failures before it. A head is
// never replaced by a failure, because the reader must not miss the last word
// that came before the store was lost.
//
// Calls of Send and Close must not overlap.
type Feed struct{ c chan Event }

// NewFeed returns an empty feed.
func NewFeed() *Feed {
	// A head and a failure after it are the most that can wait.
	return &Feed{c: make(chan Event, 2)}
}

// Events is the reader's end.
func (f *Feed) Events() <-chan Event { return f.c }

// Close ends the feed. What waits can still be read.
func (f *Feed) Close() { close(f.c) }

// Send enters an event.
func (f *Feed) Send(e Event) {
	var head *Event
	for waits := true; waits; {
		select {
		case old := <-f.c:
			if old.Err == nil {
				head = &old
			}
		default:
			waits = false
		}
	}
	if head != nil && e.Err != nil {
		f.c <- *head // cannot block: nobody else sends, and the channel was emptied above
	}
	f.c <- e
}

// Mark is the newest head that a watch has reported, and turns what is found in
// the store into events that never lead back behind it. The zero Mark has seen
// nothing. Calls must not overlap.
type Mark struct {
	head     Record
	revision int64
	last     Event
	told     bool
}

// Found judges a head and the revision that wrote it: a number that the store
// gives out once, in growing order, so that it betrays a past that was replaced
// by another one of the same length. err says why there is no head: ErrEmpty or
// ErrCorrupt. ok is false when the watcher has been told so before.
func (m *Mark) Found(head Record, revision int64, err error) (e Event, ok bool) {
	e = Event{Head: head, Connected: true, Err: err}
	switch {
	case errors.Is(err, ErrCorrupt):
		e.Head = Record{}
	case m.head != (Record{}) && (revision < m.revision || err != nil || head.Sequence < m.head.Sequence ||
		head.Sequence == m.head.Sequence && head != m.head):
		e = Event{Connected: true, Err: &WentBackError{Seen: head, Last: m.head}}
	case err == nil:
		m.head, m.revision = head, revision
	}
	return e, m.tell(e)
}

// Lost reports that the store does not answer.
func (m *Mark) Lost(err error) (e Event, ok bool) {
	e = Event{Err: err}
	return e, m.tell(e)
}

// tell remembers the event and reports whether it says anything new. Two losses
// are one, whatever their errors say.
func (m *Mark) tell(e Event) bool {
	same := m.told && e.Connected == m.last.Connected && e.Head == m.last.Head &&
		(!e.Connected || text(e.Err) == text(m.last.Err))
	m.last, m.told = e, true
	return !same
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

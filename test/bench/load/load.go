// Package load drives keep-alive HTTP/1.1 connections as hard as it can with as
// little work of its own as it can, and counts. An answer that is not expected
// ends a run: nothing that was refused is ever counted as served.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Connections is how many keep-alive connections carry the load.
const Connections = 32

// AnswerTime is how long any answer may take before the run fails.
const AnswerTime = 10 * time.Second

// Wire is one keep-alive HTTP/1.1 connection that reads as little of an answer
// as it can: what the client spends, Envoy lacks.
type Wire struct {
	net.Conn
	Buf []byte
}

// Dial opens n connections.
func Dial(addr string, n int) ([]*Wire, error) {
	out := make([]*Wire, 0, n)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			HangUp(out)
			return nil, fmt.Errorf("dial %s: %w", addr, err)
		}
		out = append(out, &Wire{c, make([]byte, 4096)})
	}
	return out, nil
}

// HangUp closes them all.
func HangUp(list []*Wire) {
	for _, w := range list {
		w.Close()
	}
}

// Ask sends a request, reads the whole answer and returns its status.
func (w *Wire) Ask(request []byte) (status int, err error) {
	if _, err := w.Write(request); err != nil {
		return 0, err
	}
	have := 0
	for {
		n, err := w.Read(w.Buf[have:])
		if err != nil {
			return 0, err
		}
		have += n
		head, status, length, err := readHead(w.Buf[:have])
		switch {
		case err != nil:
			return 0, err
		case head == 0 && have == len(w.Buf):
			return 0, errors.New("the answer's header is too long")
		case head == 0:
			continue
		}
		if rest := head + length - have; rest > 0 {
			_, err = io.CopyN(io.Discard, w.Conn, int64(rest))
		}
		return status, err
	}
}

// readHead parses a response header; head is its length, 0 while it is not
// complete. An answer must say its length: the rest would be read as the next.
func readHead(b []byte) (head, status, length int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, 0, 0, nil
	}
	if end < 12 || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
		return 0, 0, 0, fmt.Errorf("not an HTTP/1.1 answer: %.40q", b)
	}
	if status, err = strconv.Atoi(string(b[9:12])); err != nil {
		return 0, 0, 0, fmt.Errorf("status %.12q: %w", b, err)
	}
	if status == 101 {
		return end + 4, status, 0, nil
	}
	const name = "\r\ncontent-length:"
	for i := 0; i+len(name) <= end; i++ {
		if b[i] != '\r' || !bytes.EqualFold(b[i:i+len(name)], []byte(name)) {
			continue
		}
		value, _, _ := bytes.Cut(b[i+len(name):end+2], []byte("\r\n"))
		if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
			return 0, 0, 0, fmt.Errorf("content-length: %w", err)
		}
		return end + 4, status, length, nil
	}
	return 0, 0, 0, fmt.Errorf("an answer without content-length: %.200q", b[:end])
}

// Exchange is one request and its answer on a connection.
type Exchange func(w *Wire) error

// Requests cycles through pre-rendered requests, one cursor for all connections.
type Requests struct {
	List [][]byte
	next atomic.Uint64
}

// Exchange sends the next request and expects 200.
func (r *Requests) Exchange(w *Wire) error {
	status, err := w.Ask(r.List[r.next.Add(1)%uint64(len(r.List))])
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d: %s", status, Tail(w.Buf))
	}
	return err
}

// Tail shows what came, without what an earlier answer left behind it.
func Tail(b []byte) []byte {
	b, _, _ = bytes.Cut(b, []byte{0})
	return b[:min(len(b), 400)]
}

// Drive runs exchanges on all connections until d has passed, or most of them
// are done when most is not 0. It returns how many there were and how long they
// took; the first that fails ends it.
func Drive(ctx context.Context, conns []*Wire, d time.Duration, most int, ex Exchange) (int, time.Duration, error) {
	var stop atomic.Bool
	var started, done atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(conns))
	began := time.Now()
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	for i, w := range conns {
		if err := w.SetDeadline(began.Add(d + AnswerTime)); err != nil {
			return 0, 0, err
		}
		wg.Go(func() {
			n := int64(0)
			for !stop.Load() && (most == 0 || started.Add(1) <= int64(most)) {
				if errs[i] = ex(w); errs[i] != nil {
					stop.Store(true)
					break
				}
				n++
			}
			done.Add(n)
		})
	}
	wg.Wait()
	return int(done.Load()), time.Since(began), errors.Join(append(errs, ctx.Err())...)
}

// Pace runs exchanges at a rate a second that does not wait for slow answers, and
// returns how long each took. An exchange that had to wait for the one before it on
// its connection counts from when it was due (coordinated omission); the client's
// own late waking does not count. The first exchange that fails ends the run.
func Pace(ctx context.Context, conns []*Wire, rate float64, d time.Duration, ex Exchange) ([]time.Duration, error) {
	if rate <= 0 || len(conns) == 0 {
		return nil, fmt.Errorf("pace of %g a second on %d connections: nothing to do", rate, len(conns))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	every := time.Duration(float64(len(conns)) / rate * float64(time.Second))
	took, errs := make([][]time.Duration, len(conns)), make([]error, len(conns))
	began := time.Now()
	var wg sync.WaitGroup
	for i, w := range conns {
		if err := w.SetDeadline(began.Add(d + AnswerTime)); err != nil {
			return nil, err
		}
		due := began.Add(every * time.Duration(i) / time.Duration(len(conns)))
		wg.Go(func() {
			for ; due.Before(began.Add(d)) && ctx.Err() == nil; due = due.Add(every) {
				from := due
				if wait := time.Until(due); wait > 0 {
					time.Sleep(wait)
					from = time.Now()
				}
				if errs[i] = ex(w); errs[i] != nil {
					cancel()
					return
				}
				took[i] = append(took[i], time.Since(from))
			}
		})
	}
	wg.Wait()
	return slices.Concat(took...), errors.Join(errs...)
}

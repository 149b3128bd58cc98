package e2e_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func empty(t testing.TB, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("the demo left %s", p)
		}
		return nil
	})
}

// sockets are open WebSockets of one home; each knows when it was closed.
type socket struct {
	conn   *websocket.Conn
	home   string
	closed atomic.Int64 // UnixNano; 0 while open
	pongs  chan string
}

// open opens n sockets of a home at a door.
func (l *lab) open(t testing.TB, url, home string, n int) []*socket {
	t.Helper()
	out := make([]*socket, n)
	token := l.token(t, "socket-"+home, home)
	for i := range out {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, _, err := dial(ctx, url, token)
		cancel()
		if err != nil {
			t.Fatalf("open a socket of %s: %v", home, err)
		}
		s := &socket{conn: c, home: home, pongs: make(chan string, 16)}
		go func() {
			for {
				_, data, err := c.Read(context.Background())
				if err != nil {
					s.closed.Store(time.Now().UnixNano())
					return
				}
				s.pongs <- string(data)
			}
		}()
		t.Cleanup(func() { c.CloseNow() })
		out[i] = s
	}
	return out
}

// alive asks an open socket for an answer of its home's region.
func (s *socket) alive() error {
	if s.closed.Load() != 0 {
		return fmt.Errorf("a socket of %s is closed", s.home)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, []byte("ping")); err != nil {
		return fmt.Errorf("a socket of %s: %w", s.home, err)
	}
	select {
	case got := <-s.pongs:
		if got != regionOf[s.home]+":ping" {
			return fmt.Errorf("a socket of %s was answered by %q", s.home, got)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a socket of %s does not answer", s.home)
	}
}

// forbidMessages is the shipped policy with TR's messages forbidden.
func forbidMessages(t testing.TB) string {
	return policies(t, [3]string{"jurisdictions/tr.yaml", "    message: {session: {maxAge: 24h}}", "    message: {serve: []}"})
}

// T36 (and T12): a policy that forbids TR messages, with sockets of all homes
// open at one gateway and one sidecar: TR's are closed within 3 s, all others
// stay and answer, and a new TR socket is refused with a reason.
func TestT36_ExactlyTheRevokedSocketsClose(t *testing.T) {
	l := own(t)
	doors := []string{l.ready.Regions["eu-frankfurt"].Gateway, l.ready.Regions["tr-istanbul"].Gateway, l.ready.Regions["eu-frankfurt"].Sidecar}
	var revoked, others []*socket
	for _, url := range doors {
		// More than the 1,024 connections that Envoy gives a cluster by itself.
		revoked = append(revoked, l.open(t, url, "TR", 400)...)
		others = append(others, l.open(t, url, "SA", 20)...)
		others = append(others, l.open(t, url, "DE", 20)...)
	}
	for _, s := range append(revoked, others...) {
		if err := s.alive(); err != nil {
			t.Fatal(err)
		}
	}
	dir := forbidMessages(t)
	began := time.Now()
	l.apply(t, dir)
	eventually(t, 5*time.Second, func() error {
		for _, s := range revoked {
			if s.closed.Load() == 0 {
				return fmt.Errorf("a socket of TR is still open")
			}
		}
		return nil
	})
	var last time.Duration
	for _, s := range revoked {
		last = max(last, time.Unix(0, s.closed.Load()).Sub(began))
	}
	t.Logf("%d sockets of TR closed at the latest %s after apply began", len(revoked), last.Round(time.Millisecond))
	if last > 3*time.Second {
		t.Errorf("the last socket of TR closed after %s", last)
	}
	before := l.counted(t)
	for _, s := range others {
		if err := s.alive(); err != nil {
			t.Error(err)
		}
	}
	for _, url := range doors {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, resp, err := dial(ctx, url, l.token(t, "socket-TR", "TR"))
		if err == nil || resp == nil || resp.StatusCode != 403 || resp.Header.Get("x-domicile-reason") != "forbidden" {
			t.Errorf("a new socket of TR: %v %v", resp, err)
		}
		cancel()
	}
	if n := l.reached(t, before)["tr-istanbul"]; n != 0 {
		t.Errorf("LEAK: tr-istanbul counted %d after the revocation", n)
	}
}

// T12: a home moves while its sockets are open: they close, reconnect in the new
// region, and the old region counts nothing more.
func TestT12_AMovedHomeReconnectsInItsNewRegion(t *testing.T) {
	l := own(t)
	url := l.ready.Regions["me-riyadh"].Gateway
	moving, staying := l.open(t, url, "FR", 30), l.open(t, url, "SA", 30)
	dir := policies(t,
		[3]string{"jurisdictions/fr.yaml", "serve: [eu-frankfurt]", "serve: [tr-istanbul]"},
		[3]string{"jurisdictions/fr.yaml", "for: [entry], mechanism", "for: [entry, serve], mechanism"},
		[3]string{"jurisdictions/fr.yaml", "relation: {entry: [eu-frankfurt]}", "relation: {serve: [eu-frankfurt], entry: [eu-frankfurt]}"},
	)
	l.apply(t, dir)
	eventually(t, 3*time.Second, func() error {
		for _, s := range moving {
			if s.closed.Load() == 0 {
				return fmt.Errorf("a socket of FR is still open")
			}
		}
		return nil
	})
	before := l.counted(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, _, err := dial(ctx, url, l.token(t, "socket-FR", "FR"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := say(c, "x"); got != "tr-istanbul:x" {
		t.Errorf("after the move: %q %v", got, err)
	}
	only(t, l.reached(t, before), "tr-istanbul")
	for _, s := range staying {
		if err := s.alive(); err != nil {
			t.Error(err)
		}
	}
}

// drained sums what every gateway says of drained listeners and of updates.
func (l *lab) drained(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, r := range l.ready.Regions {
		a := get(t, h1, r.EnvoyAdmin+"/stats?filter=listener_manager.(listener_modified|listener_removed|total_listeners_draining)|cluster_manager.(cluster_modified|cluster_removed)|rds.*(config_reload|update_success)$|cds.update_success|lds.update_success", "")
		out[name] = a.body
	}
	return out
}

// T33: a thousand applies of the same meaning in another order reach no Envoy
// and close no socket.
func TestT33_AThousandAppliesOfTheSameMeaning(t *testing.T) {
	l := own(t)
	open := append(l.open(t, l.ready.Regions["eu-frankfurt"].Gateway, "SA", 10), l.open(t, l.ready.Regions["tr-istanbul"].Gateway, "TR", 10)...)
	before, table := l.drained(t), l.status(t).Policy.Table
	base, err := os.ReadFile(filepath.Join(repo(), "policies", "jurisdictions", "tr.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n := 1000
	if testing.Short() {
		n = 50
	}
	if got := l.applyShuffled(t, string(base), n); got == 0 {
		t.Fatal("nothing was applied")
	}
	s := l.status(t)
	if s.Policy.Table != table {
		t.Errorf("the table changed: %s became %s", table, s.Policy.Table)
	}
	if s.Policy.Sequence < n {
		t.Errorf("sequence %d after %d applies", s.Policy.Sequence, n)
	}
	for region, want := range before {
		if got := l.drained(t)[region]; got != want {
			t.Errorf("%s was pushed to:\n%s\nbecame\n%s", region, want, got)
		}
	}
	for _, s := range open {
		if err := s.alive(); err != nil {
			t.Error(err)
		}
	}
}

// applyShuffled applies the shipped policies n times through the API, with the
// classes of one jurisdiction in another order and a comment of its own.
func (l *lab) applyShuffled(t testing.TB, text string, n int) int {
	t.Helper()
	head, rest, _ := strings.Cut(text, "  classes:\n")
	body, tail, _ := strings.Cut(rest, "  transfers:\n")
	lines := strings.Split(strings.TrimRight(body, "\n"), "\n")
	var done atomic.Int64
	var wg sync.WaitGroup
	work := make(chan int)
	for range 2 {
		wg.Go(func() {
			for i := range work {
				mine := append([]string{}, lines...)
				rand.Shuffle(len(mine), func(a, b int) { mine[a], mine[b] = mine[b], mine[a] })
				file := fmt.Sprintf("# %d\n%s  classes:\n%s\n  transfers:\n%s", i, head, strings.Join(mine, "\n"), tail)
				if err := l.post(file); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	for i := range n {
		if t.Failed() {
			break
		}
		work <- i
	}
	close(work)
	wg.Wait()
	return int(done.Load())
}

// post applies the shipped policies with another tr.yaml.
func (l *lab) post(tr string) error {
	archive, err := archiveWith("jurisdictions/tr.yaml", tr)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, l.ready.Control.Admin+"/v1/apply?author=test&message=shuffled", strings.NewReader(string(archive)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	for {
		resp, err := h1.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			return nil
		case http.StatusConflict: // somebody else was first: again
			req, _ = http.NewRequest(http.MethodPost, req.URL.String(), strings.NewReader(string(archive)))
			req.Header.Set("Content-Type", "application/octet-stream")
		default:
			return fmt.Errorf("apply: %s", resp.Status)
		}
	}
}

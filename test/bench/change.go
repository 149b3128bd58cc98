package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/demo"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/store"
	"github.com/domicile-dev/domicile/pkg/store/etcd"
	"github.com/domicile-dev/domicile/policies"

	"github.com/domicile-dev/domicile/test/bench/figures"
	"github.com/domicile-dev/domicile/test/bench/load"
	"github.com/domicile-dev/domicile/test/bench/site"
)

// The one cell that P7 changes: messages of Turkish users, asked for at the
// gateway in Frankfurt.
const (
	changedFile = "jurisdictions/tr.yaml"
	allowedRule = "    message: {session: {maxAge: 24h}}"
	deniedRule  = "    message: {serve: []}"
	changedHome = "TR"
)

// moment is one change: when it was asked for, committed, and seen.
type moment struct{ asked, committed, seen time.Time }

// change measures P7 on a running demo.
func (b *bench) change(ctx context.Context) error {
	s, err := b.newSite()
	if err != nil {
		return err
	}
	defer b.close()
	allow, forbid, err := archives(s.Path("policies"))
	if err != nil {
		return err
	}
	ready, err := startDemo(ctx, s)
	if err != nil {
		return err
	}
	token, err := demo.Token(ctx, demo.TokenRequest{Dir: s.Path("demo"), User: "bench", Home: changedHome})
	if err != nil {
		return err
	}
	db, err := etcd.New(etcd.Config{Endpoints: ready.Etcd})
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := newProbe(ready.Regions[here].Gateway, token)
	if err != nil {
		return err
	}
	defer p.w.Close()
	c := &changer{admin: ready.Control.Admin, commits: commits(ctx, db), probe: p}
	// The demo runs the shipped policy, which has tests; ours has none, and is
	// the first change.
	if _, err := c.do(ctx, forbid, http.StatusForbidden); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	var opened, closed []moment
	for i := range b.changes {
		if i%2 == 0 {
			opened, err = c.more(ctx, opened, allow, http.StatusOK)
		} else {
			closed, err = c.more(ctx, closed, forbid, http.StatusForbidden)
		}
		if err != nil {
			return fmt.Errorf("change %d: %w", i+1, err)
		}
	}
	b.printChanges(opened, closed)
	return nil
}

func (b *bench) printChanges(opened, closed []moment) {
	since := func(list []moment, from func(moment) time.Time) figures.Series {
		var out []time.Duration
		for _, m := range list {
			out = append(out, m.seen.Sub(from(m)))
		}
		return figures.Millis(out)
	}
	committed, asked := func(m moment) time.Time { return m.committed }, func(m moment) time.Time { return m.asked }
	all := append(append([]moment(nil), opened...), closed...)
	for _, x := range []struct {
		name string
		list []moment
	}{{"both directions", all}, {"forbidden → allowed", opened}, {"allowed → forbidden", closed}} {
		s := since(x.list, committed)
		b.report.Add("P7", "commit → seen, "+x.name+", p50", "ms", s, nil)
		var g *figures.Goal
		if len(x.list) == len(all) {
			g = figures.AtMost(30)
		}
		b.report.Judge("P7", "commit → seen, "+x.name+", p99", "ms", s, s.Quantile(0.99), g)
		b.report.Add("P7", "apply → seen, "+x.name+", p50", "ms", since(x.list, asked), nil)
	}
	b.report.Note("P7: nothing else uses the demo; forbidden → allowed takes two steps (every proxy first acknowledges what both policies allow). With fewer than 100 changes p99 is the greatest.")
}

// archives are two bundles that differ in one cell.
func archives(dir string) (allow, forbid []byte, err error) {
	if err := os.CopyFS(dir, policies.Library()); err != nil {
		return nil, nil, fmt.Errorf("copy policies: %w", err)
	}
	for _, pattern := range []string{"*_test.yaml", "jurisdictions/*_test.yaml"} {
		tests, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, nil, err
		}
		for _, name := range tests {
			if err := os.Remove(name); err != nil {
				return nil, nil, err
			}
		}
	}
	if allow, err = archive(dir); err != nil {
		return nil, nil, err
	}
	name := filepath.Join(dir, changedFile)
	old, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, err
	}
	text := strings.Replace(string(old), allowedRule, deniedRule, 1)
	if text == string(old) {
		return nil, nil, fmt.Errorf("%s has no line %q any more", changedFile, allowedRule)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return nil, nil, err
	}
	forbid, err = archive(dir)
	return allow, forbid, err
}

func archive(dir string) ([]byte, error) {
	set, problems := policy.Parse(os.DirFS(dir), policies.Shipped())
	if policy.HasErrors(problems) {
		return nil, fmt.Errorf("%s: %s", problems[0].Pos.File, problems[0].Message)
	}
	b, err := bundle.New(set.Files)
	if err != nil {
		return nil, err
	}
	return b.Archive(), nil
}

func startDemo(ctx context.Context, s *site.Site) (*demo.Ready, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	c, err := s.Start("demo", filepath.Join(root, "bin", "domicile"), "demo", "--dir", s.Path("demo"))
	if err != nil {
		return nil, fmt.Errorf("%w (run make build, and this program from the repository's root)", err)
	}
	var ready *demo.Ready
	err = s.Await(ctx, c, 90*time.Second, func(context.Context) bool {
		ready, err = demo.Load(s.Path("demo"))
		return err == nil
	})
	return ready, err
}

// commits reports each change of the head at the moment at which etcd tells.
func commits(ctx context.Context, db store.Store) <-chan commit {
	out := make(chan commit, 16)
	go func() {
		defer close(out)
		for e := range db.Watch(ctx) {
			at := time.Now()
			if e.Err != nil || !e.Connected {
				continue
			}
			select {
			case out <- commit{at, e.Head.Sequence}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

type commit struct {
	at       time.Time
	sequence uint64
}

// probe asks a gateway about once a millisecond on one connection.
type probe struct {
	w       *load.Wire
	request []byte
}

const probePeriod = time.Millisecond

func newProbe(gateway, token string) (*probe, error) {
	u, err := url.Parse(gateway)
	if err != nil {
		return nil, err
	}
	list, err := load.Dial(u.Host, 1)
	if err != nil {
		return nil, err
	}
	return &probe{list[0], []byte("GET /v1/messages/1 HTTP/1.1\r\nHost: " + u.Host + "\r\nAuthorization: Bearer " + token + "\r\n\r\n")}, nil
}

// until asks until the gateway answers with a status, and returns when it first did.
func (p *probe) until(ctx context.Context, status int) (time.Time, error) {
	tick := time.NewTicker(probePeriod)
	defer tick.Stop()
	last := 0
	for {
		if err := p.w.SetDeadline(time.Now().Add(load.AnswerTime)); err != nil {
			return time.Time{}, err
		}
		got, err := p.w.Ask(p.request)
		switch {
		case err != nil:
			return time.Time{}, fmt.Errorf("ask the gateway: %w", err)
		case got == status:
			return time.Now(), nil
		}
		last = got
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("the gateway still answers %d, want %d: %w", last, status, ctx.Err())
		case <-tick.C:
		}
	}
}

// changer makes one change at a time.
type changer struct {
	admin   string
	commits <-chan commit
	probe   *probe
	last    uint64
}

func (c *changer) more(ctx context.Context, list []moment, archive []byte, status int) ([]moment, error) {
	m, err := c.do(ctx, archive, status)
	return append(list, m), err
}

// do applies a policy and returns when it is in force on every proxy.
func (c *changer) do(ctx context.Context, archive []byte, status int) (moment, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var m moment
	var seenErr, applyErr, commitErr error
	m.asked = time.Now()
	wg.Go(func() { m.seen, seenErr = c.probe.until(ctx, status) })
	wg.Go(func() { m.committed, commitErr = c.committed(ctx) })
	wg.Go(func() {
		if applyErr = c.apply(ctx, archive); applyErr != nil {
			cancel()
		}
	})
	wg.Wait()
	if applyErr != nil {
		return m, applyErr
	}
	return m, errors.Join(seenErr, commitErr)
}

// committed waits for a commit after the last one.
func (c *changer) committed(ctx context.Context) (time.Time, error) {
	for {
		select {
		case x, ok := <-c.commits:
			if !ok {
				return time.Time{}, errors.New("the watch of etcd has ended")
			}
			first := c.last == 0
			if x.sequence <= c.last {
				continue
			}
			if c.last = x.sequence; !first { // the first is the head that was there
				return x.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("no commit is seen in etcd: %w", ctx.Err())
		}
	}
}

func (c *changer) apply(ctx context.Context, archive []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.admin+"/v1/apply?author=bench&message=bench&wait=10s", bytes.NewReader(archive))
	if err != nil {
		return err
	}
	req.Header.Set(api.Header, "bench")
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("apply: %s: %.600s", resp.Status, body)
	}
	return nil
}

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/static"
	"github.com/domicile-dev/domicile/pkg/identity"
)

// agentTimeout is how long Token waits for an agent that does not answer.
const agentTimeout = 2 * time.Second

// TokenRequest asks for a token of a demo's issuer.
type TokenRequest struct {
	Dir  string // of the demo
	User string
	Home string // "" for a token without home claim; the user is then in no directory
	// Claims are added and replace others.
	Claims map[string]any
	TTL    time.Duration
}

// Token makes a token and enters the user in the demo's directory, or removes
// the user from it when there is no home. It returns when every agent that is
// alive knows, and an error when one does not get to know. It asks the agents and nobody else, so it works while the control
// plane is dead.
func Token(ctx context.Context, q TokenRequest) (string, error) {
	if q.User == "" {
		return "", &exitError{exitUsage, errors.New("make token: the user is empty")}
	}
	if q.TTL == 0 {
		q.TTL = time.Hour
	}
	ready, err := Load(q.Dir)
	if err != nil {
		return "", err
	}
	m, err := openMint(q.Dir)
	if err != nil {
		return "", &exitError{exitUsage, err}
	}
	token, err := m.token(q.User, q.Home, q.Claims, time.Now(), q.TTL)
	if err != nil {
		return "", &exitError{exitUsage, err}
	}
	hash, err := enter(ctx, q.Dir, q.User, q.Home)
	if err != nil {
		return "", &exitError{exitFindings, err}
	}
	var g errgroup.Group
	for name, r := range ready.Regions {
		g.Go(func() error {
			if err := awaitAgent(ctx, r.Agent, hash, q.Home != ""); err != nil {
				return &exitError{exitFindings, fmt.Errorf("enter user: agent of %s: %w", name, err)}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	return token, nil
}

// enter writes the directory's entry of a user and returns the user's hash.
func enter(ctx context.Context, dir, user, home string) (string, error) {
	key, err := identity.ReadHashKey(filepath.Join(dir, fileUsersKey))
	if err != nil {
		return "", err
	}
	hash := identity.UserHash(key, user)
	d := static.Open(filepath.Join(dir, fileUsers))
	if home == "" {
		return hash, d.Remove(ctx, hash)
	}
	_, err = d.Put(ctx, directory.Entry{Hash: hash, Home: home})
	return hash, err
}

// awaitAgent returns when the agent knows the change, or after agentTimeout. A
// dead agent must not hold up the others' users and is no error; one that answers
// and does not know would refuse the user, or still serve one who was removed.
func awaitAgent(parent context.Context, url, hash string, listed bool) error {
	ctx, cancel := context.WithTimeout(parent, agentTimeout)
	defer cancel()
	want := http.StatusNotFound
	if listed {
		want = http.StatusOK
	}
	last := 0 // its last answer; 0: none
	known := poll(ctx, func() bool {
		code, err := getStatus(ctx, url+"/v1/directory/"+hash)
		if err == nil || ctx.Err() == nil { // time that runs out says nothing of the agent
			last = code
		}
		return err == nil && code == want
	})
	switch {
	case known:
		return nil
	case parent.Err() != nil:
		return parent.Err()
	case last != 0:
		return fmt.Errorf("it does not know the change after %v, and answers %d", agentTimeout, last)
	}
	return nil
}

// Cert writes cert.pem, key.pem and ca.pem of a node of the demo to out.
func Cert(dir, node, out string) error {
	id, err := identity.ParseID(node)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	a, err := identity.LoadAuthority(filepath.Join(dir, dirAuthority))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	p, err := a.Issue(id, identity.Options{})
	if err != nil {
		return &exitError{exitFindings, err}
	}
	if err := p.Save(out); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// poll asks until it hears yes or ctx ends; it tells which.
func poll(ctx context.Context, yes func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// getStatus asks a loopback URL and returns the status.
func getStatus(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

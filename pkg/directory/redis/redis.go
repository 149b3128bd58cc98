// Package redis is the directory in Redis or Valkey, one server or a Cluster: key
// "domicile:home:" and the keyed hash of the user id in hex, value the home, as
// SET writes it.
//
// Lookups go to primaries only. Never more than 65 bytes of a value are asked for,
// whatever stands there. A value of another kind, an empty one and one that is too
// long are directory.ErrCorrupt. Redirections of a Cluster that is being resharded are
// followed.
//
// The server has to keep what it holds: maxmemory-policy noeviction, and persistence.
// One that forgets everything looks like one that lists nobody, and its users are
// refused, or get the home that they declared at sign-up.
//
// A server that is down when the directory is opened is an error of the lookups, and
// is connected to when it is back. Methods may be called by many goroutines.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/secretfile"
)

// prefix stands before the hash in a key.
const prefix = "domicile:home:"

// Times of connections. A server that does not answer at all is left after hung; the
// next lookups try a new connection.
const (
	dialTimeout = 2 * time.Second
	hung        = 2 * time.Second
	writeTime   = 10 * time.Second // of one batch of Put or Remove
	batch       = 500              // entries; stays below the client's ring of 1024
)

// Config of the servers.
type Config struct {
	Addresses []string // host:port; more than one only of a Cluster
	Cluster   bool
	// SecretFile holds the password of the default user; "" is none. It is read
	// for every connection.
	SecretFile string
	// TLS is nil for none.
	TLS *tls.Config
	// Timeout bounds one lookup; 0: directory.DefaultTimeout.
	Timeout time.Duration
}

// Directory is a directory.Editor.
type Directory struct {
	cfg Config

	mu     sync.Mutex
	client rueidis.Client // nil until connected
	dial   *dialling      // nil where none is under way
	closed bool
}

// dialling is an attempt to connect.
type dialling struct {
	done chan struct{}
	err  error // to be read after done
}

// Open returns the directory; it connects at the first call.
func Open(cfg Config) (*Directory, error) {
	switch {
	case len(cfg.Addresses) == 0:
		return nil, errors.New("open directory: no address")
	case len(cfg.Addresses) > 1 && !cfg.Cluster:
		return nil, errors.New("open directory: several addresses, and no Cluster: which one counts is not said")
	}
	for _, a := range cfg.Addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, fmt.Errorf("open directory: %w", err)
		}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = directory.DefaultTimeout
	}
	return &Directory{cfg: cfg}, nil
}

// Close ends the connections. Calls under way may fail.
func (d *Directory) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.client != nil {
		d.client.Close()
	}
}

// Lookup finds a home.
func (d *Directory) Lookup(ctx context.Context, hash string) (home string, found bool, err error) {
	if !identity.IsUserHash(hash) {
		return "", false, fmt.Errorf("look up home: %w", directory.ErrBadHash)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	home, found, err = d.look(ctx, prefix+hash)
	if err != nil {
		return "", false, fmt.Errorf("look up home: %w", err)
	}
	return home, found, nil
}

func (d *Directory) look(ctx context.Context, key string) (home string, found bool, err error) {
	c, err := d.connect(ctx)
	if err != nil {
		return "", false, err
	}
	// GETRANGE answers "" for a key that is not there and for an empty value; a key
	// may also come between the two commands, so what looks empty is asked for once
	// more.
	for range 2 {
		r := c.DoMulti(ctx, c.B().Getrange().Key(key).Start(0).End(directory.MaxHome).Build(), c.B().Exists().Key(key).Build())
		home, err := r[0].ToString()
		if err != nil {
			return "", false, classify(err)
		}
		if home != "" {
			return home, true, directory.CheckHome(home)
		}
		there, err := r[1].AsInt64()
		if err != nil {
			return "", false, classify(err)
		}
		if there == 0 {
			return "", false, nil
		}
	}
	return "", false, fmt.Errorf("%w: it is empty", directory.ErrCorrupt)
}

// Put sets homes.
func (d *Directory) Put(ctx context.Context, entries ...directory.Entry) (done int, err error) {
	for _, e := range entries {
		if err := e.Validate(); err != nil {
			return 0, fmt.Errorf("write directory: %w", err)
		}
	}
	err = d.write(ctx, len(entries), func(b rueidis.Builder, i int) rueidis.Completed {
		return b.Set().Key(prefix + entries[i].Hash).Value(entries[i].Home).Build()
	}, &done)
	return done, err
}

// Remove forgets users.
func (d *Directory) Remove(ctx context.Context, hashes ...string) error {
	for _, h := range hashes {
		if !identity.IsUserHash(h) {
			return fmt.Errorf("write directory: %w", directory.ErrBadHash)
		}
	}
	var done int
	return d.write(ctx, len(hashes), func(b rueidis.Builder, i int) rueidis.Completed {
		return b.Del().Key(prefix + hashes[i]).Build()
	}, &done)
}

// write runs n commands in batches, and counts those at the beginning that were done.
func (d *Directory) write(ctx context.Context, n int, command func(rueidis.Builder, int) rueidis.Completed, done *int) error {
	for *done < n {
		if err := d.writeBatch(ctx, min(batch, n-*done), command, done); err != nil {
			return fmt.Errorf("write directory: %w", err)
		}
	}
	return nil
}

func (d *Directory) writeBatch(ctx context.Context, n int, command func(rueidis.Builder, int) rueidis.Completed, done *int) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	first := *done
	commands := make([]rueidis.Completed, n)
	for i := range commands {
		commands[i] = command(c.B(), first+i)
	}
	for _, r := range c.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return classify(err)
		}
		*done++
	}
	return nil
}

// connect returns the client. One attempt at a time is made, and callers wait for it
// as long as they may; it goes on when they have left.
func (d *Directory) connect(ctx context.Context) (rueidis.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", directory.ErrUnavailable, err)
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, fmt.Errorf("%w: it is closed", directory.ErrUnavailable)
	}
	if c := d.client; c != nil {
		d.mu.Unlock()
		return c, nil
	}
	a := d.dial
	if a == nil {
		a = &dialling{done: make(chan struct{})}
		d.dial = a
		go d.attempt(a)
	}
	d.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: connect: %w", directory.ErrUnavailable, ctx.Err())
	case <-a.done:
	}
	if a.err != nil {
		return nil, classify(fmt.Errorf("connect: %w", a.err))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.client, nil
}

func (d *Directory) attempt(a *dialling) {
	defer close(a.done)
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:         d.cfg.Addresses,
		ForceSingleClient:   !d.cfg.Cluster,
		TLSConfig:           d.cfg.TLS,
		AuthCredentialsFn:   d.credentials(),
		Dialer:              net.Dialer{Timeout: dialTimeout, KeepAlive: time.Second},
		ConnWriteTimeout:    hung,
		DisableCache:        true, // package directory's cache says how old an answer may be
		ReadBufferEachConn:  32 << 10,
		WriteBufferEachConn: 32 << 10,
		ClientName:          "domicile",
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dial = nil
	switch {
	case err != nil:
		a.err = err
	case d.closed:
		client.Close()
		a.err = errors.New("it is closed")
	default:
		d.client = client
	}
}

// credentials reads the password for each connection, so that a new one counts.
func (d *Directory) credentials() func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
	if d.cfg.SecretFile == "" {
		return nil
	}
	return func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
		password, err := secretfile.Read(d.cfg.SecretFile)
		return rueidis.AuthCredentials{Password: password}, err
	}
}

// classify says what an error means. Of what the server says only the first word, its
// code, is kept: the rest may hold the key.
func classify(err error) error {
	var r *rueidis.RedisError
	if !errors.As(err, &r) {
		return fmt.Errorf("%w: %w", directory.ErrUnavailable, err)
	}
	code, _, _ := strings.Cut(r.Error(), " ")
	switch code {
	case "WRONGTYPE":
		return fmt.Errorf("%w: it is no string (%s)", directory.ErrCorrupt, code)
	case "MOVED", "ASK":
		return fmt.Errorf("%w: the server is one of a Cluster, and the deployment does not say so (%s)", directory.ErrUnavailable, code)
	}
	return fmt.Errorf("%w: the server answers %s", directory.ErrUnavailable, code)
}

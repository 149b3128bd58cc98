// Package coverage counts, for one agent, how many users its Envoys have seen,
// by home, and how many of them have no home yet: what an operator must know
// before a policy is enforced.
//
// Envoy sends a sample of its requests as access log entries over the agent's
// Unix socket. Of each entry only the user, the home and the fact that it came
// are used; users go into sketches (HyperLogLog, within about 1 %) by a hash with
// a key that is drawn at start and kept nowhere. No user id is kept, and neither
// ids nor sketches leave the agent: counts do.
//
// Memory is bounded: 16 KiB a home, and at most maxHomes homes. A Counter may be
// used by many goroutines.
package coverage

import (
	"errors"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"github.com/axiomhq/hyperloglog"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
)

const (
	// userHeader and homeHeader are set by Envoy from a verified token.
	userHeader = "x-domicile-user"
	homeHeader = "x-domicile-home"

	// maxHomes bounds the homes that are told apart; a token can claim any.
	maxHomes = 512
	// other stands for the homes beyond maxHomes.
	other = "other"
	// maxHome is the longest home, in bytes: longer ones are no codes.
	maxHome = 16
)

// Seen counts the sampled requests, and about how many users sent them.
type Seen struct {
	Users    uint64 `json:"users"`
	Requests uint64 `json:"requests"`
}

// Report is what an agent has seen since it started.
type Report struct {
	Since time.Time       `json:"since"`
	Homes map[string]Seen `json:"homes"` // by the home that the token names
	// Without are the users whose token names no home. A user who got a home
	// later is counted in both.
	Without Seen `json:"without"`
}

type cell struct {
	users    *hyperloglog.Sketch
	requests uint64
}

func (c *cell) seen() Seen {
	if c.requests == 0 {
		return Seen{}
	}
	return Seen{Users: c.users.Estimate(), Requests: c.requests}
}

// Counter counts. Use New.
type Counter struct {
	alsv3.UnimplementedAccessLogServiceServer

	since time.Time
	seed  maphash.Seed

	mu    sync.Mutex
	cells map[string]*cell // by home; "" is none
}

// New returns a Counter that has seen nothing.
func New(now time.Time) *Counter {
	return &Counter{since: now.UTC(), seed: maphash.MakeSeed(), cells: map[string]*cell{}}
}

// Register offers the counter to Envoy's access loggers.
func (c *Counter) Register(s *grpc.Server) { alsv3.RegisterAccessLogServiceServer(s, c) }

// StreamAccessLogs takes entries until Envoy ends the stream.
func (c *Counter) StreamAccessLogs(stream alsv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			c.entry(e)
		}
	}
}

func (c *Counter) entry(e *datav3.HTTPAccessLogEntry) {
	headers := e.GetRequest().GetRequestHeaders()
	if user := headers[userHeader]; user != "" {
		c.Add(user, headers[homeHeader])
	}
}

// Add counts one request of a user. An empty home is none.
func (c *Counter) Add(user, home string) {
	hash := maphash.String(c.seed, user)
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.cells[home]
	if at == nil {
		if home != "" && (len(c.cells) > maxHomes || len(home) > maxHome) {
			home = other
		}
		if at = c.cells[home]; at == nil {
			at = &cell{users: hyperloglog.New14()}
			c.cells[home] = at
		}
	}
	at.requests++
	at.users.InsertHash(hash)
}

// Report returns what was seen so far.
func (c *Counter) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Report{Since: c.since, Homes: map[string]Seen{}}
	for home, at := range c.cells {
		if home == "" {
			out.Without = at.seen()
			continue
		}
		out.Homes[home] = at.seen()
	}
	return out
}

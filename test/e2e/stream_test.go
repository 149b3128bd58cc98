package e2e_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// watch opens a gRPC stream that the backend keeps open; ended tells when it
// has ended.
func (l *lab) watch(t testing.TB, url, home string) (ended *atomic.Bool) {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+l.token(t, "stream-"+home, home))
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatalf("open a stream of %s: %v", home, err)
	}
	ended = &atomic.Bool{}
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended.Store(true)
				return
			}
		}
	}()
	return ended
}

// T36, by gRPC: exactly the streams of a home that lost its permission end.
func TestT36_ExactlyTheRevokedGRPCStreamsEnd(t *testing.T) {
	l := own(t)
	var revoked, others []*atomic.Bool
	for _, url := range l.doors() {
		revoked = append(revoked, l.watch(t, url, "TR"))
		others = append(others, l.watch(t, url, "SA"), l.watch(t, url, "DE"))
	}
	l.apply(t, forbidMessages(t))
	eventually(t, 3*time.Second, func() error {
		for _, ended := range revoked {
			if !ended.Load() {
				return fmt.Errorf("a stream of TR goes on")
			}
		}
		return nil
	})
	for _, ended := range others {
		if ended.Load() {
			t.Error("a stream of another home has ended")
		}
	}
}

// T29, T36: an Envoy that sleeps through a tightening holds up nobody else, and
// catches up as soon as it wakes.
func TestT36_AnEnvoyThatSleptCatchesUp(t *testing.T) {
	l := own(t)
	asleep := l.ready.Regions["eu-frankfurt"]
	there, elsewhere := l.open(t, asleep.Gateway, "TR", 5), l.open(t, l.ready.Regions["me-riyadh"].Gateway, "TR", 5)
	kill(t, asleep.PIDs.Envoy, syscall.SIGSTOP)
	woken := false
	defer func() {
		if !woken {
			kill(t, asleep.PIDs.Envoy, syscall.SIGCONT)
		}
	}()
	if out, errs, code := run(t, "apply", forbidMessages(t), "--dir", l.dir); code != 0 {
		t.Fatalf("apply: exit %d\n%s%s", code, out, errs)
	}
	closed := func(list []*socket) func() error {
		return func() error {
			for _, s := range list {
				if s.closed.Load() == 0 {
					return fmt.Errorf("a socket of TR is open")
				}
			}
			return nil
		}
	}
	eventually(t, 3*time.Second, closed(elsewhere))
	before := l.counted(t)
	kill(t, asleep.PIDs.Envoy, syscall.SIGCONT)
	woken = true
	eventually(t, 3*time.Second, closed(there))
	eventually(t, 5*time.Second, func() error {
		if a := get(t, h1, asleep.Gateway+"/v1/messages", l.token(t, "late", "TR")); a.reason() != "forbidden" {
			return fmt.Errorf("after waking: %s", a)
		}
		return nil
	})
	only(t, l.reached(t, before), "")
}

package xds

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func planFor(t *testing.T, log *slog.Logger, revoke func(string) *Snapshot) *plan {
	t.Helper()
	final, err := prepare(after.final(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return newPlan(&Target{Revoke: revoke}, final, nil, log)
}

// A step that cannot be served is skipped, and the log says so.
func TestUnusableStepIsLogged(t *testing.T) {
	var log bytes.Buffer
	p := planFor(t, slog.New(slog.NewTextHandler(&log, nil)), func(string) *Snapshot {
		s := before.final()
		s.Resources[RouteType][0].Version = ""
		return s
	})
	for range 2 {
		if mid := p.mid("table-x"); mid != nil {
			t.Errorf("got %+v", mid)
		}
	}
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "table-x") {
		t.Errorf("log: %q", got)
	}
}

// A step that takes long is made once, and is waited for by nobody who does not
// need it.
func TestSlowStepHoldsUpNoOther(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var slow atomic.Int64
	p := planFor(t, slog.New(slog.DiscardHandler), func(from string) *Snapshot {
		if from == "slow" {
			slow.Add(1)
			close(started)
			<-release
		}
		return before.final()
	})
	var waiting sync.WaitGroup
	waiting.Go(func() { p.mid("slow") })
	<-started
	waiting.Go(func() { p.mid("slow") })
	quick := make(chan *prepared, 1)
	go func() { quick <- p.mid("quick") }()
	select {
	case mid := <-quick:
		if mid == nil {
			t.Error("the quick step is not known")
		}
	case <-time.After(10 * time.Second):
		t.Error("the quick step waits for the slow one")
	}
	close(release)
	waiting.Wait()
	if n := slow.Load(); n != 1 {
		t.Errorf("the slow step was made %d times", n)
	}
}

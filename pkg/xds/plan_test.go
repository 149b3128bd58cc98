package xds

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var slow atomic.Int64
		p := planFor(t, slog.New(slog.DiscardHandler), func(from string) *Snapshot {
			if from == "slow" {
				slow.Add(1)
				<-release
			}
			return before.final()
		})
		got := make(chan *prepared, 3)
		for range 2 {
			go func() { got <- p.mid("slow") }()
		}
		synctest.Wait()
		go func() { got <- p.mid("quick") }()
		synctest.Wait()
		if len(got) != 1 {
			t.Errorf("%d of the steps came, want the quick one alone", len(got))
		}
		close(release)
		synctest.Wait()
		if len(got) != 3 || slow.Load() != 1 {
			t.Errorf("%d answers, the slow step was made %d times", len(got), slow.Load())
		}
	})
}

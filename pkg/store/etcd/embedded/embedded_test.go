package embedded_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/domicile-dev/domicile/pkg/store/etcd/embedded"
)

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	s, err := embedded.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestDataSurvivesRestart(t *testing.T) {
	cfg := embedded.Config{Dir: filepath.Join(t.TempDir(), "data"), LogPath: filepath.Join(t.TempDir(), "etcd.log")}
	s := start(t, cfg)
	client, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	if _, err := client.Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	// An open watch must not hold up Close.
	changes := client.Watch(ctx, "k", clientv3.WithCreatedNotify())
	<-changes
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("Close took %v", took)
	}
	<-s.Done()
	if err := s.Err(); err != nil {
		t.Errorf("Err after Close: %v", err)
	}
	s.Close()

	cfg.ClientURL = s.Endpoints()[0]
	if again := start(t, cfg); again.Endpoints()[0] != cfg.ClientURL {
		t.Errorf("endpoints %v, want %s", again.Endpoints(), cfg.ClientURL)
	}
	r, err := client.Get(ctx, "k")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" {
		t.Errorf("after restart: %v, %v", r, err)
	}
	if log, err := os.ReadFile(cfg.LogPath); err != nil || len(log) == 0 {
		t.Errorf("log: %d bytes, %v", len(log), err)
	}
}

func TestStartReports(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	inUse := (&url.URL{Scheme: "http", Host: taken.Addr().String()}).String()
	for name, cfg := range map[string]embedded.Config{
		"no directory":   {},
		"port taken":     {Dir: t.TempDir(), ClientURL: inUse},
		"peer taken":     {Dir: t.TempDir(), PeerURL: inUse},
		"bad URL":        {Dir: t.TempDir(), ClientURL: "http://127.0.0.1:port"},
		"file, not path": {Dir: os.Args[0]},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			if s, err := embedded.Start(ctx, cfg); err == nil {
				s.Close()
				t.Error("started")
			}
		})
	}
}

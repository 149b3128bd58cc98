package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/domicile-dev/domicile/pkg/agent"
	"github.com/domicile-dev/domicile/pkg/demo/backend"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/static"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// The test binary plays the processes of a demo: by the name under which it is
// called when a demo starts it, and by its first argument otherwise.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	switch filepath.Base(os.Args[0]) {
	case "domicile":
		fake(fakeDomicile(ctx))
	case "domicile-control":
		fake(fakeControl(ctx))
	case "domicile-agent":
		fake(fakeAgent(ctx))
	case "envoy":
		fake(fakeEnvoy(ctx))
	}
	if len(os.Args) > 1 && os.Args[1] == "whole-demo" {
		fake(Run(ctx, Options{
			Dir: os.Args[2], ReadyFile: os.Args[3], Out: os.Stdout, Err: os.Stderr,
			Binaries: os.Args[4], Envoy: filepath.Join(os.Args[4], "envoy"),
		}))
	}
	stop()
	os.Exit(m.Run())
}

func fake(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// flagOf returns the value of a flag of this process.
func flagOf(name string) string {
	for i, a := range os.Args {
		if a == "--"+name || a == "-"+name {
			return os.Args[i+1]
		}
	}
	return ""
}

func serve(ctx context.Context, addr string, h http.Handler) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func fakeDomicile(ctx context.Context) error {
	if os.Args[1] == "demo-backend" {
		key, err := identity.ReadHashKey(flagOf("key"))
		if err != nil {
			return err
		}
		return backend.Run(ctx, backend.Config{
			Region: flagOf("region"), Listen: flagOf("listen"), Agent: flagOf("agent"), Egress: flagOf("egress"), Key: key, Log: slog.Default(),
		})
	}
	return serve(ctx, strings.TrimPrefix(flagOf("client"), "http://"), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// fakeControl takes a policy once and then says that every proxy runs it.
func fakeControl(ctx context.Context) error {
	data, err := os.ReadFile(flagOf("overlay"))
	if err != nil {
		return err
	}
	o, err := topology.ParseOverlay(data)
	if err != nil {
		return err
	}
	if _, err := identity.LoadPEM(flagOf("cert"), flagOf("key"), flagOf("ca")); err != nil {
		return err
	}
	applied := make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/apply", func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); len(body) == 0 || r.Header.Get("Content-Type") != "application/octet-stream" {
			w.WriteHeader(400)
			return
		}
		applied <- struct{}{}
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		proxies := []map[string]string{}
		if len(applied) > 0 {
			for region := range o.Regions {
				for _, id := range []identity.ID{gatewayID(region), sidecarID(region)} {
					proxies = append(proxies, map[string]string{"id": id.String(), "state": "synced"})
				}
			}
		}
		json.NewEncoder(w).Encode(map[string]any{"proxies": proxies})
	})
	return serve(ctx, flagOf("admin"), mux)
}

func fakeAgent(ctx context.Context) error {
	id, err := identity.ParseID(flagOf("id"))
	if err != nil {
		return err
	}
	return agent.Run(ctx, agent.Config{
		ID: id, Socket: flagOf("socket"), Listen: flagOf("listen"), Directory: func() directory.Directory { return static.Open(flagOf("directory")) }, Log: slog.Default(),
	})
}

// fakeEnvoy listens where the overlay says, and nothing else.
func fakeEnvoy(ctx context.Context) error {
	file := flagOf("c")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var boot struct {
		Node  struct{ ID string }
		Admin struct {
			Address struct {
				SocketAddress struct {
					Address   string
					PortValue int `json:"port_value"`
				} `json:"socket_address"`
			}
		}
	}
	if err := json.Unmarshal(data, &boot); err != nil {
		return err
	}
	id, err := identity.ParseID(boot.Node.ID)
	if err != nil {
		return err
	}
	data, err = os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(file)), fileOverlay))
	if err != nil {
		return err
	}
	o, err := topology.ParseOverlay(data)
	if err != nil {
		return err
	}
	l := o.Regions[id.Region].Listen
	listen := []string{l.Plain, l.TLS, l.Peer, l.Egress}
	if id.Role == identity.RoleSidecar {
		listen = []string{l.Sidecar}
	}
	for _, addr := range listen {
		if _, err := net.Listen("tcp", addr); err != nil {
			return err
		}
	}
	admin := boot.Admin.Address.SocketAddress
	return serve(ctx, fmt.Sprintf("%s:%d", admin.Address, admin.PortValue), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// gone waits until a process has ended; one that nobody has reaped yet counts.
func gone(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if !poll(ctx, func() bool { return !running(pid) }) {
		t.Errorf("process %d is still there", pid)
	}
}

func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	return ok && !strings.HasPrefix(rest, "Z")
}

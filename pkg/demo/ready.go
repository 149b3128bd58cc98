package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Ready is what a running demo consists of; the ready file and demo.json in the
// demo's directory hold it as JSON. Its fields are a contract.
type Ready struct {
	Control ReadyControl           `json:"control"`
	Etcd    []string               `json:"etcd"`    // client URLs
	Console *string                `json:"console"` // URL; null while there is no console
	Regions map[string]ReadyRegion `json:"regions"`
	// Today holds the stand-ins, by service, for the backends before Domicile; absent
	// where the deployment has no today:.
	Today map[string]ReadyBackend `json:"today,omitempty"`
	PIDs  struct {
		Control int `json:"control"`
		Etcd    int `json:"etcd"`
	} `json:"pids"`
	// CAFile is the certificate of the authority that signed the gateways' TLS.
	CAFile string `json:"caFile"`
}

// ReadyControl is the control plane.
type ReadyControl struct {
	Admin string `json:"admin"` // URL
	XDS   string `json:"xds"`   // host:port, mTLS
	API   string `json:"api"`   // host:port, mTLS
}

// ReadyRegion is one region.
type ReadyRegion struct {
	Gateway    string                  `json:"gateway"`    // URL
	GatewayTLS string                  `json:"gatewayTLS"` // host:port
	Sidecar    string                  `json:"sidecar"`    // URL
	EnvoyAdmin string                  `json:"envoyAdmin"` // URL, of the gateway
	Agent      string                  `json:"agent"`      // URL
	AgentPeer  string                  `json:"agentPeer"`  // host:port, mTLS: where users are moved
	Backends   map[string]ReadyBackend `json:"backends"`   // by service
	// Streams are where the gateway takes services over TCP: host:port by the stream's
	// name; absent where the deployment has none.
	Streams map[string]string `json:"streams,omitempty"`
	PIDs    struct {
		Envoy int `json:"envoy"` // the gateway
		Agent int `json:"agent"`
	} `json:"pids"`
}

// ReadyBackend is one sample backend, or the first of the backends that run
// elsewhere: those have no process id, 0.
type ReadyBackend struct {
	Address string `json:"address"` // host:port
	PID     int    `json:"pid"`
}

// Load reads what runs in a demo's directory.
func Load(dir string) (*Ready, error) {
	data, err := os.ReadFile(filepath.Join(dir, fileReady))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &exitError{exitUsage, fmt.Errorf("no demo is ready in %s: start one with domicile demo --dir %s", dir, dir)}
	}
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("read demo: %w", err)}
	}
	var r Ready
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, &exitError{exitFindings, fmt.Errorf("read demo %s: %w", dir, err)}
	}
	return &r, nil
}

// The exit codes of the command line that a demo has use for. Package exit of the
// command line holds them all; a service does not import it.
const (
	exitFindings    = 1 // something is wrong with what was given, or with a process
	exitUsage       = 2 // a wrong command line, or a path that cannot be opened
	exitUnreachable = 4
)

// exitError is an error with the exit code that the contract gives it.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// ExitCode is the exit code of a command that ends with e.
func (e *exitError) ExitCode() int { return e.code }

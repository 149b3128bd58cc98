package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The Envoy that Domicile is built and tested against.
const (
	envoyVersion = "1.40.0"
	envoyMinor   = "1.40."
)

var envoyVersionLine = regexp.MustCompile(`version: [0-9a-f]+/([0-9]+\.[0-9]+\.[0-9]+)[^/]*/`)

// FindEnvoy returns the path of an Envoy: $ENVOY_BIN; else `envoy` on PATH at a
// supported version; else the one that `make build` has fetched into .cache/ of
// the repository whose bin/ is binaries.
func FindEnvoy(ctx context.Context, binaries string) (string, error) {
	if path := os.Getenv("ENVOY_BIN"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", &exitError{exitUsage, fmt.Errorf("find envoy: ENVOY_BIN: %w", err)}
		}
		return filepath.Abs(path)
	}
	found := ""
	if path, err := exec.LookPath("envoy"); err == nil {
		v, err := versionOf(ctx, path)
		if err == nil && strings.HasPrefix(v, envoyMinor) {
			return filepath.Abs(path)
		}
		found = fmt.Sprintf(" (the one on PATH, %s, is version %q)", path, v)
	}
	cached := filepath.Join(filepath.Dir(binaries), ".cache", "envoy", envoyVersion, "envoy")
	if _, err := exec.LookPath(cached); err == nil {
		return cached, nil
	}
	return "", &exitError{exitUsage, fmt.Errorf("find envoy: no Envoy %sx%s: run `make build`, which fetches it to %s, or set ENVOY_BIN", envoyMinor, found, cached)}
}

func versionOf(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", err
	}
	m := envoyVersionLine.FindSubmatch(out)
	if m == nil {
		return "", errors.New("no version")
	}
	return string(m[1]), nil
}

// programs are the paths of what the demo starts.
type programs struct{ self, control, agent, envoy string }

// findPrograms looks beside the running program, or in a given directory.
func findPrograms(ctx context.Context, dir, envoy string) (programs, error) {
	if dir == "" {
		exe, err := os.Executable()
		if err == nil {
			exe, err = filepath.EvalSymlinks(exe)
		}
		if err != nil {
			return programs{}, fmt.Errorf("find programs: %w", err)
		}
		dir = filepath.Dir(exe)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return programs{}, fmt.Errorf("find programs: %w", err)
	}
	p := programs{envoy: envoy}
	for name, to := range map[string]*string{"domicile": &p.self, "domicile-control": &p.control, "domicile-agent": &p.agent} {
		*to = filepath.Join(dir, name)
		if _, err := exec.LookPath(*to); err != nil {
			return programs{}, &exitError{exitUsage, fmt.Errorf("find programs: %s is not in %s: run `make build`", name, dir)}
		}
	}
	if p.envoy == "" {
		if p.envoy, err = FindEnvoy(ctx, dir); err != nil {
			return programs{}, err
		}
	}
	return p, nil
}

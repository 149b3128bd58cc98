package arch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// TestRepository applies every rule to the files of this repository: those that
// git tracks, and new ones that it does not ignore.
func TestRepository(t *testing.T) {
	r := repository(t)
	if len(r.files) < 10 {
		t.Fatalf("only %d Go files found: the rules would prove nothing", len(r.files))
	}
	for name, check := range rules {
		t.Run(name, func(t *testing.T) {
			for _, f := range check(r) {
				t.Error(f)
			}
		})
	}
}

func repository(t *testing.T) *repo {
	t.Helper()
	root := filepath.Join("..", "..")
	// Whoever owns the checkout, reading its list of files is harmless.
	cmd := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the repository's files: %v", err)
	}
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil { // else deleted, not yet committed
			names = append(names, name)
		}
	}
	r, err := load(os.DirFS(root), names)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRulesCanFail plants one violation at a time and expects the rule to name it.
func TestRulesCanFail(t *testing.T) {
	const doc = "// Package p is planted.\n"
	long := strings.Repeat("\t_ = 1\n", maxFunction)
	cases := []struct {
		rule, path, src string
		want            string // in the finding; "" when there must be none
	}{
		{"top level", "docs/design.md", "", "top level entry docs"},
		{"top level", ".github/SECURITY.md", "", ""},
		{"core imports", "pkg/residency/a.go", `package residency; import "os"`, "reads no environment"},
		{"core imports", "pkg/policy/internal/yamlpos/a.go", `package yamlpos; import "log/slog"`, "reports by its results"},
		{"core imports", "pkg/policy/a.go", `package policy; import "` + module + `/pkg/control"`, "core imports core only"},
		{"core imports", "pkg/policy/a.go", `package policy; import "` + module + `/pkg/policyother"`, "core imports core only"},
		{"core imports", "pkg/compile/a.go", `package compile; import "github.com/agext/levenshtein"`, "standard library and core only"},
		{"core imports", "pkg/compile/a.go", `package compile; import "` + module + `/pkg/residency"`, ""},
		{"core imports", "pkg/envoy/a.go", `package envoy; import "google.golang.org/protobuf/proto"`, ""},
		{"core imports", "pkg/residency/a_test.go", `package residency; import "os"`, ""},
		{"core imports", "pkg/control/a.go", `package control; import "os"`, ""},
		{"core bodies", "pkg/leakcheck/a.go", "package leakcheck\nfunc f() { go f() }", "go statement"},
		{"core bodies", "pkg/bundle/a.go", "package bundle\nimport \"time\"\nvar t = time.Now()", "a.go:3: time.Now"},
		{"core bodies", "pkg/bundle/a.go", "package bundle\nimport clock \"time\"\nvar t = clock.Now", "time.Now"},
		{"core bodies", "pkg/bundle/a.go", "package bundle\nimport \"time\"\nvar t = time.Unix(0, 0)", ""},
		{"core bodies", "pkg/leakcheck/a.go", "package leakcheck\nimport \"net\"\nvar f = net.Dial", "has no network"},
		{"core bodies", "pkg/leakcheck/a.go", "package leakcheck\nimport \"net\"\nvar f = net.SplitHostPort", ""},
		{"core bodies", "pkg/xds/a.go", "package xds\nfunc f() { go f() }", ""},
		{"homes of dependencies", "pkg/policy/a.go", `package policy; import "github.com/goccy/go-yaml/ast"`, "one strict reader"},
		{"homes of dependencies", "pkg/policy/internal/yamlpos/a.go", `package yamlpos; import "github.com/goccy/go-yaml/ast"`, ""},
		{"homes of dependencies", "pkg/control/a.go", `package control; import "go.etcd.io/etcd/client/v3"`, "hides etcd"},
		{"homes of dependencies", "pkg/store/etcd/a.go", `package etcd; import "go.etcd.io/etcd/server/v3/embed"`, "heavy"},
		{"homes of dependencies", "pkg/store/etcd/a_test.go", `package etcd; import "go.etcd.io/etcd/server/v3/embed"`, ""},
		{"homes of dependencies", "pkg/anything/a.go", `package anything; import "sigs.k8s.io/yaml"`, "Norway"},
		{"apart", "pkg/leakcheck/a.go", `package leakcheck; import "` + module + `/pkg/envoy"`, "repeats its mistakes"},
		{"apart", "pkg/envoy/a.go", `package envoy; import "` + module + `/pkg/leakcheck"`, "repeats its mistakes"},
		{"apart", "pkg/leakcheck/a_test.go", `package leakcheck; import "` + module + `/pkg/envoy"`, ""},
		{"ports", "pkg/control/a.go", `package control; import "` + module + `/pkg/store/etcd"`, "who wires chooses"},
		{"ports", "pkg/control/a.go", `package control; import "` + module + `/pkg/store"`, ""},
		{"ports", "cmd/domicile-control/main.go", `package main; import "` + module + `/pkg/store/etcd"`, ""},
		{"commands", "cmd/domicile/main.go", "package main\n" + strings.Repeat("\n", maxCommand), "wiring only"},
		{"commands", "pkg/control/a.go", `package control; import "` + module + `/pkg/cli"`, "command line"},
		{"names", "pkg/utils/a.go", "package utils", "package utils"},
		{"names", "pkg/x/types/a_test.go", "package types_test", "package types"},
		{"sizes", "pkg/x/a.go", "package x\n" + strings.Repeat("\n", maxFile), "601 lines, limit 600"},
		{"sizes", "pkg/x/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage x\n" + strings.Repeat("\n", maxFile), ""},
		{"sizes", "pkg/x/a.go", "package x\nfunc f() {\n" + long + "}\n", "function f has 82 lines"},
		{"sizes", "pkg/x/a.go", "package x\nfunc init() {}\n", "func init"},
		{"package comments", "pkg/x/a.go", "package x\n", "package x has no comment"},
		{"package comments", "pkg/x/a.go", doc + "package x\n", ""},
	}
	seen := map[string]bool{}
	for _, c := range cases {
		r := plant(t, map[string]string{c.path: c.src})
		got := strings.Join(rules[c.rule](r), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s on %s:\n%s\ngave %q, want %q", c.rule, c.path, c.src, got, c.want)
		}
		seen[c.rule] = seen[c.rule] || c.want != ""
	}
	for name := range rules {
		if !seen[name] {
			t.Errorf("rule %q has no case that it must refuse", name)
		}
	}
}

// TestPackageSize needs several files: each is within its limit, together they are not.
func TestPackageSize(t *testing.T) {
	files := map[string]string{}
	for i := range 4 {
		files[fmt.Sprintf("pkg/x/f%d.go", i)] = "package x\n" + strings.Repeat("\n", 500)
	}
	got := strings.Join(checkSizes(plant(t, files)), "\n")
	if !strings.Contains(got, "package of 2004 lines, limit 2000") {
		t.Errorf("four files of 501 lines gave %q", got)
	}
}

func plant(t *testing.T, files map[string]string) *repo {
	t.Helper()
	fsys, names := fstest.MapFS{}, []string{}
	for name, src := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(src)}
		names = append(names, name)
	}
	r, err := load(fsys, names)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// core lists the pure packages, with what lies below them.
var core = []string{
	"pkg/residency", "pkg/topology", "pkg/policy", "pkg/policytest", "pkg/compile",
	"pkg/envoy", "pkg/leakcheck", "pkg/bundle", "pkg/lang", "pkg/plan",
}

// bare lists the core packages that import nothing but the standard library and core.
var bare = []string{"pkg/residency", "pkg/topology", "pkg/compile"}

// impure maps what core may not import to the reason. A key covers the exact path.
var impure = map[string]string{
	"os":            "core reads no environment and no files: files come as an fs.FS",
	"os/exec":       "core starts no processes",
	"os/signal":     "core has no life of its own",
	"syscall":       "core knows no operating system",
	"net/http":      "core has no network",
	"log":           "core reports by its results",
	"log/slog":      "core reports by its results",
	"context":       "core neither waits nor is cancelled",
	"sync":          "core values are immutable; what needs a lock is not core",
	"sync/atomic":   "core values are immutable; what needs a lock is not core",
	"math/rand":     "core is deterministic",
	"math/rand/v2":  "core is deterministic",
	"crypto/rand":   "core is deterministic",
	"path/filepath": "core paths are slash paths on every platform",
	"unsafe":        "core is memory-safe",
	"C":             "core is memory-safe",
}

// clock lists the functions of package time that read the clock or wait.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// pureNet lists what core may use of package net: it takes addresses apart.
var pureNet = []string{"SplitHostPort", "JoinHostPort", "ParseIP", "ParseCIDR", "IP", "IPNet", "IPMask", "CIDRMask"}

// homes says where a dependency may be imported outside tests; a prefix covers
// what lies below it.
var homes = []struct {
	prefix string
	dirs   []string
	reason string
}{
	{"github.com/goccy/go-yaml", []string{"pkg/policy/internal/yamlpos"}, "one strict reader of YAML; the model knows nothing of it"},
	{"go.yaml.in/yaml", []string{"pkg/policy/internal/yamlpos"}, "one strict reader of YAML; the model knows nothing of it"},
	{"sigs.k8s.io/yaml", nil, "it turns an unquoted NO (Norway) into false"},
	{"gopkg.in/yaml", nil, "archived"},
	{"go.etcd.io/etcd/client", []string{"pkg/store/etcd"}, "the store port hides etcd; one package speaks it"},
	{"go.etcd.io/etcd/server", []string{"pkg/store/etcd/embedded"}, "only the demo and tests run a server, and its imports are heavy"},
	{"github.com/go-git/go-git", []string{"pkg/gitsync/gogit"}, "a subpackage named after a technology is the only importer of its library"},
	{"github.com/owenrumney/go-sarif", []string{"pkg/cli/sarif"}, "a subpackage named after a technology is the only importer of its library"},
	{"github.com/lestrrat-go/jwx", []string{"pkg/token", "pkg/pin", "pkg/demo", "test"}, "one strict reader of tokens and key sets; what is accepted is decided in one place"},
	{"github.com/redis/rueidis", []string{"pkg/directory/redis"}, "a subpackage named after a technology is the only importer of its library"},
	{"github.com/oschwald/", []string{"pkg/geoip/maxmind"}, "a subpackage named after a technology is the only importer of its library"},
	{"github.com/spf13/cobra", []string{"cmd", "pkg/cli", "pkg/demo"}, "services do not know that a command line exists"},
}

// ports have implementations in subpackages; wiring lists who may choose one.
var (
	ports  = []string{"pkg/directory", "pkg/geoip", "pkg/store", "pkg/kms", "pkg/audit", "pkg/profile", "pkg/identity", "pkg/telemetry"}
	wiring = []string{"cmd", "pkg/cli", "pkg/demo", "test"}
)

// apart lists pairs of packages that must share no code.
var apart = []struct{ a, b, reason string }{
	{"pkg/envoy", "pkg/leakcheck", "a proof that shares code with what it proves repeats its mistakes"},
}

var topLevel = []string{
	"cmd", "pkg", "policies", "charts", "test", "go.mod", "go.sum", "Makefile",
	"README.md", "README.zh-CN.md", "LICENSE",
}

var vague = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "misc", "shared", "base"}

const (
	maxFunction = 80
	maxFile     = 600
	maxPackage  = 2000
	maxCommand  = 150
)

// rules are all checks, by name.
var rules = map[string]func(*repo) []string{
	"top level":             checkTopLevel,
	"core imports":          checkCoreImports,
	"core bodies":           checkCoreBodies,
	"homes of dependencies": checkHomes,
	"apart":                 checkApart,
	"ports":                 checkPorts,
	"commands":              checkCommands,
	"names":                 checkNames,
	"sizes":                 checkSizes,
	"package comments":      checkComments,
}

func checkTopLevel(r *repo) []string {
	var out []string
	for _, name := range r.names {
		top, _, _ := strings.Cut(name, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(topLevel, top) {
			out = append(out, finding(name, 0, "top level entry "+top, "the top level is a fixed list; reference text lives in package comments"))
		}
	}
	return out
}

func checkCoreImports(r *repo) []string {
	var out []string
	for _, f := range r.files {
		if f.test || !f.inAny(core) {
			continue
		}
		for _, i := range f.imports {
			dir, ours := local(i.path)
			reason, banned := impure[i.path]
			switch {
			case banned:
			case ours && !slices.ContainsFunc(core, func(c string) bool { return within(dir, c) }):
				reason = "core imports core only"
			case !ours && !standard(i.path) && f.inAny(bare):
				reason = "this package imports the standard library and core only"
			default:
				continue
			}
			out = append(out, finding(f.path, i.line, "imports "+i.path, reason))
		}
	}
	return out
}

func checkCoreBodies(r *repo) []string {
	var out []string
	for _, f := range r.files {
		if f.test || !f.inAny(core) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				out = append(out, finding(f.path, r.line(n), "go statement", "core starts no goroutine"))
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				switch {
				case ok && x.Name == f.nameOf("time") && slices.Contains(clock, n.Sel.Name):
					out = append(out, finding(f.path, r.line(n), "time."+n.Sel.Name, "core knows no clock: the instant is an argument"))
				case ok && x.Name == f.nameOf("net") && !slices.Contains(pureNet, n.Sel.Name):
					out = append(out, finding(f.path, r.line(n), "net."+n.Sel.Name, "core has no network"))
				}
			}
			return true
		})
	}
	return out
}

// nameOf returns the name under which a file imports a package, "" if it does not.
func (f *file) nameOf(pkg string) string {
	for _, s := range f.ast.Imports {
		if s.Path.Value != `"`+pkg+`"` {
			continue
		}
		if s.Name != nil {
			return s.Name.Name
		}
		return path.Base(pkg)
	}
	return ""
}

func checkHomes(r *repo) []string {
	var out []string
	for _, f := range r.files {
		for _, i := range f.imports {
			for _, h := range homes {
				if !f.test && strings.HasPrefix(i.path, h.prefix) && !f.inAny(h.dirs) {
					out = append(out, finding(f.path, i.line, "imports "+i.path, h.reason))
				}
			}
		}
	}
	return out
}

func checkApart(r *repo) []string {
	var out []string
	for _, f := range r.files {
		for _, i := range f.imports {
			dir, _ := local(i.path)
			for _, p := range apart {
				if !f.test && (f.in(p.a) && within(dir, p.b) || f.in(p.b) && within(dir, p.a)) {
					out = append(out, finding(f.path, i.line, "imports "+dir, p.reason))
				}
			}
		}
	}
	return out
}

func checkPorts(r *repo) []string {
	var out []string
	for _, f := range r.files {
		for _, i := range f.imports {
			dir, _ := local(i.path)
			for _, p := range ports {
				if !f.test && within(dir, p) && dir != p && !f.in(p) && !f.inAny(wiring) {
					out = append(out, finding(f.path, i.line, "imports "+dir, "services know the port; who wires chooses the implementation"))
				}
			}
		}
	}
	return out
}

func checkCommands(r *repo) []string {
	var out []string
	for _, f := range r.files {
		if f.in("cmd") && !f.test && f.lines > maxCommand {
			out = append(out, finding(f.path, 0, fmt.Sprintf("%d lines, limit %d", f.lines, maxCommand), "cmd is wiring only"))
		}
		for _, i := range f.imports {
			if dir, _ := local(i.path); within(dir, "pkg/cli") && !f.in("pkg/cli") && !f.inAny(wiring) {
				out = append(out, finding(f.path, i.line, "imports "+dir, "services do not know that a command line exists"))
			}
		}
	}
	return out
}

func checkNames(r *repo) []string {
	var out []string
	for _, f := range r.files {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if slices.Contains(vague, name) {
			out = append(out, finding(f.path, 0, "package "+name, "a name that says what is in it is missing"))
		}
	}
	return out
}

func checkSizes(r *repo) []string {
	var out []string
	const reason = "a concept is missing a name"
	packages := map[string]int{}
	for _, f := range r.files {
		if f.generated {
			continue
		}
		if f.lines > maxFile {
			out = append(out, finding(f.path, 0, fmt.Sprintf("%d lines, limit %d", f.lines, maxFile), reason))
		}
		if f.test {
			continue
		}
		packages[f.dir] += f.lines
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := r.fset.Position(fn.End()).Line - r.line(fn) + 1; n > maxFunction {
				out = append(out, finding(f.path, r.line(fn), fmt.Sprintf("function %s has %d lines, limit %d", fn.Name.Name, n, maxFunction), reason))
			}
			if fn.Name.Name == "init" && fn.Recv == nil {
				out = append(out, finding(f.path, r.line(fn), "func init", "work in init cannot be tested, ordered or refused"))
			}
		}
	}
	for dir, n := range packages {
		if n > maxPackage {
			out = append(out, finding(dir, 0, fmt.Sprintf("package of %d lines, limit %d", n, maxPackage), reason))
		}
	}
	slices.Sort(out)
	return out
}

func checkComments(r *repo) []string {
	var out []string
	commented, first := map[string]bool{}, map[string]*file{}
	for _, f := range r.files {
		if strings.HasSuffix(f.ast.Name.Name, "_test") {
			continue
		}
		if first[f.dir] == nil {
			first[f.dir] = f
		}
		commented[f.dir] = commented[f.dir] || f.ast.Doc != nil
	}
	for dir, f := range first {
		if !commented[dir] {
			out = append(out, finding(f.path, 0, "package "+f.ast.Name.Name+" has no comment", "it says what the package is for and what it guarantees"))
		}
	}
	slices.Sort(out)
	return out
}

// line is where a node begins.
func (r *repo) line(n ast.Node) int {
	return r.fset.Position(n.Pos()).Line
}

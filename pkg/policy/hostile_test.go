package policy

import (
	"bytes"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
)

// hostileFile is one hostile input: a file of the directory, and the first problem
// that must be reported of it.
type hostileFile struct {
	name, file, src string
	code            string
	line, column    int
}

// jurisdictionOf is a jurisdiction file whose home is written so.
func jurisdictionOf(home string) string {
	return "apiVersion: domicile.dev/v1\nkind: Jurisdiction\nmetadata: {name: " + home + "}\nspec:\n  law: [\"SA\"]\n  classes: {message: {serve: [me-riyadh], entry: [me-riyadh]}}\n"
}

func laughs() string {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%[1]c [%s]\n", c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	return bomb
}

func hostileFiles() []hostileFile {
	const j = "jurisdictions/x.yaml"
	head := "apiVersion: domicile.dev/v1\nkind: Jurisdiction\n"
	out := []hostileFile{
		{"billion laughs", j, laughs(), codes.Feature, 1, 4},
		{"as many anchors as fit", j, strings.Repeat("a: &a x\n", MaxFileSize/8), codes.Feature, 1, 4},
		{"a million anchors", j, strings.Repeat("a: &a x\n", 1_000_000), codes.TooLarge, 1, 1},
		{"lists 100,000 deep", j, strings.Repeat("[", 100_000), codes.TooDeep, 1, 33},
		{"maps 100,000 deep", j, strings.Repeat("{a: ", 100_000), codes.TooDeep, 1, 129},
		{"dashes 100,000 deep", j, strings.Repeat("- ", 100_000) + "a", codes.TooDeep, 1, 65},
		{"indentation 1,000 deep", j, steps(1000), codes.TooDeep, 33, 34},
		{"100 MB", j, strings.Repeat("# filler\n", 100_000_000/9), codes.TooLarge, 1, 1},
		{"100 MB in one line", j, strings.Repeat("x", 100_000_000), codes.TooLarge, 1, 1},
		{"100 MB of keys", "jwks.json", strings.Repeat(" ", 100_000_000), codes.TooLarge, 25, 55},
		{"keys 100,000 deep", "jwks.json", `{"keys": ` + strings.Repeat("[", 100_000), codes.BadKeys, 25, 55},
		{"keys as a JSON bomb of numbers", "jwks.json", `{"keys": [` + strings.Repeat("1e999,", 100_000) + `1]}`, codes.BadKeys, 25, 55},
		{"NUL", j, head + "metadata: {name: \"S\x00A\"}\n", codes.Encoding, 3, 20},
		{"a byte order mark", j, "\ufeff" + head, codes.Encoding, 1, 1},
		{"UTF-16", j, "\xff\xfea\x00:\x00", codes.Encoding, 1, 1},
		{"a bare carriage return", j, head + "a: b\rc: d\n", codes.Encoding, 3, 5},
		{"a tab", j, head + "\tmetadata: {}\n", codes.Tab, 3, 1},
		{"two documents", j, jurisdictionOf(`"TR"`) + "---\n" + jurisdictionOf(`"DE"`), codes.Documents, 7, 1},
		{"a merge key", j, head + "<<: {metadata: {name: \"TR\"}}\n", codes.Feature, 3, 1},
		{"a key twice", j, jurisdictionOf(`"TR", name: "DE"`), codes.DuplicateKey, 3, 24},
		{"a tag", j, head + "metadata: !!binary aGk=\n", codes.Feature, 3, 11},
		{"octal", "law/x.yaml", "apiVersion: domicile.dev/v1\nkind: Law\nmetadata: {name: \"TR\"}\nspec: {title: x, localisation: {duty: none}, reviewBy: 2027-01-01, breach: {authorityHours: 0o110}}\n", codes.Number, 4, 93},
		{"octal of old", "law/x.yaml", "apiVersion: domicile.dev/v1\nkind: Law\nmetadata: {name: \"TR\"}\nspec: {title: x, localisation: {duty: none}, reviewBy: 2027-01-01, breach: {authorityHours: 0110}}\n", codes.Number, 4, 93},
		{"a duration in sexagesimals", j, jurisdictionOf(`"TR"`) + "  review: {every: 1:30:00, last: 2026-11-24}\n", codes.Duration, 7, 19},
	}
	for home, code := range map[string]string{
		`NO`: codes.BoolLike, `no`: codes.BoolLike, `"no"`: codes.Code, `"UK"`: codes.Code, `"EU"`: codes.Code, `"XK"`: codes.Code, `"AN"`: codes.Code, `"SU"`: codes.Code,
		`"DD"`: codes.Code, `"sa"`: codes.Code, `"SAU"`: codes.Code, `"682"`: codes.Code, `682`: codes.Code, `"ЅА"`: codes.Code, `"ＳＡ"`: codes.Code, `"S\u200BA"`: codes.Code,
		`"S\u202EA"`: codes.Code, "\"\u200FSA\"": codes.Code, `"Saudi Arabia"`: codes.Code, `"Türkiye"`: codes.Code, `"沙特阿拉伯"`: codes.Code, `"EEA"`: codes.Code, `"SA "`: codes.Code,
		`"*"`: codes.Code, `""`: codes.Empty, `["SA"]`: codes.Shape, `{SA: SA}`: codes.Shape, `~`: codes.NoValue, `"ZZ"`: codes.Code, `"US-XXXXXXXXX"`: codes.Code, `"../SA"`: codes.Code,
	} {
		column := 18
		if code == codes.NoValue {
			column = 12 // of the key
		}
		out = append(out, hostileFile{"home " + home, j, jurisdictionOf(home), code, 3, column})
	}
	return out
}

// steps nests maps n levels deep by indentation.
func steps(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
	}
	return b.String()
}

// TestT24HostileSet: each hostile input gets a code and a place, in bounded time
// and memory. That nothing of a set with an error is applied, release tests.
func TestT24HostileSet(t *testing.T) {
	const (
		mostTime   = 20 * time.Second // a slow machine under the race detector
		mostMemory = 600 << 20        // allocated in all, not at once
	)
	for _, h := range hostileFiles() {
		t.Run(h.name, func(t *testing.T) {
			fsys := valid(t)
			fsys[h.file] = &fstest.MapFile{Data: []byte(h.src)}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, problems := Parse(fsys, nil)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if memory := after.TotalAlloc - before.TotalAlloc; took > mostTime || memory > mostMemory || len(h.src) > 2*MaxFileSize && memory > 64<<20 {
				t.Errorf("took %v and %d MB for %d bytes", took, memory>>20, len(h.src))
			}
			if !HasErrors(problems) || len(problems) > MaxProblems {
				t.Fatalf("%d problems", len(problems))
			}
			p := problems[0]
			for _, q := range problems {
				if q.Code == codes.Internal {
					t.Fatalf("a bug: %s", line(q))
				}
				if q.Severity == Error {
					p = q
					break
				}
			}
			file := h.file
			if file == "jwks.json" {
				file = "deployment.yaml" // where it is named
			}
			if p.Code != h.code || p.File != file || p.Line != h.line || p.Column != h.column || p.Fix.IsZero() || p.Message.Zh == "" || p.Message.Zh == p.Message.En {
				t.Errorf("got %s (%s), want %s at %d:%d", line(p), p.Message.Zh, h.code, h.line, h.column)
			}
		})
	}
}

// TestT24LinesOfWindows are read like others: an editor of Windows is no enemy.
func TestT24LinesOfWindows(t *testing.T) {
	fsys := valid(t)
	for name, f := range fsys {
		fsys[name] = &fstest.MapFile{Data: bytes.ReplaceAll(f.Data, []byte("\n"), []byte("\r\n"))}
	}
	set, problems := Parse(fsys, nil)
	if len(problems) > 0 || len(set.Jurisdictions) != 1 {
		t.Errorf("got:\n%s", listing(problems))
	}
}

// growing is a file system whose files are larger than they say.
type growing struct{ fs.FS }

func (g growing) Open(name string) (fs.File, error) {
	f, err := g.FS.Open(name)
	if err != nil || name != "deployment.yaml" {
		return f, err
	}
	return &endless{File: f}, nil
}

type endless struct {
	fs.File
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	e.read += len(p)
	if e.read > 64<<20 {
		panic("read without bound")
	}
	return len(p), nil
}

// TestT24AFileThatGrows while it is read is no way past the limit.
func TestT24AFileThatGrows(t *testing.T) {
	_, problems := Parse(growing{valid(t)}, nil)
	if p := find(problems, codes.TooLarge); len(p) != 1 || p[0].File != "deployment.yaml" {
		t.Errorf("got:\n%s", listing(problems))
	}
}

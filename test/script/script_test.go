// Package script tests the command line as users type it: each file in testdata
// is a session with its input files, its output and its exit codes.
//
// A session starts in a directory that holds the shipped policies, and in gitlab/
// the script of each job of the GitLab template; $REPO is this repository. Beside the
// usual commands it has
//
//	exits CODE domicile ARGS...
//	crlf FROM TO
//	slip FILE OLD NEW
//	follow DIR LANG
//
// of which the first requires that very exit code, the second copies a file as an
// editor of Windows saves it, and the last two are an author's mistake and an author
// who knows nothing but the messages. UPDATE=1 rewrites the expected outputs.
package script

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/domicile-dev/domicile/pkg/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"domicile": func() { os.Exit(cli.Main()) }})
}

func TestScripts(t *testing.T) {
	shipped, err := filepath.Abs(filepath.Join("..", "..", "policies"))
	if err != nil {
		t.Fatal(err)
	}
	jobs := gitlabScripts(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("REPO", filepath.Dir(shipped))
			if err := os.Mkdir(filepath.Join(e.WorkDir, "gitlab"), 0o755); err != nil {
				return err
			}
			for name, body := range jobs {
				if err := os.WriteFile(filepath.Join(e.WorkDir, "gitlab", name+".sh"), []byte(body), 0o644); err != nil {
					return err
				}
			}
			return os.CopyFS(filepath.Join(e.WorkDir, "policies"), os.DirFS(shipped))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "crlf": crlf, "slip": slip, "follow": follow},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func crlf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: crlf FROM TO")
	}
	text := "\uFEFF" + strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

package script

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// slip FILE OLD NEW puts an author's slip into a file.
func slip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: slip FILE OLD NEW")
	}
	name := ts.MkAbs(args[0])
	data, err := os.ReadFile(name)
	ts.Check(err)
	if bytes.Count(data, []byte(args[1])) != 1 {
		ts.Fatalf("%s holds %q %d times", args[0], args[1], bytes.Count(data, []byte(args[1])))
	}
	ts.Check(os.WriteFile(name, bytes.Replace(data, []byte(args[1]), []byte(args[2]), 1), 0o644))
}

// finding is a problem as people read it.
var finding = regexp.MustCompile(`(?m)^(?:error|warning|错误|警告)\[(DP\d+)\]: .*\n  --> (.*):(\d+):(\d+)\n(?:.*\n)*?   (?:fix|修复)  (.*)$`)

// The forms of a fix that say exactly what to type at the place of the problem.
var (
	writeIt  = regexp.MustCompile(`^(?:write|写成) ("[^"]+")(?: \[--fix\])?$`)
	meantIt  = regexp.MustCompile(`^(?:did you mean|是否想写) "([^"]+)"[?？](?: \[--fix\])?$`)
	removeIt = regexp.MustCompile(`^(?:remove|删除) ([^ ,，]+)[,，]`)
	atPlace  = regexp.MustCompile(`^("[^"]*"|[^\s,:\[\]{}"]+)`)
)

// follow DIR LANG is an author who knows nothing but the messages: lint, do what
// the first fix that can be followed says at the place it names, and again until
// lint has nothing to say. It prints the codes that were fixed.
func follow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: follow DIR LANG")
	}
	var fixed []string
	for range 12 {
		_ = ts.Exec("domicile", "lint", args[0], "--lang", args[1]) // its findings are the point
		out := ts.ReadFile("stdout")
		found := finding.FindAllStringSubmatch(out, -1)
		if len(found) == 0 {
			fmt.Fprintln(ts.Stdout(), strings.Join(fixed, " "))
			return
		}
		done := false
		for _, f := range found {
			if done = obey(ts, f[2], number(ts, f[3]), number(ts, f[4]), f[5]); done {
				fixed = append(fixed, f[1])
				break
			}
		}
		if !done {
			ts.Fatalf("no fix says what to type:\n%s", out)
		}
	}
	ts.Fatalf("still not clean after fixing %v", fixed)
}

func number(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}

// obey does what a fix says, at a line and a column that counts characters. False:
// the fix is advice, and leaves the typing to the author.
func obey(ts *testscript.TestScript, file string, line, column int, fix string) bool {
	name := ts.MkAbs(file)
	data, err := os.ReadFile(name)
	ts.Check(err)
	lines := strings.SplitAfter(string(data), "\n")
	text := []rune(lines[line-1])
	head, tail := string(text[:column-1]), string(text[column-1:])
	token := atPlace.FindString(tail)
	tail = strings.TrimPrefix(tail, token)
	switch {
	case writeIt.MatchString(fix):
		head += writeIt.FindStringSubmatch(fix)[1]
	case meantIt.MatchString(fix):
		head += meantIt.FindStringSubmatch(fix)[1]
	case removeIt.MatchString(fix):
		if what := removeIt.FindStringSubmatch(fix)[1]; what != strings.Trim(token, `"`) {
			ts.Fatalf("%s:%d:%d: it says to remove %q, and %q stands there", file, line, column, what, token)
		}
		if trimmed := strings.TrimSuffix(head, ", "); trimmed != head {
			head = trimmed
		} else {
			tail = strings.TrimPrefix(tail, ", ")
		}
	default:
		return false
	}
	lines[line-1] = head + tail
	ts.Check(os.WriteFile(name, []byte(strings.Join(lines, "")), 0o644))
	return true
}

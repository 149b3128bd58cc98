package show

import (
	"io"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/leakcheck"
	"github.com/domicile-dev/domicile/pkg/policy"
)

// LeakProblems gives leaks the form of problems: they lie in no file, since it
// is our own translation that failed its proof.
func LeakProblems(leaks []leakcheck.Finding) []policy.Problem {
	var out []policy.Problem
	for _, f := range leaks {
		out = append(out, policy.Problem{
			Code: "DP9001", Severity: policy.Error, Message: lang.T("leak: %s", f.String()),
			Fix: lang.T("this is a bug in Domicile: report it with the policy directory"),
		})
	}
	return out
}

// Cleaner passes text on with its control characters made visible.
type Cleaner struct{ W io.Writer }

// Write implements io.Writer.
func (c Cleaner) Write(p []byte) (int, error) {
	if _, err := io.WriteString(c.W, Clean(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// OrDash is s, or a dash where there is nothing.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Package sarif writes findings as SARIF 2.1.0, the form that code hosts read.
//
// Columns count Unicode code points, as the policy reader counts them, and the
// log says so. Fingerprints depend on code, file and message, not on the line:
// a finding that moves stays the same finding.
package sarif

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
)

// Finding is one result. Line and Column are 1-based; 0 means the whole file.
type Finding struct {
	File         string // slash path, relative to the repository if possible
	Line, Column int
	Code         string
	Error        bool // else a warning
	// Key tells the finding from others of its code and file, in every language.
	Key     string
	Message string
}

// home is where the tool lives.
const home = "https://github.com/domicile-dev/domicile"

// Write writes one run of the tool.
func Write(w io.Writer, version string, findings []Finding) error {
	run := sarif.NewRunWithInformationURI("domicile", home)
	run.Tool.Driver.WithSemanticVersion(version)
	run.WithColumnKind("unicodeCodePoints")
	seen := map[string]int{}
	for _, f := range findings {
		rule := run.AddRule(f.Code)
		if help, ok := policytest.ExplainCode(f.Code); ok {
			explain(rule, help)
		}
		level, text := "warning", f.Message
		if f.Error {
			level = "error"
		}
		region := sarif.NewRegion().WithStartLine(max(f.Line, 1)).WithStartColumn(max(f.Column, 1))
		location := sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewSimpleArtifactLocation(uri(f.File))).WithRegion(region)
		run.CreateResultForRule(f.Code).
			WithLevel(level).
			WithMessage(sarif.NewTextMessage(text)).
			AddLocation(sarif.NewLocationWithPhysicalLocation(location)).
			WithPartialFingerprints(map[string]string{"domicile/v1": fingerprint(f, seen)})
	}
	report := sarif.NewReport()
	report.AddRun(run)
	if err := report.PrettyWrite(w); err != nil {
		return fmt.Errorf("write sarif: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// explain puts what is to be known about a code beside its findings, in both
// languages, so that who reads them on a code host needs no terminal.
func explain(rule *sarif.ReportingDescriptor, c policy.CodeInfo) {
	rule.WithShortDescription(sarif.NewMultiformatMessageString().WithText(c.Title.En))
	rule.WithHelp(sarif.NewMultiformatMessageString().
		WithText(fmt.Sprintf("%s\n\n%s", c.Page.En, c.Page.In(lang.Chinese))).
		WithMarkdown(fmt.Sprintf("**%s**\n\n%s\n\n**%s**\n\n%s\n\n`domicile explain-code %s`\n",
			c.Title.En, c.Page.En, c.Title.In(lang.Chinese), c.Page.In(lang.Chinese), c.Code)))
	rule.WithHelpURI(home)
}

func uri(file string) string {
	u := url.URL{Path: file}
	if path.IsAbs(file) {
		u.Scheme = "file"
	}
	return u.String()
}

// fingerprint numbers equal findings, so that each is unique in a run.
func fingerprint(f Finding, seen map[string]int) string {
	sum := sha256.Sum256([]byte(f.Code + "\x00" + f.File + "\x00" + f.Key))
	key := hex.EncodeToString(sum[:16])
	seen[key]++
	return fmt.Sprintf("%s:%d", key, seen[key])
}

package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/record"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policytest"
)

type testResult struct {
	session.Versioned
	policytest.Report
	Table string `json:"table"`
}

func (a *app) testCommand() *cobra.Command {
	j := session.Judged{TableOnly: true}
	var (
		coverage int
		rec      record.Options
	)
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "Run the policy tests of a directory",
		Long: `Run the PolicyTest files of a policy directory against the compiled policy: where
requests are served, what an edge may hold, which transfer covers a crossing. A case
whose rule never ran fails: it would prove nothing. The matrix shows which cells of
home and class a case asks for a decision. With --min-coverage it is a failure too
when less than this share of the rules, or of all cells, is asked about.
A directory without any test fails; domicile apply warns of it and goes on.
It makes no Envoy configuration: domicile lint does, and checks it for leaks.

With --record it appends the present answer to a question as a case to the file
beside the jurisdiction, and runs nothing.`,
		Example: `  domicile test policies
  domicile test policies --min-coverage 100
  domicile test policies --output junit >policy-tests.xml
  domicile test policies --record --home SA --class message --entry eu-frankfurt
  domicile test policies --record --home SA --class profile --edge eu-frankfurt --field phone`,
		Args: session.Args("DIR"), ValidArgsFunction: session.Directories,
	}
	j.Flags(cmd)
	rec.Flags(cmd)
	session.Forms(cmd, "junit")
	cmd.Flags().IntVar(&coverage, "min-coverage", 0, "least share of rules and cells that the cases must reach, in percent, never rounded up")
	cmd.RunE = a.Run(func(cmd *cobra.Command, args []string) error {
		if coverage < 0 || coverage > 100 {
			return session.Usage(cmd, "--min-coverage %d is no percentage", coverage)
		}
		recording, err := rec.Asked(cmd)
		if err != nil {
			return err
		}
		l, err := a.Read(cmd, args[0], j)
		if err != nil {
			return err
		}
		if !l.Good() {
			return a.Refuse(l)
		}
		if recording {
			return rec.Run(a.Session, cmd, args[0], l, j)
		}
		r := policytest.Run(l.Set, l.Table)
		for i := range r.Cases {
			r.Cases[i].File = l.Shown(r.Cases[i].File)
		}
		if err := a.testOutput(l, r); err != nil {
			return err
		}
		switch {
		case !r.OK():
			return exit.Silent(exit.Findings)
		case len(r.Cases) == 0:
			return exit.Errorf(exit.Findings, "%s", lang.T("%s holds no policy test, so nothing was tested", l.Dir).In(l.Lang))
		case r.Coverage.Percent() < coverage:
			return exit.Errorf(exit.Findings, "%s", lang.T("the cases reach %d %%, less than %d %%  %s", r.Coverage.Percent(), coverage, policytest.CodeCoverage).In(l.Lang))
		}
		return nil
	})
	return cmd
}

func (a *app) testOutput(l *session.Local, r policytest.Report) error {
	if a.Output == "junit" {
		return show.WriteJUnit(a.Out, junitTests(r, l.Lang))
	}
	return a.Emit(testResult{session.V1(), r, l.Table.Digest()}, func(w io.Writer) { r.Text(show.Cleaner{W: w}, l.Lang) })
}

func junitTests(r policytest.Report, l lang.Lang) show.Suite {
	s := show.Suite{Name: "domicile test", Tests: len(r.Cases), Failures: r.Failed}
	for _, c := range r.Cases {
		j := show.Case{Name: c.Name, ClassName: c.File, File: c.File, Line: c.Line}
		if !c.Pass {
			j.Failure = &show.Failure{Message: c.Message.In(l), Type: "policy test", Text: lang.T("expected %s, got %s", c.Want, c.Got).In(l)}
		}
		s.Cases = append(s.Cases, j)
	}
	return s
}

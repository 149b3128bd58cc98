// Package compare is the commands that say what a change of policy lets out or
// shuts in: plan, its saved form, and breaking for continuous integration.
//
// Both sides are compiled at one instant and compared in every combination
// (package plan); what is not part of a table, addresses and keys, is listed
// beside it.
package compare

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/observed"
	"github.com/domicile-dev/domicile/pkg/cli/planfile"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/plan"
)

// options are what both commands are asked.
type options struct {
	session.Access
	session.Judged
	other string // --against
}

func (o *options) flags(cmd *cobra.Command) {
	o.Access.Flags(cmd)
	cmd.Flags().StringVar(&o.At, "at", "", "judge both sides as of this instant (RFC 3339), instead of now")
	cmd.Flags().StringVar(&o.other, "against", "", "what to compare with: live, a directory, or git#REF (default: live if a control plane is named, else git#HEAD)")
	o.Strict = true
}

// result is the machine output.
type result struct {
	session.Versioned
	Against     string        `json:"against"`
	Base        planfile.Base `json:"base"`
	Bundle      string        `json:"bundle"`
	Table       string        `json:"table"`
	Changes     []change      `json:"changes"`
	Compared    int           `json:"compared"`
	Loosened    int           `json:"loosened"`
	Tightened   int           `json:"tightened"`
	Neutral     int           `json:"neutral"`
	Beside      []plan.Change `json:"beside"` // addresses and keys
	NeedsRoles  []string      `json:"needsRoles"`
	Waivers     []string      `json:"waivers"`
	Denials     []string      `json:"denials"`
	NotEnforced []string      `json:"notEnforced"`
	// Observed is what passed by observation; null where nobody asked.
	Observed *observed.Report `json:"observed,omitempty"`
}

// change is a change with the place of its rule and a command that shows it.
type change struct {
	plan.Change
	File    string   `json:"file,omitempty"`
	Line    int      `json:"line,omitempty"`
	Example []string `json:"example,omitempty"` // arguments of domicile
}

// PlanCommand is "plan".
func PlanCommand(s *session.Session) *cobra.Command {
	var (
		o        options
		out      string
		message  string
		all      bool
		detailed bool
		passed   observed.Source
	)
	cmd := &cobra.Command{
		Use:   "plan DIR",
		Short: "Say what a policy directory would change, in every combination",
		Long: `Compare a policy directory with what is live, with another directory or with a
commit, by asking both every question that a policy answers: each home, class and
entry, each region that may serve, each field at each edge, each transfer, each
issuer. Whatever is reached after the change and was not before is loosened (!);
what is only lost is tightened (+); the rest is neutral (~). "0 loosened" is a
statement about all of the combinations that are counted in the last line.

With --out FILE the plan is saved together with the policy: domicile approve adds
approvals to it, and domicile apply FILE applies exactly that, or refuses if what is
live has moved meanwhile. With --observed it asks Envoys how many requests of homes
under observation passed that enforcing would have refused. With --detailed-exitcode the exit code is 3 when anything
changes. domicile breaking is the form for continuous integration.`,
		Example: `  domicile plan policies --control https://control.example.com:8443
  domicile plan policies --against git#main
  domicile plan policies --dir /tmp/demo --out change.plan
  domicile plan policies --against git#main --output markdown >comment.md`,
		Args: session.Args("DIR"), ValidArgsFunction: session.Directories,
	}
	o.flags(cmd)
	session.Forms(cmd, "markdown")
	cmd.Flags().StringVarP(&out, "out", "o", "", "save the plan in this `file`; needs what is live")
	cmd.Flags().StringVarP(&message, "message", "m", "", "why, for the history; kept in the saved plan")
	cmd.Flags().BoolVar(&all, "all", false, "list neutral changes and every entry")
	passed.Flags(cmd)
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 3 when anything changes")
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		c, err := o.compare(s, cmd, args[0])
		if err != nil {
			return err
		}
		if passed.Asked() {
			r, err := passed.Collect(cmd.Context(), cmd, o.Dir)
			if err != nil {
				return err
			}
			c.passed = &r
		}
		if out != "" {
			if c.before.Name != "live" {
				return session.Usage(cmd, "--out needs a plan against what is live: name the control plane")
			}
			if err := c.Save(out, message); err != nil {
				return err
			}
		}
		write := func(w io.Writer) { c.text(w, s.Lang(), view{all: all, saved: out, dir: args[0]}) }
		if s.Output == "markdown" {
			write = func(w io.Writer) { c.markdown(w, s.Lang()) }
		}
		if err := s.Emit(c.result(), write); err != nil {
			return err
		}
		if detailed && len(c.report.Changes)+len(c.beside) > 0 {
			return exit.Silent(exit.Changes)
		}
		return nil
	})
	return cmd
}

// BreakingCommand is "breaking".
func BreakingCommand(s *session.Session) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "breaking DIR",
		Short: "Fail if a policy directory loosens anything",
		Long: `Compare like domicile plan, print what is loosened only, and exit with 1 if anything
is. Tightened and neutral changes pass.`,
		Example: `  domicile breaking policies --against git#origin/main
  domicile breaking policies --against git#HEAD~1 --output github`,
		Args: session.Args("DIR"), ValidArgsFunction: session.Directories,
	}
	o.flags(cmd)
	session.Forms(cmd, "github")
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		c, err := o.compare(s, cmd, args[0])
		if err != nil {
			return err
		}
		c.report.Changes = slices.DeleteFunc(c.report.Changes, func(x plan.Change) bool { return x.Effect != plan.Loosens })
		c.beside = slices.DeleteFunc(c.beside, func(x plan.Change) bool { return x.Effect != plan.Loosens })
		write := func(w io.Writer) { c.text(w, s.Lang(), view{dir: args[0]}) }
		if s.Output == "github" {
			write = func(w io.Writer) { c.github(w, s.Lang()) }
		}
		if err := s.Emit(c.result(), write); err != nil {
			return err
		}
		if c.report.Loosens() || c.governance {
			return exit.Silent(exit.Findings)
		}
		return nil
	})
	return cmd
}

// Comparison is two sides and what differs.
type Comparison struct {
	before *Side
	after  *session.Local
	report plan.Report
	beside []plan.Change
	// governance: other people decide from then on, which counts as loosening.
	governance bool
	widens     bool             // addresses or keys that were not there before: approved like loosening
	commit     string           // of the directory, see Commit
	passed     *observed.Report // nil where nobody asked
}

func (o *options) compare(s *session.Session, cmd *cobra.Command, dir string) (*Comparison, error) {
	after, err := s.Read(cmd, dir, o.Judged)
	if err != nil {
		return nil, err
	}
	before, err := o.against(s, cmd, dir, after.At)
	if err != nil {
		return nil, err
	}
	if !after.Good() {
		return nil, s.Refuse(after)
	}
	commit := ""
	if before.Name == "live" {
		commit = Commit(cmd.Context(), s, after, dir)
		if after, err = Carry(s, cmd, after, before); err != nil {
			return nil, err
		}
	}
	c := Between(before, after)
	c.commit = commit
	return c, nil
}

// Between compares what is in force, or another side, with a directory that was
// judged good.
func Between(before *Side, after *session.Local) *Comparison {
	now := &Side{Release: after.Release}
	c := &Comparison{before: before, after: after, report: compare(before, now), beside: []plan.Change{}}
	if before.Release != nil && before.Result != nil {
		c.beside = plan.Beside(before.Topology, after.Topology)
		c.widens = approval.Widens(before.Set.Deployment, after.Set.Deployment)
		if was, is := before.Set.Deployment, after.Set.Deployment; !approval.Governed(was, is) {
			c.beside = append(c.beside, plan.Change{Effect: plan.Loosens, Kind: "signers", What: "who may change the policy", Before: approval.Summary(was), After: approval.Summary(is)})
			c.governance = true
		}
	}
	return c
}

func compare(before, after *Side) plan.Report { return plan.Compare(before.table(), after.table()) }

func same(a, b plan.Report) bool {
	return a.Compared == b.Compared && slices.Equal(a.Changes, b.Changes)
}

// Save writes the plan file.
func (c *Comparison) Save(path, message string) error {
	p := &planfile.Plan{
		Deployment: c.before.Deployment(c.after), Base: c.before.Base, Bundle: c.after.Bundle.Digest(), Table: c.after.Table.Digest(),
		At: c.after.At.UTC().Truncate(time.Second), GitCommit: c.commit, Message: message, Report: c.report, Archive: c.after.Bundle.Archive(),
	}
	if err := planfile.Write(path, p); err != nil {
		return exit.Errorf(exit.Usage, "%w", err)
	}
	return nil
}

// roles are those that the side in force asks for when something loosens; none
// where it lists no signers.
func (c *Comparison) roles() []string {
	out := []string{}
	if c.before.Release == nil || c.before.Set == nil || c.before.Set.Deployment == nil || len(c.before.Set.Deployment.Signers) == 0 {
		return out
	}
	d := c.before.Set.Deployment
	out = append(out, d.Approvals["apply"]...)
	if c.report.Loosens() || c.governance || c.widens {
		out = append(out, d.Approvals["loosen"]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *Comparison) result() result {
	r := result{
		Versioned: session.V1(), Against: c.before.Name, Base: c.before.Base,
		Bundle: c.after.Bundle.Digest(), Table: c.after.Table.Digest(), Changes: []change{}, Compared: c.report.Compared,
		Loosened: c.report.Count(plan.Loosens), Tightened: c.report.Count(plan.Tightens), Neutral: c.report.Count(plan.Neutral),
		Beside: c.beside, NeedsRoles: c.roles(), Waivers: []string{}, Denials: []string{}, NotEnforced: []string{},
		Observed: c.passed,
	}
	if r.Beside == nil {
		r.Beside = []plan.Change{}
	}
	for _, x := range c.report.Changes {
		place, at := c.place(x)
		r.Changes = append(r.Changes, change{Change: x, File: place.Shown(at.File), Line: at.Line, Example: example(x, c.after.Dir)})
	}
	for _, w := range c.after.Set.Waivers {
		r.Waivers = append(r.Waivers, fmt.Sprintf("%s: %s of %s until %s, owner %s", w.ID, w.Code, w.Home, w.Until.Format(time.DateOnly), w.Owner))
	}
	for _, d := range c.after.Set.Denials {
		r.Denials = append(r.Denials, d.Home+"/"+orAll(d.Class)+": "+d.Reason)
	}
	for _, home := range c.after.Table.Homes() {
		if c.after.Table.Observed(home) {
			r.NotEnforced = append(r.NotEnforced, home)
		}
	}
	return r
}

func orAll(class string) string {
	if class == "" {
		return "*"
	}
	return class
}

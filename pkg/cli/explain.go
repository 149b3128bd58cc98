package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/explain"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/residency"
)

func (a *app) explainCommand() *cobra.Command {
	var (
		q   residency.Query
		j   session.Judged
		src session.Source
	)
	cmd := &cobra.Command{
		Use:   "explain --home H --class C",
		Short: "Say what the policy decides for a home and class, and why",
		Long: `Say what the policy decides for requests of a home and data class: the decision in
one sentence, the rule and line it comes from, what happens when regions are
down, and what the author cited as the basis. Where nobody has to say who is
calling, it says so: a class without personal data is served whoever asks, and at
login the homes of the host name decide.

The policy is read from --policies DIR, from a running demo (--dir) or from a
control plane (--control); without any of them from ./policies. A denial is an
answer, not a failure: the exit code is 0.`,
		Example: `  domicile explain --home SA --class message --entry eu-frankfurt
  domicile explain --home SA --class message --entry eu-frankfurt --down me-riyadh
  domicile explain --home TR --class profile --control https://control.example.com:8443`,
		Args: session.Args(),
	}
	f := cmd.Flags()
	f.StringVar(&q.Home, "home", "", `home jurisdiction, such as SA`)
	f.StringVar(&q.Class, "class", "", "data class, such as message")
	f.StringVar(&q.Entry, "entry", "", "region whose gateway takes the connection (default: the first that may)")
	f.StringSliceVar(&q.Down, "down", nil, "regions that cannot serve, separated by commas")
	j.Flags(cmd)
	src.Flags(cmd, true)
	cmd.RunE = a.Run(func(cmd *cobra.Command, _ []string) error {
		for _, need := range []struct{ flag, value string }{{"--home", q.Home}, {"--class", q.Class}} {
			if need.value == "" {
				return session.Usage(cmd, "%s is missing", need.flag)
			}
		}
		l, err := a.Open(cmd, src, j)
		if err != nil {
			return err
		}
		if !l.Good() {
			return a.Refuse(l)
		}
		a.noteUnknown(l, q)
		var hosts []explain.Host
		for _, r := range l.Topology.Regions {
			if r.Host != "" {
				hosts = append(hosts, explain.Host{Region: r.Name, Name: r.Host})
			}
		}
		e := explain.Explain(explain.Policy{
			Set: l.Set, Table: l.Table, Places: l.Places, Bundle: l.Bundle.Digest(), Shown: l.Shown, Hosts: hosts,
		}, q, session.FormatVersion)
		return a.Emit(e, e.Text)
	})
	return cmd
}

// noteUnknown points out words that the deployment does not know: likely typing
// errors, which the policy answers with a denial like all that is unknown.
func (a *app) noteUnknown(l *session.Local, q residency.Query) {
	var regions, homes, classes []string
	for _, r := range l.Topology.Regions {
		regions = append(regions, r.Name)
	}
	for code := range l.Set.Jurisdictions {
		homes = append(homes, code)
	}
	for _, c := range l.Set.Deployment.Classes {
		classes = append(classes, c.Class)
		for _, x := range c.Carries {
			classes = append(classes, x.Value)
		}
	}
	note := func(kind, word string, known []string) {
		if word != "" && !slices.Contains(known, word) {
			slices.Sort(known)
			fmt.Fprintf(a.Err, "note: the policy knows no %s %q%s\n", kind, show.Line(word), session.DidYouMean(word, known, ""))
		}
	}
	note("home", q.Home, homes)
	note("class", q.Class, classes)
	note("region", q.Entry, regions)
	for _, d := range q.Down {
		note("region", d, regions)
	}
}

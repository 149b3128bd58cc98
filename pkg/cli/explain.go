package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/explain"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/cli/users"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/residency"
)

func (a *app) explainCommand() *cobra.Command {
	var (
		q   residency.Query
		j   session.Judged
		src session.Source

		user  string
		local users.Local
	)
	cmd := &cobra.Command{
		Use:   "explain --home H --class C | --user U",
		Short: "Say what the policy decides for a home and class, or a user, and why",
		Long: `Say what the policy decides for requests of a home and data class: the decision in
one sentence, the rule and line it comes from, what happens when regions are
down, and what the author cited as the basis. Where nobody has to say who is
calling, it says so: a class without personal data is served whoever asks, and at
login the homes of the host name decide.

With --user the home is looked up in the directory, as the agents do when no token
names it, and every class is decided unless one is named. U is the user's id, or the
keyed hash of it (64 hex digits), for which no key is needed.

The policy is read from --policies DIR, from a running demo (--dir) or from a
control plane (--control); without any of them from ./policies. A denial is an
answer, not a failure: the exit code is 0.`,
		Example: `  domicile explain --home SA --class message --entry eu-frankfurt
  domicile explain --home SA --class message --entry eu-frankfurt --down me-riyadh
  domicile explain --home TR --class profile --control https://control.example.com:8443
  domicile explain --user u1 --directory-key /etc/domicile/directory.key
  domicile explain --user u1 --dir /tmp/demo`,
		Args: session.Args(),
	}
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "user whose home is looked up, by id or keyed hash")
	f.StringVar(&q.Home, "home", "", `home jurisdiction, such as SA`)
	f.StringVar(&q.Class, "class", "", "data class, such as message")
	f.StringVar(&q.Entry, "entry", "", "region whose gateway takes the connection (default: the first that may)")
	f.StringSliceVar(&q.Down, "down", nil, "regions that cannot serve, separated by commas")
	j.Flags(cmd)
	src.Flags(cmd, true)
	local.Flags(cmd)
	cmd.RunE = a.Run(func(cmd *cobra.Command, _ []string) error {
		switch {
		case user != "" && q.Home != "":
			return session.Usage(cmd, "--user and --home exclude each other: the directory says where the user is at home")
		case user != "":
			local.From(src)
		case q.Home == "":
			return session.Usage(cmd, "--home is missing")
		case q.Class == "":
			return session.Usage(cmd, "--class is missing")
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
		p := explain.Policy{Set: l.Set, Table: l.Table, Places: l.Places, Bundle: l.Bundle.Digest(), Shown: l.Shown, Hosts: hosts}
		if user != "" {
			return a.explainUser(cmd, l, p, user, q, local)
		}
		e := explain.Explain(p, q, session.FormatVersion)
		return a.Emit(e, e.Text)
	})
	return cmd
}

// explainUser looks the user up as the agents do, and explains.
func (a *app) explainUser(cmd *cobra.Command, l *session.Local, p explain.Policy, user string, q residency.Query, local users.Local) error {
	u := explain.User{FormatVersion: session.FormatVersion, Hash: user}
	if !identity.IsUserHash(user) {
		key, err := local.HashKey(cmd)
		if err != nil {
			return err
		}
		u.Hash = identity.UserHash(key, user)
	}
	d, kind, err := local.Open(cmd, l.Topology)
	if err != nil {
		return err
	}
	defer d.Close()
	if u.Home, u.Found, err = d.Lookup(cmd.Context(), u.Hash); err != nil {
		return exit.Errorf(users.Code(err), "%w", err)
	}
	u.Directory = kind
	var classes []string
	for _, r := range l.Table.Routes() {
		for _, c := range append([]string{r.Class}, r.Carries...) {
			if !slices.Contains(classes, c) && (q.Class == "" || q.Class == c) {
				classes = append(classes, c)
			}
		}
	}
	if q.Class != "" && len(classes) == 0 {
		classes = []string{q.Class}
	}
	out := explain.ExplainUser(p, u, q, classes)
	return a.Emit(out, out.Text)
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

// Package home is the commands about the homes of users.
package home

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/agent/coverage"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/version"
)

// Command is the command "home".
func Command(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "home",
		Short: "Look at the homes of users, and enter them",
		Args:  cobra.ArbitraryArgs,
		RunE: s.Run(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return session.UnknownCommand(cmd, args[0])
			}
			return cmd.Help()
		}),
	}
	cmd.AddCommand(coverageCommand(s), importCommand(s))
	return cmd
}

// coverageResult is the machine output: what all agents together have seen.
type coverageResult struct {
	session.Versioned
	coverage.Report
	Agents int `json:"agents"`
}

func coverageCommand(s *session.Session) *cobra.Command {
	var (
		agents []string
		dir    string
	)
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "Say how many of the users seen have no home yet",
		Long: `Say how many users the gateways have seen, by the home that their verified token
names, and how many of them have no home yet: those will be refused (no-home)
whatever the policies say. It is the question to ask before enforcing.

Each region's agent counts a sample of the requests of its Envoys (the runtime key
domicile.coverage of the Envoys: 1 of 100, all in a demo) since it started. Users
are counted within about 1 %, by a keyed hash; no user id is kept, and none leaves
the agent. A user seen in two regions, or before and after getting a home, is
counted in both: the numbers of users are upper bounds.`,
		Example: `  domicile home coverage --dir /tmp/demo
  domicile home coverage --agent http://127.0.0.1:8090 --output json`,
		Args: session.Args(),
	}
	cmd.Flags().StringSliceVar(&agents, "agent", nil, "URLs of the regions' agents, separated by commas")
	cmd.Flags().StringVar(&dir, "dir", "", "directory of a running demo, in which its agents are found")
	cmd.RunE = s.Run(func(cmd *cobra.Command, _ []string) error {
		if (dir == "") == (len(agents) == 0) {
			return session.Usage(cmd, "name the agents: --agent URL, or --dir DIR of a demo")
		}
		if dir != "" {
			d, err := session.ReadDemo(dir)
			if err != nil {
				return err
			}
			for _, region := range slices.Sorted(maps.Keys(d.Regions)) {
				agents = append(agents, d.Regions[region].Agent)
			}
		}
		r, err := ask(cmd.Context(), cmd, agents)
		if err != nil {
			return err
		}
		return s.Emit(coverageResult{session.V1(), r, len(agents)}, func(w io.Writer) { text(w, s.Lang(), r) })
	})
	return cmd
}

// ask adds up what the agents have seen.
func ask(ctx context.Context, cmd *cobra.Command, agents []string) (coverage.Report, error) {
	sum := coverage.Report{Homes: map[string]coverage.Seen{}}
	for _, address := range agents {
		base, err := url.Parse(address)
		if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
			return sum, session.Usage(cmd, "%q is no URL such as http://127.0.0.1:8090", address)
		}
		c := remote.New(base, nil, version.String())
		c.What = "agent"
		var r coverage.Report
		if err := c.Ask(ctx, "v1/coverage", nil, &r); err != nil {
			return sum, err
		}
		if r.Since.IsZero() {
			return sum, exit.Errorf(exit.Findings, "agent %s does not count users: it is of another version", base)
		}
		if sum.Since.IsZero() || r.Since.Before(sum.Since) {
			sum.Since = r.Since
		}
		sum.Without = add(sum.Without, r.Without)
		for home, seen := range r.Homes {
			sum.Homes[home] = add(sum.Homes[home], seen)
		}
	}
	return sum, nil
}

func add(a, b coverage.Seen) coverage.Seen {
	return coverage.Seen{Users: a.Users + b.Users, Requests: a.Requests + b.Requests}
}

func text(w io.Writer, l lang.Lang, r coverage.Report) {
	say := func(t lang.Text) { fmt.Fprintln(w, t.In(l)) }
	since := r.Since.UTC().Format(time.RFC3339)
	users := r.Without.Users
	for _, seen := range r.Homes {
		users += seen.Users
	}
	if users == 0 {
		say(lang.T("No user with a verified token was seen since %s.", since))
		return
	}
	say(lang.T("%d of about %d users seen since %s have no home yet (%s).", r.Without.Users, users, since, percent(r.Without.Users, users)))
	t := show.NewTable(lang.T("HOME").In(l), lang.T("USERS").In(l), lang.T("SAMPLED REQUESTS").In(l))
	row := func(home string, s coverage.Seen) {
		t.Row(home, strconv.FormatUint(s.Users, 10), strconv.FormatUint(s.Requests, 10))
	}
	for _, home := range slices.Sorted(maps.Keys(r.Homes)) {
		row(home, r.Homes[home])
	}
	if r.Without.Requests > 0 {
		row(lang.T("none").In(l), r.Without)
	}
	t.Write(w)
	if r.Without.Users > 0 {
		say(lang.T("next: have the issuer put a home into their tokens; until then they are refused (no-home)"))
	}
}

// percent never says 0 where there is something, nor 100 where something lacks.
func percent(part, whole uint64) string {
	switch p := part * 100 / whole; {
	case part == 0, part == whole:
		return fmt.Sprintf("%d %%", p)
	case p == 0:
		return "< 1 %"
	default:
		return fmt.Sprintf("%d %%", p)
	}
}

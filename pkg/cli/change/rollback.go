package change

import (
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/compare"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/store"
)

// earlier finds the policy that a rollback brings back.
func (a *commands) earlier(cmd *cobra.Command, c *remote.Client, live *compare.Side, args []string) (*session.Local, store.Record, error) {
	var none store.Record
	to := live.Base.Sequence - min(live.Base.Sequence, 1)
	if len(args) == 1 {
		to, _ = strconv.ParseUint(args[0], 10, 63) // was checked
	}
	var records []store.Record
	if err := c.Ask(cmd.Context(), "v1/history", url.Values{"limit": {strconv.Itoa(store.MaxHistory)}}, &records); err != nil {
		return nil, none, err
	}
	for _, r := range records {
		if r.Sequence != to {
			continue
		}
		archive, err := c.Call(cmd.Context(), remote.AskTime, "v1/bundle/"+r.Bundle, nil, nil)
		if err != nil {
			return nil, none, err
		}
		b, err := bundle.Open(archive, r.Bundle)
		if err != nil {
			return nil, none, exit.Errorf(exit.Findings, "read bundle from %s: %w", c.Base, err)
		}
		old, err := a.JudgeBundle(cmd, b, "sequence "+strconv.FormatUint(to, 10), session.Judged{Strict: true, TableOnly: true})
		if err == nil && !old.Good() {
			err = a.Refuse(old)
		}
		return old, r, err
	}
	return nil, none, exit.Errorf(exit.Findings, "there is no sequence %d to go back to (next: domicile history lists them)", to)
}

// savePlan saves a rollback as a plan, for several people to approve.
func (a *commands) savePlan(old *session.Local, live *compare.Side, path, message string) error {
	if err := live.Comparable(); err != nil {
		return err
	}
	c := compare.Between(live, old)
	if err := c.Save(path, message); err != nil {
		return err
	}
	c.Show(a.Out, a.Lang(), path)
	return nil
}

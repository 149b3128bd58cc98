// Package sign is the commands of those who sign changes of policy: keys, approve,
// and what apply, rollback and deny need to sign by themselves.
package sign

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/approval"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/compare"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/planfile"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/plan"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/release"
)

// Valid is for how long signatures may be used unless the first signer says
// otherwise: it bounds how long a signed change can be held back.
const Valid = 7 * 24 * time.Hour

// ReadKey reads a private key that only its owner may read.
func ReadKey(path string) (*approval.Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "open key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, exit.Errorf(exit.Usage, "key %s may be read by others (mode %04o): whoever read it can sign (next: make a new key, or chmod 600 %s if nobody did)", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "open key: %w", err)
	}
	k, err := approval.ReadKey(data)
	if err != nil {
		return nil, exit.Errorf(exit.Findings, "%s: %w", path, err)
	}
	return k, nil
}

// Change is what one person signs alone.
type Change struct {
	Deployment string
	Action     approval.Action
	Base       planfile.Base
	Bundle     string // digest
	Message    string
	GitCommit  string
	At         time.Time
}

// Statement is what is signed.
func (c Change) Statement() approval.Statement {
	at := c.At.UTC().Truncate(time.Second)
	return approval.Statement{
		Deployment: c.Deployment, Action: c.Action, Sequence: c.Base.Sequence + 1, Previous: c.Base.Bundle, Bundle: c.Bundle,
		Message: c.Message, GitCommit: c.GitCommit, At: at, Expires: at.Add(Valid),
	}
}

// Sign signs a change with the key in a file; nothing for no file.
func Sign(ctx context.Context, c Change, file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	k, err := ReadKey(file)
	if err != nil {
		return nil, err
	}
	return approval.Sign(ctx, nil, c.Statement(), k)
}

// Plan adds the signature of a key to a saved plan's envelope, or begins one.
func Plan(ctx context.Context, p *planfile.Plan, k *approval.Key, valid time.Duration) error {
	st := Change{p.Deployment, approval.Apply, p.Base, p.Bundle, p.Message, p.GitCommit, p.At}.Statement()
	st.Expires = st.At.Add(valid)
	envelope := []byte(p.Envelope)
	if string(envelope) == "null" {
		envelope = nil
	}
	if len(envelope) > 0 {
		first, err := approval.Read(envelope)
		if err != nil {
			return err
		}
		st.Expires = first.Expires // the first signer's word
	}
	out, err := approval.Sign(ctx, envelope, st, k)
	if err != nil {
		return err
	}
	p.Envelope = out
	return nil
}

// KeysCommand is "keys".
func KeysCommand(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make keys that sign changes of policy",
		Args:  cobra.ArbitraryArgs,
		RunE: s.Run(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return session.UnknownCommand(cmd, args[0])
			}
			return cmd.Help()
		}),
	}
	cmd.AddCommand(newCommand(s))
	return cmd
}

func newCommand(s *session.Session) *cobra.Command {
	var out, name string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a key, and print the line that makes it count",
		Long: `Make a signing key (Ed25519) in a file that only you may read, and print the line
for signers in deployment.yaml that makes its signatures count. The private key
never leaves the file; whoever has it can sign in your roles.`,
		Example: `  domicile keys new --out kim.key --name kim`,
		Args:    session.Args(),
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "`file` for the private key; it must not exist")
	cmd.Flags().StringVar(&name, "name", "", "who signs with it, for the printed line")
	cmd.RunE = s.Run(func(cmd *cobra.Command, _ []string) error {
		if out == "" {
			return session.Usage(cmd, "--out is missing")
		}
		k, err := approval.NewKey()
		if err != nil {
			return err
		}
		data, err := k.PEM()
		if err != nil {
			return err
		}
		f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return exit.Errorf(exit.Usage, "make key: %w", err)
		}
		_, err = f.Write(data)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return exit.Errorf(exit.Usage, "make key: %w", err)
		}
		if name == "" {
			name = "NAME"
		}
		v := struct {
			session.Versioned
			File string `json:"file"`
			Key  string `json:"key"`
		}{session.V1(), out, k.Public()}
		return s.Emit(v, func(w io.Writer) {
			fmt.Fprintln(w, lang.T("Wrote %s. In deployment.yaml, with the roles that fit:", out).In(s.Lang()))
			fmt.Fprintf(w, "  signers:\n    - {name: %s, key: %q, roles: [author]}\n", name, k.Public())
		})
	})
	return cmd
}

// ApproveCommand is "approve".
func ApproveCommand(s *session.Session) *cobra.Command {
	var (
		r     session.Access
		file  string
		valid time.Duration
	)
	cmd := &cobra.Command{
		Use:   "approve PLAN",
		Short: "Sign a saved plan",
		Long: `Show what a saved plan would let out, and add your signature to it. The signature
stands for exactly this policy on top of exactly what was live when the plan was
made: it cannot be used for anything else, nor later. Which roles have to sign is
what the deployment in force says (approvals); each by another person. With a
control plane named, the listed changes are checked against what is live.`,
		Example: `  domicile plan policies --out change.plan --control https://control.example.com:8443
  domicile approve change.plan --signing-key kim.key
  domicile apply change.plan --control https://control.example.com:8443`,
		Args: session.Args("PLAN"),
	}
	r.Flags(cmd)
	cmd.Flags().StringVar(&file, "signing-key", "", "your private key (PEM `file`, mode 0600)")
	cmd.Flags().DurationVar(&valid, "valid", Valid, "for how long the signatures may be used; the first signer decides")
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return session.Usage(cmd, "--signing-key is missing")
		}
		if valid <= 0 {
			return session.Usage(cmd, "--valid %s is no time", valid)
		}
		p, b, err := planfile.Read(args[0])
		if err != nil {
			if os.IsNotExist(err) {
				return exit.Errorf(exit.Usage, "%w", err)
			}
			return exit.Errorf(exit.Findings, "%w", err)
		}
		if err := checked(s, cmd, r, p, b); err != nil {
			return err
		}
		k, err := ReadKey(file)
		if err != nil {
			return err
		}
		if err := Plan(cmd.Context(), p, k, valid); err != nil {
			return exit.Errorf(exit.Findings, "%s: %w", args[0], err)
		}
		if err := planfile.Write(args[0], p); err != nil {
			return exit.Errorf(exit.Usage, "%w", err)
		}
		return emit(s, p, b, k)
	})
	return cmd
}

// checked compares the changes that the file lists with those that its policy makes
// of what is live: an approver must not have to believe the file.
func checked(s *session.Session, cmd *cobra.Command, r session.Access, p *planfile.Plan, b *bundle.Bundle) error {
	if r.Control == "" && r.Dir == "" && s.Getenv("DOMICILE_CONTROL") == "" {
		fmt.Fprintln(s.Err, lang.T("warning: the changes below are those that the file lists; name the control plane (--control) to have them checked").In(s.Lang()))
		return nil
	}
	c, err := s.Client(cmd, r)
	if err != nil {
		return err
	}
	live, err := compare.Live(cmd.Context(), c, s.Now())
	if err == nil {
		err = live.Comparable()
	}
	if err != nil {
		return err
	}
	return compare.Check(p, b, live, s.Now())
}

func emit(s *session.Session, p *planfile.Plan, b *bundle.Bundle, k *approval.Key) error {
	var e struct {
		Signatures []json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(p.Envelope, &e); err != nil {
		return exit.Errorf(exit.Bug, "read approvals: %w", err)
	}
	in := release.Of(b)
	set, _ := policy.Parse(in.FS, in.Library)
	name := "?"
	if set.Deployment != nil {
		if who, ok := k.Signer(set.Deployment.Signers); ok {
			name = who.Name
		}
	}
	v := struct {
		session.Versioned
		Bundle     string        `json:"bundle"`
		Signatures int           `json:"signatures"`
		Signer     string        `json:"signer"`
		Changes    []plan.Change `json:"changes"`
	}{session.V1(), p.Bundle, len(e.Signatures), name, p.Changes}
	return s.Emit(v, func(w io.Writer) {
		l := s.Lang()
		for _, c := range p.Changes {
			if c.Effect == plan.Loosens {
				fmt.Fprintf(w, "  ! %s %s %s %s: %s -> %s\n", c.Kind, show.Line(c.Home), show.Line(c.Class), show.Line(c.Entry), show.Line(c.Before), show.Line(c.After))
			}
		}
		fmt.Fprintln(w, lang.T("Signed as %s: bundle %s on top of sequence %d, %d loosened of %d combinations.",
			show.Line(name), show.Digest(p.Bundle), p.Base.Sequence, p.Count(plan.Loosens), p.Compared).In(l))
		fmt.Fprintln(w, lang.T("%d signatures now. The history will show them.", len(e.Signatures)).In(l))
	})
}

// Package user is the commands about single users.
package user

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/agent/moves"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/cli/users"
	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/version"
)

// fenceTime bounds one agent's answer, which waits for its Envoys.
const fenceTime = 15 * time.Second

// Command is the command "user".
func Command(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Move a user to another home",
		Args:  cobra.ArbitraryArgs,
		RunE: s.Run(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return session.UnknownCommand(cmd, args[0])
			}
			return cmd.Help()
		}),
	}
	cmd.AddCommand(moveCommand(s))
	return cmd
}

// move is one run of "user move".
type move struct {
	s                      *session.Session
	user, from, to, issuer string
	agents                 map[string][]string // host:port by region: each feeds Envoys of its own
	access                 session.Access
	trustDomain            string
	moveResult
}

// moveResult is the machine output. It names no user.
type moveResult struct {
	session.Versioned
	plan
	Done   bool     `json:"done"`
	Fenced []fenced `json:"fenced"`
}

// fenced is an agent whose Envoys refuse what names the old home.
type fenced struct {
	Region string `json:"region"`
	Agent  string `json:"agent"`
	moves.Done
}

func moveCommand(s *session.Session) *cobra.Command {
	var (
		m        = move{s: s}
		src      session.Source
		local    users.Local
		validate bool
		agents   []string
	)
	cmd := &cobra.Command{
		Use:   "move --user U --to HOME",
		Short: "Move a user to another home",
		Long: `Move a user to another home. The command says what changes, and is refused while
the policy forbids it: where the new home does not serve a class that the old one
serves, or no issuer may name it. Then, in this order:

  1. The gateways of every region that takes or serves users of the old home refuse the
     user's tokens and pins that name it, until the last of them has expired.
  2. The directory says the new home.
  3. Step 1 again, because an agent may have asked the directory in between.

The user's next request with a token that names the new home, or none, is served
there. Streams that are open go on until session.maxAge of their class. The user's
data is the IM servers' to move, before. Each step may be repeated: after a failure
run the same command again, with --from if step 2 was made.`,
		Example: `  domicile user move --user amal --to TR --dir /tmp/demo
  domicile user move --user amal --to TR --validate-only --policies policies --directory users.yaml --directory-key users.key
  domicile user move --user amal --to TR --control https://control.example.com:8443 --cert op.pem --key op.key --ca ca.pem \
      --directory-key directory.key --agent me-riyadh=agent.sa.example.com:8091 --agent eu-frankfurt=agent.eu.example.com:8091`,
		Args: session.Args(),
	}
	f := cmd.Flags()
	f.StringVar(&m.user, "user", "", "the user's `id`, as tokens give it")
	f.StringVar(&m.to, "to", "", "the new `home`")
	f.StringVar(&m.from, "from", "", "the old `home`; default: what the directory says")
	f.StringVar(&m.issuer, "issuer", "", "move the user of this `issuer` only; default: of all")
	f.BoolVar(&validate, "validate-only", false, "say what would change, and change nothing")
	f.StringArrayVar(&agents, "agent", nil, "`REGION=HOST:PORT` of an agent's door by mTLS (its --peer); once for each agent")
	f.StringVar(&m.trustDomain, "trust-domain", "", "SPIFFE trust `domain`; default: the deployment's")
	local.Flags(cmd)
	src.Flags(cmd, true)
	cmd.RunE = s.Run(func(cmd *cobra.Command, _ []string) error {
		if m.user == "" || m.to == "" {
			return session.Usage(cmd, "--user and --to are needed")
		}
		return m.run(cmd, src, local, agents, validate)
	})
	return cmd
}

func (m *move) run(cmd *cobra.Command, src session.Source, local users.Local, agents []string, validate bool) error {
	local.From(src)
	l, err := m.s.Open(cmd, src, session.Judged{TableOnly: true})
	if err != nil {
		return err
	}
	if !l.Good() {
		return m.s.Refuse(l)
	}
	if m.trustDomain == "" {
		m.trustDomain = l.Topology.TrustDomain
	}
	m.access = src.Access
	key, err := local.HashKey(cmd)
	if err != nil {
		return err
	}
	d, _, err := local.Open(cmd, l.Topology)
	if err != nil {
		return err
	}
	defer d.Close()
	hash := identity.UserHash(key, m.user)
	if err := m.oldHome(cmd.Context(), d, hash); err != nil {
		return err
	}
	for _, home := range []string{m.from, m.to} {
		if !slices.Contains(l.Table.Homes(), home) {
			return exit.Errorf(exit.Findings, "the policy knows no home %s", home)
		}
	}
	m.moveResult = moveResult{Versioned: session.V1(), plan: planMove(l.Table, m.from, m.to), Fenced: []fenced{}}
	if validate || len(m.Against) > 0 {
		return m.report()
	}
	if err := m.find(cmd, agents); err != nil {
		return err
	}
	if err := m.carryOut(cmd.Context(), d.Editor, d, hash); err != nil {
		return err
	}
	return m.report()
}

// oldHome fills in where the user is at home today.
func (m *move) oldHome(ctx context.Context, d directory.Directory, hash string) error {
	said, found, err := d.Lookup(ctx, hash)
	switch {
	case err != nil:
		return exit.Errorf(users.Code(err), "ask the directory: %w", err)
	case m.from == "" && !found:
		return exit.Errorf(exit.Findings, "the directory lists no such user: name the old home with --from")
	case m.from == "":
		m.from = said
	}
	if m.from == m.to {
		return exit.Errorf(exit.Findings, "the directory says %s already: to keep tokens of an old home out again, name it with --from", m.to)
	}
	return nil
}

// find works out where the agents are.
func (m *move) find(cmd *cobra.Command, named []string) error {
	m.agents = map[string][]string{}
	if m.access.Dir != "" {
		d, err := session.ReadDemo(m.access.Dir)
		if err != nil {
			return err
		}
		for name, r := range d.Regions {
			if r.AgentPeer != "" {
				m.agents[name] = append(m.agents[name], r.AgentPeer)
			}
		}
		certs := filepath.Join(m.access.Dir, "certs", "operator")
		m.access.Cert, m.access.Key, m.access.CA = filepath.Join(certs, identity.CertFile), filepath.Join(certs, identity.KeyFile), filepath.Join(certs, identity.CAFile)
	}
	for _, a := range named {
		region, address, ok := strings.Cut(a, "=")
		if !ok || region == "" || address == "" {
			return session.Usage(cmd, "--agent %q: write REGION=HOST:PORT", a)
		}
		if !slices.Contains(m.agents[region], address) {
			m.agents[region] = append(m.agents[region], address)
		}
	}
	for _, r := range m.Regions {
		if len(m.agents[r]) == 0 {
			return session.Usage(cmd, "no agent of region %s is named, and its gateways take users of %s: add --agent %s=HOST:PORT", r, m.From, r)
		}
	}
	if m.access.Cert == "" || m.access.CA == "" {
		return session.Usage(cmd, "agents take operators by mTLS only: --cert, --key and --ca are needed")
	}
	return nil
}

// carryOut makes the move. The directory's editor is nil where it is the operator's.
func (m *move) carryOut(ctx context.Context, editor directory.Editor, d directory.Directory, hash string) error {
	if err := m.fence(ctx); err != nil {
		return err
	}
	if editor != nil {
		if _, err := editor.Put(ctx, directory.Entry{Hash: hash, Home: m.to}); err != nil {
			return exit.Errorf(users.Code(err), "write the directory: %w (next: run the same command again)", err)
		}
		m.say(lang.T("the directory says %s", m.to))
	} else if said, _, err := d.Lookup(ctx, hash); err != nil || said != m.to {
		return exit.Errorf(exit.Findings, "tokens of the old home are kept out; the directory is a service of yours and does not say %s yet: change it there, then run this command again with --from %s", m.to, m.from)
	}
	if err := m.fence(ctx); err != nil {
		return err
	}
	m.Done = true
	return nil
}

// fence has every region keep out what names the old home.
func (m *move) fence(ctx context.Context) error {
	body, err := json.Marshal(moves.Move{User: m.user, Issuer: m.issuer, From: []string{m.from}, To: m.to})
	if err != nil {
		return exit.Errorf(exit.Bug, "%w", err)
	}
	m.Fenced = m.Fenced[:0]
	for _, region := range m.Regions {
		config, err := m.tls(region)
		if err != nil {
			return exit.Errorf(exit.Usage, "%w", err)
		}
		for _, agent := range m.agents[region] {
			one, err := fenceAt(ctx, config, region, agent, body)
			if err != nil {
				return err
			}
			m.Fenced = append(m.Fenced, one)
			m.say(lang.T("%s keeps tokens of %s out until %s", region, m.from, one.Until.UTC().Format(time.RFC3339)))
		}
	}
	return nil
}

// fenceAt has one agent keep the user out, and its Envoys. One without any is not done:
// Envoys that cannot reach their agent go on with the fence that they have.
func fenceAt(ctx context.Context, config *tls.Config, region, agent string, body []byte) (fenced, error) {
	c := remote.New(&url.URL{Scheme: "https", Host: agent}, config, version.String())
	c.What = "agent"
	one := fenced{Region: region, Agent: agent}
	answer, err := c.Call(ctx, fenceTime, "v1/users/move", url.Values{"wait": {"5s"}}, body)
	if err != nil {
		return one, exit.Errorf(exit.Code(err), "region %s: %w (next: run the same command again)", region, err)
	}
	if err := c.Decode(answer, &one.Done); err != nil {
		return one, err
	}
	switch {
	case one.Envoys.Connected == 0:
		return one, exit.Errorf(exit.Findings, "region %s: no Envoy is connected to agent %s, so none is known to have the change (next: run the same command again when one is)", region, agent)
	case one.Envoys.Current < one.Envoys.Connected:
		return one, exit.Errorf(exit.Findings, "region %s: %d of %d Envoys have the change (next: run the same command again)", region, one.Envoys.Current, one.Envoys.Connected)
	}
	return one, nil
}

// tls takes the agents of one region, and nobody else.
func (m *move) tls(region string) (*tls.Config, error) {
	p, err := identity.LoadPEM(m.access.Cert, m.access.Key, m.access.CA)
	if err != nil {
		return nil, err
	}
	return identity.ClientTLS(p, m.trustDomain, func(id identity.ID) error {
		if id.Role != identity.RoleAgent || id.Region != region {
			return fmt.Errorf("%s is no agent of region %s", id, region)
		}
		return nil
	})
}

func (m *move) say(t lang.Text) { fmt.Fprintln(m.s.Err, t.In(m.s.Lang())) }

// report prints what changed, or would; a move that the policy forbids is not permitted.
func (m *move) report() error {
	err := m.s.Emit(m.moveResult, func(w io.Writer) {
		t := show.NewTable("CLASS", m.From, m.To, "OPEN STREAMS END")
		for _, c := range m.Classes {
			t.Row(c.Class, strings.Join(c.From, ", "), show.OrDash(strings.Join(c.To, ", ")), c.Ends)
		}
		t.Write(w)
		for _, a := range m.Against {
			what := lang.T("home %s", m.To)
			if a.Class != "" {
				what = lang.T("class %s", a.Class)
			}
			fmt.Fprintln(w, lang.T("! %s: %s", what, string(a.Reason)).In(m.s.Lang()))
		}
		switch {
		case len(m.Against) > 0:
		case m.Done:
			fmt.Fprintln(w, lang.T("The user has moved from %s to %s.", m.From, m.To).In(m.s.Lang()))
		default:
			fmt.Fprintln(w, lang.T("Nothing was changed. The gateways of %s would refuse what names %s.", strings.Join(m.Regions, ", "), m.From).In(m.s.Lang()))
		}
	})
	if err == nil && len(m.Against) > 0 {
		err = exit.Errorf(exit.Forbidden, "the policy forbids the move from %s to %s", m.From, m.To)
	}
	return err
}

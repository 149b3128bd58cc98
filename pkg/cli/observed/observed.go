// Package observed asks Envoys what passed by observation: how many requests, by
// home, class and reason, enforcing the policy in force would have refused.
package observed

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/remote"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/version"
)

// Report is what all Envoys together let pass. An Envoy counts from the moment at
// which it began to observe a home for a class and reason, and forgets when that
// ends or when it is started anew.
type Report struct {
	Envoys   int     `json:"envoys"`
	Requests uint64  `json:"requests"`
	Counts   []Count `json:"counts"` // sorted by home, class and reason
}

// Count is what passed of one home and class, and for what reason the policy
// would have refused it.
type Count struct {
	Home     string `json:"home"`
	Class    string `json:"class"`
	Reason   string `json:"reason"`
	Requests uint64 `json:"requests"`
}

// Source names the Envoys to ask.
type Source struct{ urls []string }

// Flags adds --observed to a command.
func (s *Source) Flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&s.urls, "observed", nil, "say also what passed by observation, as these Envoys (admin URLs, separated by commas) counted; demo: the gateways of --dir")
}

// Asked tells whether anything is to be asked.
func (s *Source) Asked() bool { return len(s.urls) > 0 }

// ofDemo is the word that stands for the gateways of the demo.
const ofDemo = "demo"

// Collect asks the Envoys and adds up. Dir is the directory of the demo, "" for
// none. An Envoy that does not answer is an error: a count without it would be
// taken for the whole.
func (s *Source) Collect(ctx context.Context, cmd *cobra.Command, dir string) (Report, error) {
	urls := s.urls
	if slices.Equal(urls, []string{ofDemo}) {
		if dir == "" {
			return Report{}, session.Usage(cmd, "--observed demo needs --dir, the directory of the demo")
		}
		d, err := session.ReadDemo(dir)
		if err != nil {
			return Report{}, err
		}
		urls = nil
		for _, name := range slices.Sorted(maps.Keys(d.Regions)) {
			urls = append(urls, d.Regions[name].EnvoyAdmin)
		}
	}
	sum := map[Count]uint64{}
	for _, u := range urls {
		base, err := url.Parse(u)
		if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
			return Report{}, session.Usage(cmd, "%q is no URL such as http://127.0.0.1:9901", u)
		}
		if err := ask(ctx, base, sum); err != nil {
			return Report{}, err
		}
	}
	return report(len(urls), sum), nil
}

// total matches the counter of one home, class and reason.
var total = regexp.MustCompile(`^vhost\.[^.]+\.route\.observed\.([^.]+)\.([^.]+)\.([^.]+)\.upstream_rq_total: ([0-9]+)$`)

func ask(ctx context.Context, base *url.URL, sum map[Count]uint64) error {
	c := remote.New(base, nil, version.String())
	c.What = "Envoy"
	body, err := c.Call(ctx, remote.AskTime, "stats", url.Values{"filter": {`^vhost\.[^.]+\.route\.observed\..*\.upstream_rq_total$`}}, nil)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(body)) {
		m := total.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			return exit.Errorf(exit.Findings, "Envoy %s: %q is no counter: is it the admin address of an Envoy?", base, strings.TrimSpace(line))
		}
		n, err := strconv.ParseUint(m[4], 10, 64)
		if err != nil {
			return exit.Errorf(exit.Findings, "Envoy %s: %w", base, err)
		}
		sum[Count{Home: m[1], Class: m[2], Reason: m[3]}] += n
	}
	return nil
}

// report sorts; what never passed is left out.
func report(envoys int, sum map[Count]uint64) Report {
	r := Report{Envoys: envoys, Counts: []Count{}}
	for c, n := range sum {
		if n > 0 {
			c.Requests = n
			r.Requests += n
			r.Counts = append(r.Counts, c)
		}
	}
	slices.SortFunc(r.Counts, func(a, b Count) int {
		return slices.Compare([]string{a.Home, a.Class, a.Reason}, []string{b.Home, b.Class, b.Reason})
	})
	return r
}

// Text writes the report for people.
func (r Report) Text(w io.Writer, l lang.Lang) {
	if r.Requests == 0 {
		fmt.Fprintln(w, lang.T("Under observation, nothing passed at %d Envoys that enforcing would have refused.", r.Envoys).In(l))
		return
	}
	fmt.Fprintln(w, lang.T("Under observation, %d requests passed at %d Envoys that enforcing would have refused:", r.Requests, r.Envoys).In(l))
	t := show.NewTable(lang.T("HOME").In(l), lang.T("CLASS").In(l), lang.T("REASON").In(l), lang.T("REQUESTS").In(l))
	for _, c := range r.Counts {
		t.Row(c.Home, c.Class, c.Reason, strconv.FormatUint(c.Requests, 10))
	}
	t.Write(w)
}

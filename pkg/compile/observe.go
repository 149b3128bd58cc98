package compile

import (
	"slices"
	"strings"
	"time"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// compileToday says where the services were served before Domicile.
func (b *builder) compileToday() {
	for service, addresses := range b.set.Deployment.Today {
		if len(addresses) == 0 {
			continue
		}
		if b.topo.Today == nil {
			b.topo.Today = map[string][]string{}
		}
		b.topo.Today[service] = slices.Compact(slices.Sorted(slices.Values(addresses)))
	}
}

// observe puts a home under observation until its date. Every service that its
// users could be refused at needs a backend of today: what would be refused must
// have a place to go to, or observation would break what it is to watch.
func (b *builder) observe(home string, j *policy.Jurisdiction) {
	if j.Enforcement != "observe" {
		return
	}
	until := j.ObserveUntil
	date := until.UTC().Format(day)
	if !b.at.Before(until) {
		b.warn(j.Pos, CodeObserved, lang.T("write enforcement: enforce, and remove observeUntil"),
			lang.T("the observation of %s ended on %s: its policy is enforced", home, date))
		return
	}
	b.note(until)
	b.spec.Observed = append(b.spec.Observed, home)
	if b.spec.ObserveEnds == nil {
		b.spec.ObserveEnds = map[string]time.Time{}
	}
	b.spec.ObserveEnds[home] = until
	b.needToday(home, j)
	days := lang.T("%d days left", int(until.Sub(b.at)/(24*time.Hour)))
	b.warn(j.Pos, CodeNotEnforced, lang.T("write enforcement: enforce as soon as the counts allow it"),
		lang.T("%s is NOT ENFORCED until %s (%s): what its policy refuses passes to today's backends", home, date, days))
	if until.After(b.at.AddDate(1, 0, 0)) {
		b.warn(j.Pos, CodeObserveLong, lang.T("write an earlier observeUntil"), lang.T("the observation of %s lasts until %s, more than a year from now", home, date))
	}
	if until.Sub(b.at) <= notice {
		b.warn(j.Pos, CodeObserveEnds, lang.T("look at what passes now (domicile plan --observed), and mend the policy or move observeUntil"),
			lang.T("the observation of %s ends on %s: from then on its requests are refused where they pass now", home, date))
	}
}

func (b *builder) needToday(home string, j *policy.Jurisdiction) {
	var missing []string
	for _, r := range b.routes {
		known := r.Subject == residency.SubjectCaller || r.Subject == residency.SubjectUser
		if known && len(b.topo.Today[r.Service]) == 0 && !slices.Contains(missing, r.Service) {
			missing = append(missing, r.Service)
		}
	}
	if len(missing) == 0 {
		return
	}
	list := strings.Join(missing, ", ")
	b.add(policy.Problem{
		Pos: j.Pos, Code: CodeNoToday, Severity: policy.Error,
		Message: lang.T("%s is under observation, and today: of the deployment has no backend for %s", home, list),
		Fix:     lang.T(`add it, as in today: {%s: ["10.9.1.1:8080"]}, or write enforcement: enforce`, missing[0]),
	})
}

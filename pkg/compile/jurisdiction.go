package compile

import (
	"maps"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/residency"
)

// laws returns the law files that a jurisdiction names and that exist.
func (b *builder) laws(j *policy.Jurisdiction) []*law.Law {
	var out []*law.Law
	for _, t := range j.Laws {
		if l := b.set.Laws[t.Value]; l != nil {
			out = append(out, l)
		}
	}
	return out
}

// checkLaws looks up the law files of a jurisdiction and the articles that its
// rules give as their basis.
func (b *builder) checkLaws(home string, j *policy.Jurisdiction) {
	for _, t := range j.Laws {
		switch l := b.set.Laws[t.Value]; {
		case l == nil:
			b.unknownLaw(t, slices.Collect(maps.Keys(b.set.Laws)))
		case l.NotLaw:
			b.govern(home, nil, warning(t.Pos, CodeNotInForce, lang.T("remove it until its law file says that it is in force"),
				lang.T("law %q is not in force: nothing follows from it", t.Value)))
		}
	}
	known := []string{"chosen"}
	for _, l := range b.laws(j) {
		known = append(known, slices.Collect(maps.Keys(l.Articles))...)
	}
	for class, r := range j.Rules {
		if r == nil {
			continue
		}
		if len(r.Basis) == 0 && len(r.Serve) > 0 {
			b.govern(home, []string{class}, warning(r.Pos, CodeNoBasis, lang.T("add basis: [chosen], or the ids of articles"),
				lang.T("the rule of %s for class %s gives no basis", home, class)))
		}
		for _, t := range r.Basis {
			if !slices.Contains(known, t.Value) {
				b.unknown(t, CodeUnknownBasis, lang.T("basis"), known)
			}
		}
	}
}

// compileTransfers works out what each transfer of a jurisdiction reaches.
func (b *builder) compileTransfers(home string, j *policy.Jurisdiction) {
	ids := map[string]policy.Pos{}
	for _, t := range j.Transfers {
		if t == nil {
			continue
		}
		if first, dup := ids[t.ID]; dup {
			b.twice(t.Pos, lang.T("transfer %s of %s", t.ID, home), first)
			continue
		}
		ids[t.ID] = t.Pos
		for _, c := range t.Classes {
			if !b.classes[c.Value] {
				b.unknown(c, CodeUnknownClass, lang.T("class"), slices.Collect(maps.Keys(b.classes)))
			}
		}
		c := &crossing{Transfer: t, home: home, ended: !t.Until.IsZero() && !b.at.Before(t.Until), reach: b.reach(t)}
		b.note(t.Until)
		b.checkMechanism(home, j, c)
		b.transfers[home] = append(b.transfers[home], c)
		b.spec.Transfers = append(b.spec.Transfers, c.spec())
	}
}

// reach expands the destinations of a transfer.
func (b *builder) reach(t *policy.Transfer) map[string]cover {
	out := map[string]cover{}
	for _, to := range t.To {
		if b.set.Groups[to.Value] == nil && !isCode(to.Value) {
			b.unknown(to, CodeUnknownPlace, lang.T("jurisdiction or group"), slices.Collect(maps.Keys(b.set.Groups)))
			continue
		}
		for country, how := range b.expand(to.Value) {
			out[country] = max(out[country], how)
		}
	}
	return out
}

// spec is the transfer as the table holds it: where nothing is reached any more,
// it keeps the destinations that it had and is lapsed.
func (c *crossing) spec() residency.Transfer {
	out := residency.Transfer{
		ID: c.ID, Home: c.home, Classes: unique(c.Classes), For: unique(c.For),
		Mechanism: c.Mechanism, Reference: c.Reference, Until: c.Until,
	}
	var now, before []string
	for country, how := range c.reach {
		switch how {
		case covered:
			now = append(now, country)
		case lapsed:
			before = append(before, country)
		}
	}
	switch {
	case c.ended:
		out.To, out.Lapsed = append(now, before...), true
	case len(now) > 0:
		out.To = now
	default:
		out.To, out.Lapsed = before, len(before) > 0
	}
	return out
}

// freeFlow tells whether none of the laws asks for a mechanism, so that a transfer
// may name any: one of them says so, and no other one lists what it asks for.
func freeFlow(laws []*law.Law) bool {
	free := false
	for _, l := range laws {
		if l.FreeFlow == nil && len(l.Mechanisms) > 0 {
			return false
		}
		free = free || l.FreeFlow != nil
	}
	return free
}

// checkExportLimits warns of destinations to which a law limits exports. It is no
// error: what the law reaches depends on volumes and purposes that no file says.
func (b *builder) checkExportLimits(home string, laws []*law.Law, c *crossing) {
	for _, l := range laws {
		for _, limit := range l.ExportLimits {
			var hit []string
			for _, d := range limit.Destinations {
				for country, how := range b.expand(d.Value) {
					if how == covered && c.reach[country] == covered {
						hit = append(hit, country)
					}
				}
			}
			if len(hit) == 0 || c.ended {
				continue
			}
			b.govern(home, unique(c.Classes), policy.Problem{
				Pos: c.Pos, Code: CodeExportLimit, Severity: policy.Warning,
				Message: lang.T("transfer %s of %s: law %s limits exports to %s", c.ID, home, l.Code, strings.Join(distinct(hit), ", ")),
				Law:     limit.Citation + ": " + limit.Condition,
				Fix:     lang.T("remove these destinations, or make sure that the limit does not reach this transfer"),
			})
		}
	}
}

// checkMechanism refuses a mechanism that none of the jurisdiction's law files
// knows, and adequacy for a destination that none of them calls adequate.
func (b *builder) checkMechanism(home string, j *policy.Jurisdiction, c *crossing) {
	laws := b.laws(j)
	if len(laws) == 0 {
		b.add(policy.Problem{
			Pos: c.Pos, Code: CodeNoLaw, Severity: policy.Warning,
			Message: lang.T("transfer %s of %s: no law file applies, so its mechanism was not checked", c.ID, home),
			Fix:     lang.T("name the law files in law: […]"),
		})
		return
	}
	b.checkExportLimits(home, laws, c)
	var listed []string
	adequate := map[string]cover{}
	for _, l := range laws {
		listed = append(listed, l.Mechanisms...)
		for _, name := range l.Adequate {
			for country, how := range b.expand(name) {
				adequate[country] = max(adequate[country], how)
			}
		}
	}
	if !slices.Contains(listed, c.Mechanism) && !freeFlow(laws) {
		slices.Sort(listed)
		b.add(policy.Problem{
			Pos: c.Pos, Code: CodeMechanism, Severity: policy.Error,
			Message: lang.T("transfer %s of %s: the law files %s list no mechanism %q", c.ID, home, names(laws), c.Mechanism),
			Why:     lang.T("they list %s", strings.Join(slices.Compact(listed), ", ")), Fix: lang.T("use one that they list"),
		})
		return
	}
	if c.Mechanism != "adequacy" {
		return
	}
	var missing []string
	for _, country := range slices.Sorted(maps.Keys(c.reach)) {
		if adequate[country] == uncovered {
			missing = append(missing, country)
			continue // one error for it, none for every rule that relies on it
		}
		c.reach[country] = min(c.reach[country], adequate[country])
	}
	if len(missing) > 0 {
		list := lang.Same(strings.Join(missing[:min(5, len(missing))], ", "))
		if more := len(missing) - 5; more > 0 {
			list = lang.T("%s and %d more", list, more)
		}
		b.add(policy.Problem{
			Pos: c.Pos, Code: CodeNotAdequate, Severity: policy.Error,
			Message: lang.T("transfer %s of %s: the law files %s do not list %s as adequate", c.ID, home, names(laws), list),
			Fix:     lang.T("use another mechanism for these destinations"),
		})
	}
}

func names(laws []*law.Law) string {
	var out []string
	for _, l := range laws {
		out = append(out, l.Code)
	}
	return strings.Join(out, ", ")
}

// compileRules makes the cells of a jurisdiction.
func (b *builder) compileRules(home string, j *policy.Jurisdiction) {
	for _, class := range slices.Sorted(maps.Keys(j.Rules)) {
		r := j.Rules[class]
		if r == nil {
			continue
		}
		if !b.classes[class] {
			b.unknown(policy.Text{Value: class, Pos: r.Pos}, CodeUnknownClass, lang.T("class"), slices.Collect(maps.Keys(b.classes)))
			continue
		}
		b.places[[2]string{home, class}] = r.Pos
		b.spec.Rules = append(b.spec.Rules, b.rule(home, class, j, r))
	}
}

// rule compiles one cell. A rule that serves nowhere is forbidden, so nothing
// enters either.
func (b *builder) rule(home, class string, j *policy.Jurisdiction, r *policy.Rule) residency.Rule {
	out := residency.Rule{Home: home, Class: class, MaxAge: r.MaxAge}
	c := cellOf{home: home, class: class, j: j, r: r}
	out.Serve, out.LapsedServe = b.split(c, forServe, r.Serve)
	entry := r.Entry
	if entry == nil || len(r.Serve) == 0 {
		entry = r.Serve
	}
	out.Entry, out.LapsedEntry = b.split(c, forEntry, entry)
	if r.Cache != nil {
		edges, _ := b.split(c, forCache, r.Cache.Edges)
		if len(edges) > 0 {
			out.Cache = &residency.Cache{Edges: edges, Fields: unique(r.Cache.Fields), TTL: r.Cache.TTL}
		}
	}
	return out
}

// cellOf names the rule that is being compiled.
type cellOf struct {
	home, class string
	j           *policy.Jurisdiction
	r           *policy.Rule
}

// split sorts the regions of a list into those that are permitted now and those
// whose permission has ended; a crossing that nothing ever covered is a gap.
func (b *builder) split(c cellOf, purpose string, list []policy.Text) (live, ended []string) {
	b.known(list)
	for _, t := range list {
		region, ok := b.regions[t.Value]
		if !ok || slices.Contains(live, t.Value) || slices.Contains(ended, t.Value) {
			continue
		}
		how, byEnd := b.allowed(c.home, c.class, region.Country, purpose)
		switch how {
		case covered:
			live = append(live, t.Value)
			continue
		case lapsed:
			ended = append(ended, t.Value)
			if byEnd {
				continue // the transfer itself is reported
			}
		}
		g := gap{home: c.home, region: t.Value, country: region.Country, purpose: purpose, pos: t.Pos, ended: how == lapsed}
		if b.gaps[g] == nil {
			b.gaps[g] = &concerned{}
		}
		b.gaps[g].classes = append(b.gaps[g].classes, c.class)
		b.gaps[g].law = append(b.gaps[g].law, b.cite(c)...)
	}
	return live, ended
}

// cite gives the articles that the author named as the rule's basis, else what the
// jurisdiction's law files are cited as: whose law a crossing would break.
func (b *builder) cite(c cellOf) (out []string) {
	for _, t := range c.r.Basis {
		for _, l := range b.laws(c.j) {
			if a, ok := l.Articles[t.Value]; ok {
				out = append(out, a.Citation)
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, l := range b.laws(c.j) {
		if l.Citation != "" {
			out = append(out, l.Code+": "+l.Citation)
		}
	}
	return out
}

// gap is a crossing that no transfer covers. Rules that share defaults share it.
type gap struct {
	home, region, country, purpose string
	pos                            policy.Pos
	ended                          bool
}

// concerned holds the classes that have a gap, and what their rules cite.
type concerned struct{ classes, law []string }

// kind returns the code of a gap and what its region is for.
func (g gap) kind() (code string, what lang.Text) {
	switch g.purpose {
	case forServe:
		return CodeServeAbroad, lang.T("serving region")
	case forEntry:
		return CodeEntryAbroad, lang.T("entry region")
	default:
		return CodeCacheAbroad, lang.T("cache edge")
	}
}

// reportGaps reports each uncovered crossing once, with all its classes.
func (b *builder) reportGaps() {
	for g, who := range b.gaps {
		list := strings.Join(distinct(who.classes), ", ")
		code, what := g.kind()
		p := policy.Problem{
			Pos: g.pos, Code: code, Severity: policy.Error, Law: strings.Join(distinct(who.law), "; "),
			Message: lang.T("%s of %s users: %s %s is in %s, across a border, and no transfer covers it for %q", list, g.home, what, g.region, g.country, g.purpose),
			Why:     b.near(g),
			Fix:     lang.T("remove %s, or add a transfer to %q of classes [%s] for [%s]", g.region, g.country, list, g.purpose),
		}
		if g.ended {
			p.Code, p.Severity = CodeLapsed, policy.Warning
			p.Message = lang.T("%s of %s users: %s %s is in %s, and what covered it for %q has ended: refused as lapsed", list, g.home, what, g.region, g.country, g.purpose)
		}
		b.add(p)
	}
}

// near explains by the transfer that comes closest to covering a gap.
func (b *builder) near(g gap) lang.Text {
	for _, c := range b.transfers[g.home] {
		if c.reach[g.country] == uncovered {
			continue
		}
		return lang.T("transfer %s (%s:%d) covers classes [%s] for [%s] only", c.ID, c.Pos.File, c.Pos.Line,
			strings.Join(unique(c.Classes), ", "), strings.Join(unique(c.For), ", "))
	}
	at := b.set.Jurisdictions[g.home].Pos
	return lang.T("%s lies in %s; %s has no transfer to %s (%s:%d)", g.home, b.territory(g.home), g.home, g.country, at.File, at.Line)
}

func distinct(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

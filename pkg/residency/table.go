package residency

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Format is the version of the table's meaning; it is part of the Digest, so
// that two versions of Domicile that read a policy differently cannot agree on
// a digest by accident.
const Format = 1

// Subject says whose home governs a request.
type Subject string

// The subjects of DESIGN.md. SubjectCaller: the authenticated caller.
// SubjectUser: the user named in the path. SubjectHost: nobody is known yet,
// the host name's homes govern. SubjectNone: no personal data.
const (
	SubjectCaller Subject = "caller"
	SubjectUser   Subject = "path.user"
	SubjectHost   Subject = "host"
	SubjectNone   Subject = "none"
)

// Match selects requests. Exactly one of PathPrefix, Path, PathTemplate and
// GRPCService is set. A prefix matches whole segments only: /v1/messages takes
// /v1/messages and /v1/messages/5, never /v1/messagesfoo. In a template each
// {name} stands for one non-empty segment. Method and Host, when set, narrow it.
type Match struct {
	PathPrefix   string `json:"pathPrefix,omitempty"`
	Path         string `json:"path,omitempty"`
	PathTemplate string `json:"pathTemplate,omitempty"`
	GRPCService  string `json:"grpcService,omitempty"`
	Method       string `json:"method,omitempty"`
	Host         string `json:"host,omitempty"`
}

// Route assigns a class to requests. Routes are ordered: the first match wins,
// and a request that matches none has no class.
type Route struct {
	Class     string  `json:"class"`
	Match     Match   `json:"match"`
	Subject   Subject `json:"subject"`
	Service   string  `json:"service"`
	LongLived bool    `json:"longLived,omitempty"`
	// Carries lists every class that the stream carries; the strictest rule of
	// them governs. Empty means Class alone.
	Carries []string `json:"carries,omitempty"`
	// Serve lists the regions of a SubjectNone route, in order.
	Serve []string `json:"serve,omitempty"`
}

// Region is a place where we run. It lies in exactly one country.
type Region struct {
	Name    string `json:"name"`
	Country string `json:"country"`
}

// Issuer may name the homes listed, and no others.
type Issuer struct {
	Issuer string   `json:"issuer"`
	Homes  []string `json:"homes"`
}

// Rule is the policy of one home for one class.
type Rule struct {
	Home  string `json:"home"`
	Class string `json:"class"`
	// Serve lists the regions that may serve, in failover order. Empty with
	// LapsedServe empty means Forbidden.
	Serve []string `json:"serve,omitempty"`
	// Entry lists the regions whose gateways may decrypt, sorted.
	Entry []string `json:"entry,omitempty"`
	// LapsedServe and LapsedEntry hold what was allowed until its transfer ended.
	LapsedServe []string `json:"lapsedServe,omitempty"`
	LapsedEntry []string `json:"lapsedEntry,omitempty"`
	// MaxAge bounds a long-lived session; 0 is no bound.
	MaxAge time.Duration `json:"maxAge,omitempty"`
	// Cache is nil where nothing may be cached.
	Cache *Cache `json:"cache,omitempty"`
	// Braked: an emergency denial stands against the class. What it refuses does
	// not pass, not even for a home under observation.
	Braked bool `json:"braked,omitempty"`
	// Stopped lists the regions that a braked rule would serve from: they still say
	// whose host name stands for the home, see MayDecrypt. Nothing is served by it.
	Stopped []string `json:"stopped,omitempty"`
}

// Cache says which edges may hold which fields for how long.
type Cache struct {
	Edges  []string      `json:"edges"`
	Fields []string      `json:"fields"`
	TTL    time.Duration `json:"ttl"`
}

// Transfer is a permitted crossing, already expanded to destination countries.
type Transfer struct {
	ID        string   `json:"id"`
	Home      string   `json:"home"`
	To        []string `json:"to"`
	Classes   []string `json:"classes"`
	For       []string `json:"for"`
	Mechanism string   `json:"mechanism"`
	Reference string   `json:"reference,omitempty"`
	Lapsed    bool     `json:"lapsed,omitempty"`
	// Until is the instant at which it lapses; zero is never. Nothing is decided by
	// it here (Lapsed decides), but a later end lets data out for longer, so that two
	// tables that differ in it are not the same policy.
	Until time.Time `json:"until,omitzero"`
}

// Spec is what a Table is made from. New copies and normalises it: everything
// whose order has no meaning is sorted.
type Spec struct {
	Regions   []Region   `json:"regions"`
	Routes    []Route    `json:"routes"`
	Issuers   []Issuer   `json:"issuers"`
	Rules     []Rule     `json:"rules"`
	Transfers []Transfer `json:"transfers"`
	// Observed lists the homes under observation: what their rules refuse passes to
	// the backends that served before Domicile. Held takes that away again for
	// single routes; only a step of a roll-out (Meet) has any.
	Observed []string `json:"observed,omitempty"`
	// ObserveEnds says when the observation of a home ends. Nothing is decided by it:
	// it is here because a later end is another policy, of which people must hear.
	ObserveEnds map[string]time.Time `json:"observeEnds,omitempty"`
	Held        []Held               `json:"held,omitempty"`
	// Epochs counts, by home, how often all pins of the home were ended; 0 is left out.
	Epochs map[string]uint64 `json:"epochs,omitempty"`
}

// Held are the entries at which a class route of an observed home does not pass.
type Held struct {
	Home    string   `json:"home"`
	Route   int      `json:"route"` // index into Spec.Routes
	Entries []string `json:"entries"`
}

// Table is the compiled policy: immutable, and the zero value denies.
type Table struct {
	spec    Spec
	digest  string
	regions map[string]Region
	homes   map[string]bool
	rules   map[cell]*Rule
	// lanes holds the effective rule of each (home, route) that carries several
	// classes, in the order of spec.Routes.
	lanes    map[lane]*Rule
	issuers  map[string]map[string]bool
	observed map[string]bool
	held     map[lane][]string
	// standing holds, by region, the rules of the homes that its host name stands
	// for in any class.
	standing map[string][]*Rule
}

type cell struct{ home, class string }

type lane struct {
	home  string
	route int
}

// New builds a Table. It refuses what would be ambiguous: two regions, issuers,
// or rules of one name, and rules or routes that name an unknown region.
func New(s Spec) (*Table, error) {
	t := &Table{
		spec:    normalise(s),
		regions: map[string]Region{}, homes: map[string]bool{}, rules: map[cell]*Rule{}, lanes: map[lane]*Rule{},
		issuers: map[string]map[string]bool{}, observed: map[string]bool{}, held: map[lane][]string{},
		standing: map[string][]*Rule{},
	}
	for _, h := range t.spec.Observed {
		t.observed[h] = true
	}
	for _, h := range t.spec.Held {
		t.held[lane{h.Home, h.Route}] = h.Entries
	}
	for _, r := range t.spec.Regions {
		if _, dup := t.regions[r.Name]; dup {
			return nil, fmt.Errorf("region %q is defined twice", r.Name)
		}
		t.regions[r.Name] = r
	}
	for _, i := range t.spec.Issuers {
		if t.issuers[i.Issuer] != nil {
			return nil, fmt.Errorf("issuer %q is defined twice", i.Issuer)
		}
		t.issuers[i.Issuer] = map[string]bool{}
		for _, h := range i.Homes {
			t.issuers[i.Issuer][h], t.homes[h] = true, true
		}
	}
	for i := range t.spec.Rules {
		if err := t.addRule(&t.spec.Rules[i]); err != nil {
			return nil, err
		}
	}
	t.stand()
	for i, r := range t.spec.Routes {
		if err := t.checkRegions(r.Serve); err != nil {
			return nil, fmt.Errorf("class route %s: %w", r.Class, err)
		}
		for home := range t.homes {
			if l := t.merge(home, r); l != nil {
				t.lanes[lane{home, i}] = l
			}
		}
	}
	body, err := json.Marshal(struct {
		Format int  `json:"format"`
		Spec   Spec `json:"spec"`
	}{Format, t.spec})
	if err != nil {
		return nil, fmt.Errorf("encode table: %w", err)
	}
	sum := sha256.Sum256(body)
	t.digest = "sha256:" + hex.EncodeToString(sum[:])
	return t, nil
}

func (t *Table) addRule(r *Rule) error {
	c := cell{r.Home, r.Class}
	if t.rules[c] != nil {
		return fmt.Errorf("home %s has two rules for class %s", r.Home, r.Class)
	}
	for _, list := range [][]string{r.Serve, r.Entry, r.LapsedServe, r.LapsedEntry, r.Stopped} {
		if err := t.checkRegions(list); err != nil {
			return fmt.Errorf("home %s, class %s: %w", r.Home, r.Class, err)
		}
	}
	t.rules[c], t.homes[r.Home] = r, true
	return nil
}

func (t *Table) checkRegions(list []string) error {
	for _, n := range list {
		if _, ok := t.regions[n]; !ok {
			return fmt.Errorf("region %q is not defined", n)
		}
	}
	return nil
}

// merge returns the rule of a route that carries several classes: serve and
// entry are intersected, in the first class's order; a class without a rule, or
// a forbidden one, leaves nothing. It returns nil where one class is carried.
func (t *Table) merge(home string, r Route) *Rule {
	if len(r.Carries) == 0 || (len(r.Carries) == 1 && r.Carries[0] == r.Class) {
		return nil
	}
	var out Rule
	braked, missing := false, false
	for i, c := range r.Carries {
		next := t.rules[cell{home, c}]
		switch {
		case next == nil:
			missing = true
			continue
		case i == 0:
			out = clone(*next)
			out.Cache = nil
		default:
			out = restrict(out, *next)
		}
		braked = braked || next.Braked
	}
	if missing {
		return &Rule{Home: home, Class: "", Braked: braked}
	}
	return &out
}

// restrict keeps of a what b allows too. What only a lapsed transfer of either
// allowed stays visible as lapsed.
func restrict(a, b Rule) Rule {
	out := a
	keep := func(x, xl, y, yl []string) (live, lapsed []string) {
		for _, n := range x {
			switch {
			case slices.Contains(y, n):
				live = append(live, n)
			case slices.Contains(yl, n):
				lapsed = append(lapsed, n)
			}
		}
		for _, n := range xl {
			if slices.Contains(y, n) || slices.Contains(yl, n) {
				lapsed = append(lapsed, n)
			}
		}
		return live, lapsed
	}
	out.Serve, out.LapsedServe = keep(a.Serve, a.LapsedServe, b.Serve, b.LapsedServe)
	out.Entry, out.LapsedEntry = keep(a.Entry, a.LapsedEntry, b.Entry, b.LapsedEntry)
	out.Braked = a.Braked || b.Braked
	if len(b.Stopped) > 0 {
		out.Stopped = b.Stopped
	}
	if out.MaxAge == 0 || (b.MaxAge != 0 && b.MaxAge < out.MaxAge) {
		out.MaxAge = b.MaxAge
	}
	return out
}

func clone(r Rule) Rule {
	r.Serve, r.Entry = slices.Clone(r.Serve), slices.Clone(r.Entry)
	r.LapsedServe, r.LapsedEntry = slices.Clone(r.LapsedServe), slices.Clone(r.LapsedEntry)
	r.Stopped = slices.Clone(r.Stopped)
	if r.Cache != nil {
		c := *r.Cache
		c.Edges, c.Fields = sorted(c.Edges), sorted(c.Fields)
		r.Cache = &c
	}
	return r
}

func sorted(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	out := slices.Clone(in)
	sort.Strings(out)
	return slices.Compact(out)
}

// normalise copies s so that equal meaning gives equal bytes. The order of
// Routes, Carries and Serve is meaning and stays.
func normalise(s Spec) Spec {
	out := Spec{Regions: slices.Clone(s.Regions), Observed: sorted(s.Observed)}
	for _, home := range out.Observed {
		if end, ok := s.ObserveEnds[home]; ok {
			if out.ObserveEnds == nil {
				out.ObserveEnds = map[string]time.Time{}
			}
			out.ObserveEnds[home] = end.UTC().Truncate(time.Second)
		}
	}
	for home, n := range s.Epochs {
		if n > 0 {
			if out.Epochs == nil {
				out.Epochs = map[string]uint64{}
			}
			out.Epochs[home] = n
		}
	}
	sort.Slice(out.Regions, func(i, j int) bool { return out.Regions[i].Name < out.Regions[j].Name })
	for _, r := range s.Routes {
		r.Carries, r.Serve = slices.Clone(r.Carries), slices.Clone(r.Serve)
		out.Routes = append(out.Routes, r)
	}
	for _, i := range s.Issuers {
		out.Issuers = append(out.Issuers, Issuer{i.Issuer, sorted(i.Homes)})
	}
	sort.Slice(out.Issuers, func(i, j int) bool { return out.Issuers[i].Issuer < out.Issuers[j].Issuer })
	for _, r := range s.Rules {
		r = clone(r)
		r.Entry, r.LapsedEntry = sorted(r.Entry), sorted(r.LapsedEntry)
		out.Rules = append(out.Rules, r)
	}
	sort.Slice(out.Rules, func(i, j int) bool {
		a, b := out.Rules[i], out.Rules[j]
		return a.Home < b.Home || a.Home == b.Home && a.Class < b.Class
	})
	for _, x := range s.Transfers {
		x.To, x.Classes, x.For = sorted(x.To), sorted(x.Classes), sorted(x.For)
		out.Transfers = append(out.Transfers, x)
	}
	sort.Slice(out.Transfers, func(i, j int) bool {
		a, b := out.Transfers[i], out.Transfers[j]
		return a.Home < b.Home || a.Home == b.Home && a.ID < b.ID
	})
	for _, h := range s.Held {
		h.Entries = sorted(h.Entries)
		out.Held = append(out.Held, h)
	}
	sort.Slice(out.Held, func(i, j int) bool {
		a, b := out.Held[i], out.Held[j]
		return a.Home < b.Home || a.Home == b.Home && a.Route < b.Route
	})
	return out
}

// Digest returns "sha256:" and the hash of the table's canonical form; "" for
// the zero Table.
func (t *Table) Digest() string { return t.digest }

// Spec returns the normalised Spec. The caller must not change it.
func (t *Table) Spec() Spec { return t.spec }

// Homes returns every home that the table knows by a rule or an issuer, sorted.
func (t *Table) Homes() []string {
	out := make([]string, 0, len(t.homes))
	for h := range t.homes {
		out = append(out, h)
	}
	sort.Strings(out)
	return out
}

// Epoch returns the epoch that a home's pins must carry; 0 where nothing is said.
func (t *Table) Epoch(home string) uint64 {
	if t == nil {
		return 0
	}
	return t.spec.Epochs[home]
}

// Routes returns the class routes in order. The caller must not change them.
func (t *Table) Routes() []Route { return t.spec.Routes }

// Issuers returns the issuers, sorted. The caller must not change them.
func (t *Table) Issuers() []Issuer { return t.spec.Issuers }

// Regions returns the regions, sorted by name. The caller must not change them.
func (t *Table) Regions() []Region { return t.spec.Regions }

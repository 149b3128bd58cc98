// Package starter makes the files of a new policy repository: for each chosen
// home a jurisdiction that serves at home and nowhere else, tests that ask for
// every decision, and what editors and continuous integration need.
//
// What it writes is the strictest policy that works, with the law of each home as
// comments in English and Chinese. It is pure: the same choices on the same day
// give the same bytes. Addresses, host names and keys are examples.
package starter

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/law"
	"github.com/domicile-dev/domicile/pkg/policy/schema"
)

// Input is what is chosen.
type Input struct {
	Set     *policy.Set // the shipped law files and groups
	Codes   []string    // of homes, each with a law file
	Regions []Region    // of the operator; the others that the homes need are made up
	Today   time.Time
	JWKS    []byte // a key set of the example issuer, public keys only
	Release string // of Domicile, for continuous integration: a tag or a branch
}

// Classes are the classes of the starter's deployment whose requests belong to a
// user.
var Classes = []string{"login", "presence", "message", "relation", "profile"}

// Homes lists the codes that may be chosen: those that have a law file and are
// the home of somebody, which a union is not.
func Homes(set *policy.Set) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(set.Laws)), func(code string) bool { return code == "EU" })
}

// Region is a region that the operator has: a name of the form that policy files
// take, no two alike, and a code of ISO 3166-1.
type Region struct{ Name, Country string }

// region is a region of the starter's deployment.
type region struct {
	Region
	Host  string
	Index int // from 1
}

// home is a chosen home and where it is served.
type home struct {
	Code, File string
	Region     region
	Laws       []string
	Law        *law.Law
}

type data struct {
	Input
	Regions []region // those of the input first
	Homes   []home
}

//go:embed files
var files embed.FS

// Files returns the files by slash path. Its error is a code without a law file.
func Files(in Input) (map[string][]byte, error) {
	d := data{Input: in}
	for _, r := range in.Regions {
		d.add(r, r.Name)
	}
	for _, code := range in.Codes {
		l := in.Set.Laws[code]
		if l == nil {
			return nil, fmt.Errorf("make starter: no law file of %q", code)
		}
		d.Homes = append(d.Homes, home{Code: code, File: strings.ToLower(code), Region: d.regionOf(code), Laws: lawsOf(in.Set, l), Law: l})
	}
	out := map[string][]byte{"jwks.json": in.JWKS}
	for name, source := range layout {
		text, err := render(source, d)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	for _, h := range d.Homes {
		out["jurisdictions/"+h.File+".yaml"] = d.jurisdiction(h)
		out["jurisdictions/"+h.File+"_test.yaml"] = d.tests(h)
	}
	schemas, err := schema.All()
	if err != nil {
		return nil, fmt.Errorf("make starter: %w", err)
	}
	for name, text := range schemas {
		out["schema/"+name] = text
	}
	return out, nil
}

// layout is where each template goes.
var layout = map[string]string{
	"deployment.yaml":              "deployment.yaml",
	"deployment_test.yaml":         "deployment_test.yaml",
	"README.md":                    "readme.md",
	"CODEOWNERS":                   "codeowners",
	".gitignore":                   "gitignore",
	".gitattributes":               "gitattributes",
	".pre-commit-config.yaml":      "pre-commit-config.yaml",
	".github/workflows/policy.yml": "github-workflow.yml",
	".gitlab-ci.yml":               "gitlab-ci.yml",
	".vscode/extensions.json":      "vscode-extensions.json",
	".vscode/tasks.json":           "vscode-tasks.json",
}

// render fills a template. The delimiters are not those of GitHub's expressions.
func render(source string, d data) ([]byte, error) {
	text, err := files.ReadFile("files/" + source)
	if err != nil {
		return nil, fmt.Errorf("make starter: %w", err)
	}
	funcs := template.FuncMap{"modeline": schema.Modeline, "join": strings.Join}
	t, err := template.New(source).Delims("[[", "]]").Funcs(funcs).Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("make starter: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("make starter: %w", err)
	}
	return b.Bytes(), nil
}

// regionOf returns the region that serves a home: one in its country, or one for
// all homes between which no border is crossed. It makes one up where there is none.
func (d *data) regionOf(code string) region {
	country, _, _ := strings.Cut(code, "-")
	for _, r := range d.Regions {
		if r.Country == country {
			return r
		}
	}
	host := strings.ToLower(country)
	if g := d.freely(country); g != nil {
		host = strings.ToLower(g.Name)
	}
	for _, r := range d.Regions {
		if !d.border(country, r.Country) {
			return r
		}
	}
	base, name := host, host+"-1"
	for n := 2; slices.ContainsFunc(d.Regions, func(r region) bool { return r.Name == name || r.Host == host }); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
		host = name
	}
	return d.add(Region{name, country}, host)
}

func (d *data) add(r Region, host string) region {
	out := region{Region: r, Host: host, Index: len(d.Regions) + 1}
	d.Regions = append(d.Regions, out)
	return out
}

// border tells whether data that goes from one country to another crosses a border.
func (d *data) border(from, to string) bool {
	g := d.freely(from)
	return from != to && (g == nil || !member(g, to, d.Today))
}

// freely is the group of free movement that a country belongs to, if any.
func (d *data) freely(country string) *law.Group {
	for _, g := range slices.SortedFunc(maps.Values(d.Set.Groups), func(a, b *law.Group) int { return cmp.Compare(a.Name, b.Name) }) {
		if g.FreeMovement && member(g, country, d.Today) {
			return g
		}
	}
	return nil
}

func member(g *law.Group, code string, at time.Time) bool {
	return slices.ContainsFunc(g.Members, func(m law.GroupMember) bool {
		return m.Code == code && !at.Before(m.Since) && (m.Until.IsZero() || at.Before(m.Until))
	})
}

// lawsOf lists the law files of a home, the most general first; not those that are
// not in force, unless there is no other.
func lawsOf(set *policy.Set, l *law.Law) []string {
	var out []string
	for at := l; at != nil && !slices.Contains(out, at.Code); at = set.Laws[at.Adds] {
		if !at.NotLaw {
			out = append([]string{at.Code}, out...)
		}
	}
	if len(out) == 0 {
		return []string{l.Code}
	}
	return out
}

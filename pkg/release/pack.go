package release

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/compile"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/policies"
)

// library is where a bundle keeps the shipped law files that it was compiled
// with, so that every version of Domicile compiles it alike.
const library = "library/"

// denialsFile is where the emergency brake stands.
const denialsFile = "denials.yaml"

// Pack makes the bundle of a policy directory: the files that count, and of the
// shipped library what they name. It is nil when reading them found errors, which
// are among the problems; whether they compile is not asked.
func Pack(fsys fs.FS) (*bundle.Bundle, []policy.Problem, error) {
	set, problems := policy.Parse(fsys, policies.Shipped())
	if policy.HasErrors(problems) {
		return nil, problems, nil
	}
	b, err := PackSet(set)
	return b, problems, err
}

// PackSet makes the bundle of a set that was read without an error.
func PackSet(set *policy.Set) (*bundle.Bundle, error) {
	files := maps.Clone(set.Files)
	shipped := policies.Shipped()
	names := []string{"groups.yaml"}
	for _, code := range laws(set) {
		names = append(names, "law/"+strings.ToLower(code)+".yaml")
	}
	for name, own := range files { // copies of shipped files go with the library
		if data, err := fs.ReadFile(shipped, name); err == nil && bytes.Equal(own, data) && (name == "groups.yaml" || strings.HasPrefix(name, "law/")) {
			delete(files, name)
		}
	}
	for _, name := range names {
		if _, own := files[name]; own && name != "groups.yaml" {
			continue // the operator's own law file
		}
		data, err := fs.ReadFile(shipped, name)
		if err != nil {
			return nil, fmt.Errorf("pack the policies: %w", err)
		}
		files[library+name] = data
	}
	b, err := bundle.New(files)
	if err != nil {
		return nil, fmt.Errorf("pack the policies: %w", err)
	}
	return b, nil
}

// laws lists the law files that a set uses, with those that they add to, sorted.
func laws(set *policy.Set) []string {
	used := map[string]bool{}
	var use func(code string)
	use = func(code string) {
		l := set.Laws[code]
		if l == nil || used[code] {
			return
		}
		used[code] = true
		use(l.Adds)
	}
	for _, j := range set.Jurisdictions {
		for _, l := range j.Laws {
			use(l.Value)
		}
	}
	return slices.Sorted(maps.Keys(used))
}

// Of returns the input that compiles a bundle: its files, and the library that it
// was packed with; a bundle without one is compiled with the shipped library.
func Of(b *bundle.Bundle) Input {
	own, shipped := fstest.MapFS{}, fstest.MapFS{}
	for name, data := range b.Files() {
		if rest, ok := strings.CutPrefix(name, library); ok {
			shipped[rest] = &fstest.MapFile{Data: data}
		} else {
			own[name] = &fstest.MapFile{Data: data}
		}
	}
	in := Input{FS: own}
	if len(shipped) > 0 {
		in.Library = shipped
	}
	return in
}

// Tests runs the policy tests of a release that has a table. They say what the
// rules mean, so the emergency brake does not count: while it is pulled the tests
// of what it forbids must not stand in the way of other changes.
func Tests(r *Release, at time.Time) policytest.Report {
	table := r.Table
	if len(r.Set.Denials) > 0 {
		rules := *r.Set
		rules.Denials = nil
		if plain, _ := compile.Compile(&rules, at); plain != nil {
			table = plain.Table
		}
	}
	return policytest.Run(r.Set, table)
}

// Lawful tells whether each law file that a bundle carries is one of those that
// ship with this version, or stands in an older bundle, which may be nil, alike.
func Lawful(b, older *bundle.Bundle) bool { return len(OtherLaw(b, older)) == 0 }

// OtherLaw lists the law files of which Lawful is not true, sorted.
func OtherLaw(b, older *bundle.Bundle) (names []string) {
	var known map[string][]byte
	if older != nil {
		known = older.Files()
	}
	shipped := policies.Shipped()
	for name, data := range b.Files() {
		rest, ok := strings.CutPrefix(name, library)
		if !ok || bytes.Equal(known[name], data) {
			continue
		}
		if ours, err := fs.ReadFile(shipped, rest); err != nil || !bytes.Equal(ours, data) {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return names
}

// WithDenials returns a bundle like b in which exactly these denials stand.
func WithDenials(b *bundle.Bundle, denials []policy.Denial) (*bundle.Bundle, error) {
	files := b.Files()
	delete(files, denialsFile)
	if len(denials) > 0 {
		files[denialsFile] = render(denials)
	}
	out, err := bundle.New(files)
	if err != nil {
		return nil, fmt.Errorf("pack the denials: %w", err)
	}
	return out, nil
}

// Union returns the denials of both lists, one for each home and class, those of
// the first first.
func Union(a, b []policy.Denial) []policy.Denial {
	out := slices.Clone(a)
	for _, d := range b {
		if !Denied(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// Denied tells whether a list holds a denial of the same home and class.
func Denied(list []policy.Denial, d policy.Denial) bool {
	return slices.ContainsFunc(list, func(x policy.Denial) bool { return x.Home == d.Home && x.Class == d.Class })
}

func render(denials []policy.Denial) []byte {
	var b strings.Builder
	b.WriteString("# The emergency brake. Written by domicile deny; lifted by domicile deny --lift.\napiVersion: domicile.dev/v1\nkind: Denials\nspec:\n  denials:\n")
	for _, d := range denials {
		classes := ""
		if d.Class != "" {
			classes = ", classes: [" + d.Class + "]"
		}
		fmt.Fprintf(&b, "    - {home: %q%s, reason: %q, by: %q, at: %s}\n", d.Home, classes, d.Reason, d.By, d.At.UTC().Format(time.RFC3339))
	}
	return []byte(b.String())
}

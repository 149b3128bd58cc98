package policy

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/place"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/law"
)

// The bounds of one run.
const (
	// MaxFileSize is how much one file may hold, in bytes.
	MaxFileSize = yamlpos.MaxSize
	// MaxFiles is how many policy files one directory may hold.
	MaxFiles = 2000
	// MaxProblems is how many problems one run reports; the last one says that
	// there are more.
	MaxProblems = 1000
)

// APIVersion is what every file states.
const APIVersion = "domicile.dev/v1"

// The kinds of file.
const (
	kindLaw          = "Law"
	kindGroups       = "Groups"
	kindDeployment   = "Deployment"
	kindJurisdiction = "Jurisdiction"
	kindTest         = "PolicyTest"
	kindWaiver       = "Waiver"
	kindDenials      = "Denials"
)

var kinds = []string{kindLaw, kindGroups, kindDeployment, kindJurisdiction, kindTest, kindWaiver, kindDenials}

// Parse reads a policy directory. Shipped is the library in the binary, of which
// law/ and groups.yaml are merged in; it may be nil. The Set is never nil; it
// must not be used when HasErrors(problems). Problems are sorted by file, line
// and column; a file that cannot be read is a problem too.
func Parse(fsys, shipped fs.FS) (set *Set, problems []Problem) {
	set, problems, _ = Reading{}.Parse(fsys, shipped)
	return set, problems
}

func (p *parser) run(shipped fs.FS) (set *Set, problems []Problem) {
	defer func() {
		if r := recover(); r != nil {
			p.add(Problem{
				Pos: Pos{File: cmp.Or(p.current, "."), Line: 1, Column: 1}, Code: codes.Internal, Severity: Error,
				Message: lang.T("reading this file ended in a bug of Domicile: %v", r),
				Fix:     lang.T("report it with the file"),
			})
		}
		set, problems = p.set, p.finish()
	}()
	p.load(shipped)
	p.learn()
	for _, d := range p.docs {
		if p.current = d.file; p.ended() {
			return p.set, nil
		}
		p.read(d)
	}
	p.current = ""
	p.check()
	return p.set, nil
}

// document is one YAML file that has been turned into a tree.
type document struct {
	file    string // as problems name it
	kind    string // by its place
	shipped bool
	src     []byte
	root    *yamlpos.Node
}

// parser holds one run.
type parser struct {
	fsys     fs.FS
	set      *Set
	docs     []document
	found    []string // own .yaml files that have no place in the layout
	dirs     []string // own directories that are named like a policy file
	current  string
	problems []Problem

	known   place.Known         // beside the countries
	lawFrom map[string]document // where a law was defined
	groups  map[string]document // where a group was defined
	uses    []classUse          // classes named outside the deployment
	homes   map[string]Pos      // where a jurisdiction was defined
	userDir string              // the directory's file

	trees   *Trees
	stop    func() bool // nil: never
	stopped bool
}

// ended asks whether to go on.
func (p *parser) ended() bool {
	p.stopped = p.stopped || p.stop != nil && p.stop()
	return p.stopped
}

func newParser(fsys fs.FS) *parser {
	return &parser{
		fsys: fsys,
		set: &Set{
			Laws: map[string]*law.Law{}, Groups: map[string]*law.Group{}, Jurisdictions: map[string]*Jurisdiction{},
			Files: map[string][]byte{},
		},
		known: place.Known{Special: map[string]bool{}, Groups: map[string][]string{}}, lawFrom: map[string]document{}, groups: map[string]document{},
		homes: map[string]Pos{},
	}
}

func (p *parser) add(x Problem) {
	if x.Severity == "" {
		x.Severity = Error
	}
	if len(p.problems) <= MaxProblems*4 {
		p.problems = append(p.problems, x)
	}
}

func (p *parser) finish() []Problem {
	Sort(p.problems)
	p.problems = slices.CompactFunc(p.problems, func(a, b Problem) bool { return a == b })
	if len(p.problems) <= MaxProblems {
		return p.problems
	}
	// An error must survive the cut.
	slices.SortStableFunc(p.problems, func(a, b Problem) int { return cmp.Compare(a.Severity, b.Severity) })
	kept := p.problems[:MaxProblems-1]
	Sort(kept)
	last := kept[len(kept)-1].Pos
	return append(kept, Problem{
		Pos: last, Code: codes.TooManyProblems, Severity: Error,
		Message: lang.T("more than %d problems; the rest is not shown", MaxProblems-1),
		Fix:     lang.T("mend these first"),
	})
}

// load finds the files by the layout and turns them into trees.
func (p *parser) load(shipped fs.FS) {
	if shipped != nil {
		p.loadFrom(shipped, true)
	}
	p.loadFrom(p.fsys, false)
}

func (p *parser) loadFrom(fsys fs.FS, shipped bool) {
	names := p.list(fsys, ".", shipped)
	for _, name := range names {
		switch {
		case name == "groups.yaml":
			p.open(fsys, name, kindGroups, shipped)
		case shipped:
		case name == "deployment.yaml":
			p.open(fsys, name, kindDeployment, shipped)
		case name == "denials.yaml":
			p.open(fsys, name, kindDenials, shipped)
		case strings.HasSuffix(name, "_test.yaml"):
			p.open(fsys, name, kindTest, shipped)
		default:
			p.found = append(p.found, name)
		}
	}
	for _, name := range p.list(fsys, "law", shipped) {
		if !shipped && (path.Dir(name) != "law" || path.Ext(name) != ".yaml") {
			p.found = append(p.found, name)
			continue
		}
		p.open(fsys, name, kindLaw, shipped)
	}
	if shipped {
		return
	}
	if _, err := fs.Stat(fsys, "library"); err == nil {
		p.add(Problem{
			Pos: top("library"), Code: codes.NotRead, Message: lang.T("library/ is what bundles carry: the law that they were packed with"),
			Fix: lang.T("remove it; law files of your own go to law/"),
		})
	}
	for _, name := range p.list(fsys, "jurisdictions", false) {
		switch {
		case path.Dir(name) != "jurisdictions" || path.Ext(name) != ".yaml":
			p.found = append(p.found, name)
		case strings.HasSuffix(name, "_test.yaml"):
			p.open(fsys, name, kindTest, false)
		default:
			p.open(fsys, name, kindJurisdiction, false)
		}
	}
	for _, name := range p.list(fsys, "waivers", false) {
		if path.Dir(name) != "waivers" || path.Ext(name) != ".yaml" {
			p.found = append(p.found, name)
			continue
		}
		p.open(fsys, name, kindWaiver, false)
	}
}

// list returns the YAML files of a directory: of "." those directly in it, of
// others those of its subdirectories too, so that none is overlooked in silence.
func (p *parser) list(fsys fs.FS, dir string, shipped bool) (names []string) {
	err := fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == dir && dir != "." && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			p.add(Problem{Pos: top(p.place(name, shipped)), Code: codes.Unreadable, Message: lang.T("this cannot be read: %s", cause(err)),
				Fix: lang.T("make it readable, or remove it")})
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case name == dir:
			return nil
		case strings.HasPrefix(path.Base(name), "."), d.IsDir() && dir == ".":
			if !d.IsDir() {
				return nil
			}
			if !shipped && isYAML(name) && path.Base(name)[0] != '.' {
				p.dirs = append(p.dirs, name)
			}
			return fs.SkipDir
		case d.IsDir():
			if !shipped && isYAML(name) {
				p.dirs = append(p.dirs, name)
			}
			return nil
		}
		if isYAML(name) {
			names = append(names, name)
		}
		if len(names) > MaxFiles {
			p.add(Problem{Pos: top(p.place(name, shipped)), Code: codes.TooLarge,
				Message: lang.T("more than %d policy files in %s; none of them was read", MaxFiles, dir), Fix: lang.T("split the repository")})
			names = nil
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		p.add(Problem{Pos: top(p.place(dir, shipped)), Code: codes.Unreadable, Message: lang.T("this cannot be read: %s", cause(err)), Fix: lang.T("make it readable, or remove it")})
	}
	return names
}

// isYAML tells whether a name ends like that of a YAML file.
func isYAML(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".yaml" || ext == ".yml"
}

// top is the first place of a file.
func top(file string) Pos { return Pos{File: file, Line: 1, Column: 1} }

// place is how problems name a file.
func (p *parser) place(name string, shipped bool) string {
	if shipped {
		return "(shipped)/" + name
	}
	return name
}

// cause says why a file could not be read, without the path, which stands beside it.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}

// slurp reads a file, at most MaxFileSize of it; a larger one is a problem.
func (p *parser) slurp(fsys fs.FS, name, file string, at Pos) ([]byte, bool) {
	src, size, err := readFile(fsys, name)
	if err != nil {
		p.add(Problem{Pos: at, Code: codes.Unreadable, Message: lang.T("%s cannot be read: %s", file, cause(err)),
			Fix: lang.T("make it readable, or remove it")})
		return nil, false
	}
	if size > MaxFileSize {
		p.add(Problem{Pos: at, Code: codes.TooLarge, Message: lang.T("%s has %d bytes; the limit of one file is 1 MiB (%d bytes)", file, size, MaxFileSize),
			Fix: lang.T("split it; it was not parsed")})
		return nil, false
	}
	return src, true
}

// readFile reads a regular file. Where size is more than MaxFileSize, the content
// is not to be used. It looks before it opens: opening a pipe would wait for ever.
func readFile(fsys fs.FS, name string) (src []byte, size int64, err error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("it is no regular file")
	}
	if info.Size() > MaxFileSize {
		return nil, info.Size(), nil
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	src, err = io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	return src, int64(len(src)), err
}

func (p *parser) open(fsys fs.FS, name, kind string, shipped bool) {
	d := document{file: p.place(name, shipped), kind: kind, shipped: shipped}
	if p.current = d.file; p.ended() {
		return
	}
	src, ok := p.slurp(fsys, name, d.file, top(d.file))
	if !ok {
		return
	}
	if d.src = src; !shipped {
		p.set.Files[name] = src
	}
	root, faults := p.trees.parse(src)
	for _, f := range faults {
		p.fault(d.file, f)
	}
	if d.root = root; root == nil {
		if len(faults) == 0 {
			p.add(Problem{Pos: top(d.file), Code: codes.EmptyFile, Message: lang.T("the file is empty"),
				Fix: lang.T("write a %s, or remove the file", kind)})
		}
		return
	}
	p.docs = append(p.docs, d)
}

// learn collects what other files may refer to, before any is read.
func (p *parser) learn() {
	for _, d := range p.docs {
		switch d.kind {
		case kindLaw:
			if name := d.root.Get("metadata").Get("name"); name != nil && place.IsSpecial(name.Value) {
				p.known.Special[name.Value] = true
			}
		case kindGroups:
			groups := d.root.Get("spec").Get("groups")
			if groups == nil {
				continue
			}
			for _, g := range groups.Items {
				name := g.Get("name")
				if name == nil || name.Value == "" {
					continue
				}
				var members []string
				if list := g.Get("members"); list != nil {
					for _, m := range list.Items {
						if c := m.Get("code"); c != nil {
							members = append(members, c.Value)
						}
					}
				}
				p.known.Groups[name.Value] = members
			}
		}
	}
}

// read turns one tree into the model.
func (p *parser) read(d document) {
	r := newReader(p, d)
	root := r.Object(d.root, "the file")
	if root == nil || !r.header(root) {
		return
	}
	r.body(d.kind, root)
}

// body reads what follows the header.
func (r *reader) body(kind string, root *object) {
	switch kind {
	case kindLaw:
		r.keepLaw(law.Read(r.Reader, root, r.p.known))
	case kindGroups:
		law.ReadGroups(r.Reader, root, r.p.known, r.keepGroup)
	case kindDeployment:
		r.deployment(root)
	case kindJurisdiction:
		r.jurisdiction(root)
	case kindTest:
		r.test(root)
	case kindWaiver:
		r.waiver(root)
	case kindDenials:
		r.denials(root)
	}
}

// check is what can be said only when every file has been read.
func (p *parser) check() {
	delete(p.set.Files, p.userDir)
	p.set.sortExceptions()
	slices.SortFunc(p.set.Tests, func(a, b *PolicyTest) int { return cmp.Compare(a.Pos.File, b.Pos.File) })
	for _, name := range p.found {
		if name == p.userDir || p.isKeySet(name) {
			continue
		}
		fix := lang.T("move it to law/, jurisdictions/ or waivers/, or rename it so that it is no YAML file")
		if path.Ext(name) != ".yaml" {
			fix = lang.T("rename it to end in .yaml")
		}
		p.add(Problem{Pos: top(name), Code: codes.NotRead, Severity: Warning, Message: lang.T("this file is not read: it has no place in the layout"), Fix: fix})
	}
	for _, name := range p.dirs {
		p.add(Problem{Pos: top(name), Code: codes.NotRead, Severity: Warning, Message: lang.T("this is a directory, and is not read as a policy file"),
			Fix: lang.T("make it a file, or rename it so that it does not end in %s", path.Ext(name))})
	}
	if p.set.Deployment == nil {
		if !slices.ContainsFunc(p.problems, func(x Problem) bool { return x.File == "deployment.yaml" && x.Severity == Error }) {
			p.add(Problem{Pos: top("deployment.yaml"), Code: codes.NoDeployment, Message: lang.T("there is no deployment.yaml"),
				Fix: lang.T("write one: the regions where you run, the classes of your requests, the issuers of tokens")})
		}
		return
	}
	p.checkClasses()
	p.checkServices()
}

func (p *parser) isKeySet(name string) bool {
	d := p.set.Deployment
	return d != nil && (slices.ContainsFunc(d.Issuers, func(i Issuer) bool { return i.JWKSFile == name }) ||
		slices.ContainsFunc(d.Regions, func(x Region) bool { return x.PinKeys.File == name }))
}

// classUse is a place that names a class of the deployment.
type classUse struct {
	class Text
	where lang.Text
}

// checkClasses refuses classes that no route of the deployment knows.
func (p *parser) checkClasses() {
	known := map[string]bool{}
	var names []string
	for _, c := range p.set.Deployment.Classes {
		names = append(names, c.Class)
		for _, x := range c.Carries {
			names = append(names, x.Value)
		}
	}
	for _, n := range names {
		known[n] = true
	}
	if len(known) == 0 {
		return
	}
	for _, u := range p.uses {
		if !known[u.class.Value] {
			p.add(Problem{Pos: u.class.Pos, Code: codes.UnknownClass,
				Message: lang.T("%s names class %q, which the deployment does not define", u.where, u.class.Value),
				Why:     lang.T("a class is defined by a route in deployment.yaml, or by carries of one"),
				Fix:     form.Suggest(u.class.Value, names, lang.T("add a route for it to deployment.yaml, or remove it here"))})
		}
	}
}

// checkServices refuses services that no region has, where a name of one is given.
func (p *parser) checkServices() {
	var known []string
	for _, r := range p.set.Deployment.Regions {
		known = slices.AppendSeq(known, maps.Keys(r.Backends))
	}
	slices.Sort(known)
	known = slices.Compact(known)
	check := func(at Pos, service string) {
		if service != "" && !slices.Contains(known, service) {
			p.add(Problem{Pos: at, Code: codes.UnknownService, Message: lang.T("service %q has no backend in any region", service),
				Fix: form.Suggest(service, known, lang.T("add it to the backends of its regions"))})
		}
	}
	for _, s := range p.set.Deployment.Streams {
		check(s.Service.Pos, s.Service.Value)
	}
	for _, i := range p.set.Deployment.Issuers {
		if i.Whoami != nil {
			check(i.Pos, i.Whoami.Service)
		}
	}
}

package policy

import (
	"io/fs"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

// mostRemembered is how many bytes of files a Trees holds from one run to the
// next. A tree takes some ten times its file; no honest policy comes near it.
const mostRemembered = 8 << 20

// Trees remembers the files of the run before, taken apart, so that the next one
// reads only those that changed. A file is known by its whole content, and what
// it means in the set is worked out anew each time: the result is that of Parse.
// The zero Trees is ready; it must not be used concurrently.
type Trees struct {
	last, now map[string]tree // by content
	held      int             // bytes of now
}

type tree struct {
	root   *yamlpos.Node // never changed
	faults []yamlpos.Fault
}

// begin forgets what the run before the last one left behind.
func (t *Trees) begin() { t.last, t.now, t.held = t.now, map[string]tree{}, 0 }

func (t *Trees) parse(src []byte) (*yamlpos.Node, []yamlpos.Fault) {
	x, ok := t.now[string(src)]
	if ok {
		return x.root, x.faults
	}
	if x, ok = t.last[string(src)]; !ok {
		x.root, x.faults = yamlpos.Parse(src)
	}
	if t.held+len(src) <= mostRemembered {
		t.now[string(src)] = x
		t.held += len(src)
	}
	return x.root, x.faults
}

// Reading says how Parse works; the zero Reading is that of the function Parse.
type Reading struct {
	Trees *Trees // nil: nothing is remembered
	// Stop is asked before each file; where it is true the work is given up. Nil
	// means never.
	Stop func() bool
}

// Parse is the function Parse; done is false, and the rest of no use, where Stop
// ended it.
func (r Reading) Parse(fsys, shipped fs.FS) (set *Set, problems []Problem, done bool) {
	p := newParser(fsys)
	if r.Trees == nil {
		r.Trees = new(Trees)
	}
	r.Trees.begin()
	p.trees, p.stop = r.Trees, r.Stop
	set, problems = p.run(shipped)
	if p.stopped {
		return newParser(nil).set, nil, false
	}
	return set, problems, true
}

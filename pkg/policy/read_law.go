package policy

import (
	"bytes"
	"reflect"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/law"
)

// keepLaw enters a law. The shipped library is read first; an operator's copy of
// one of its files takes its place when it is identical, else it is an error:
// two truths about one law cannot both be cited.
func (r *reader) keepLaw(l *law.Law) {
	if l.Code == "" {
		return
	}
	if first, found := r.p.lawFrom[l.Code]; found && !(first.shipped && !r.doc.shipped && bytes.Equal(first.src, r.doc.src)) {
		fix, how := lang.T("keep one of the two files"), lang.Text{}
		if first.shipped {
			how = lang.T(", and not as in the shipped library")
			fix = lang.T("remove this file, or make it identical to the shipped one")
		}
		r.p.add(Problem{Pos: l.Pos, Code: codes.LawTwice, Message: lang.T("law %q is defined twice%s", l.Code, how),
			Why: firstAt(r.p.set.Laws[l.Code].Pos), Fix: fix})
		return
	}
	r.p.lawFrom[l.Code] = r.doc
	r.p.set.Laws[l.Code] = l
}

// keepGroup enters a group. A copy of a shipped one is no duplicate.
func (r *reader) keepGroup(g *law.Group, name Pos) {
	first, found := r.p.set.Groups[g.Name]
	if found {
		from := r.p.groups[g.Name]
		same := *first
		same.Pos = g.Pos
		if !from.shipped || r.doc.shipped || !reflect.DeepEqual(same, *g) {
			r.p.add(Problem{Pos: name, Code: codes.GroupTwice, Message: lang.T("group %q is defined twice", g.Name),
				Why: firstAt(first.Pos), Fix: lang.T("remove one, or give it a name of its own")})
			return
		}
	}
	r.p.groups[g.Name] = r.doc
	r.p.set.Groups[g.Name] = g
}

package compile

import (
	"fmt"
	"slices"

	"github.com/domicile-dev/domicile/pkg/policy"
)

// unknown reports a name that means nothing, with the nearest one that does.
func (b *builder) unknown(t policy.Text, code, what string, candidates []string) {
	p := policy.Problem{
		Pos: t.Pos, Code: code, Severity: policy.Error,
		Message: fmt.Sprintf("unknown %s %q", what, t.Value), Fix: "define it, or remove it here",
	}
	if n := nearest(t.Value, candidates); n != "" {
		p.Fix = fmt.Sprintf("did you mean %q?", n)
	}
	b.add(p)
}

// nearest returns the candidate within few edits of name, the first in order of
// the alphabet among equals, or "" when none is near.
func nearest(name string, candidates []string) string {
	best, limit := "", (len(name)+2)/3+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(name, c); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// Package nearest finds the known word that an author most likely meant when a
// name means nothing. Every "did you mean" about policy files comes from here, so
// that all of them agree on what is near.
//
// It is pure, cannot fail, and is safe for concurrent use. Its cost grows with
// the product of the lengths of the two words; words of more than 128 bytes are
// near nothing.
package nearest

import (
	"cmp"
	"slices"
	"strings"
)

// maxLength bounds the words that are compared, in bytes.
const maxLength = 128

// Word returns the candidate that is nearest to name, the first in alphabetical
// order among equals, or "" when none is near. Capitals make no difference. Two
// neighbouring letters that changed places count as one mistake, as do a letter
// too many, one missing and one that is wrong. A word may have one mistake in
// every three letters, but fewer than half of its letters wrong.
func Word(name string, candidates []string) string {
	if near := Words(name, candidates, 1); len(near) > 0 {
		return near[0]
	}
	return ""
}

// Words returns at most n candidates that are near in the sense of Word, the
// nearest first, in alphabetical order among equals.
func Words(name string, candidates []string, n int) []string {
	if len(name) > maxLength {
		return nil
	}
	type found struct {
		word     string
		mistakes int
	}
	var near []found
	word := []rune(strings.ToLower(name))
	for _, c := range slices.Compact(slices.Sorted(slices.Values(candidates))) {
		if len(c) > maxLength {
			continue
		}
		other := []rune(strings.ToLower(c))
		d, longer := distance(word, other), max(len(word), len(other))
		// One mistake in a word of two letters is half of it: SB for SA.
		if d < (len(word)+2)/3+1 && (2*d < longer || d == 1 && longer == 2) {
			near = append(near, found{c, d})
		}
	}
	slices.SortStableFunc(near, func(a, b found) int { return cmp.Compare(a.mistakes, b.mistakes) })
	var out []string
	for _, f := range near[:min(n, len(near))] {
		out = append(out, f.word)
	}
	return out
}

// Sure is Word where one candidate is nearer than every other one; else "".
func Sure(name string, candidates []string) string {
	best := Word(name, candidates)
	other := Word(name, slices.DeleteFunc(slices.Clone(candidates), func(c string) bool { return c == best }))
	if other != "" && measure(name, other) <= measure(name, best) {
		return ""
	}
	return best
}

func measure(a, b string) int {
	return distance([]rune(strings.ToLower(a)), []rune(strings.ToLower(b)))
}

// distance is the restricted Damerau-Levenshtein distance.
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := last[j-1]
			if a[i-1] != b[j-1] {
				cost++
			}
			row[j] = min(cost, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

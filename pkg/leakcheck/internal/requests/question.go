package requests

import (
	"fmt"
	"slices"
	"strings"
)

// Unclassed stands for "no class route covers the request".
const Unclassed = -1

// pair says that the i-th condition of a list can be the first that holds for a
// request whose first class route is class.
type pair struct{ item, class int }

// Possibility is what can be true of the requests that one item of a list takes.
type Possibility struct {
	Class          int
	Hosts, Entries []string // the atoms with which it can happen
}

// Decide asks, for a list of conditions of which the first that holds is taken,
// which classes the requests taken by each can have. scope holds for all.
func (a *Algebra) Decide(scope *Formula, list, classes []*Formula) [][]Possibility {
	found := map[pair]*taken{}
	all := append(append([]*Formula{scope}, list...), classes...)
	for _, c := range a.cells(all) {
		s := a.residual(scope, c.at)
		if s.op == opConst && s.val == No {
			continue
		}
		rest := make([]*Formula, 0, len(all))
		for _, f := range all[1:] {
			rest = append(rest, a.residual(f, c.at))
		}
		for _, p := range a.pairs(s, rest[:len(list)], rest[len(list):]) {
			if found[p] == nil {
				found[p] = &taken{make([]bool, len(a.Atoms[Host])), make([]bool, len(a.Atoms[Entry]))}
			}
			mark(found[p].hosts, c.hosts)
			mark(found[p].entries, c.entries)
		}
	}
	out := make([][]Possibility, len(list))
	for i := range list {
		for k := Unclassed; k < len(classes); k++ {
			if p := found[pair{i, k}]; p != nil {
				out[i] = append(out[i], Possibility{k, a.names(Host, p.hosts), a.names(Entry, p.entries)})
			}
		}
	}
	return out
}

func union[T comparable](a, b []T) []T {
	for _, x := range b {
		if !slices.Contains(a, x) {
			a = append(a, x)
		}
	}
	return a
}

// cellGroup is one cell and the atoms for which every formula answers alike.
type cellGroup struct {
	at             cellOf
	hosts, entries []int
}

// taken marks the atoms with which something was found possible.
type taken struct{ hosts, entries []bool }

func mark(set []bool, atoms []int) {
	for _, i := range atoms {
		set[i] = true
	}
}

func (a *Algebra) names(d Dimension, set []bool) []string {
	var out []string
	for i, in := range set {
		if in {
			out = append(out, a.Atoms[d][i])
		}
	}
	return out
}

// cells returns one cell for each combination that the formulas tell apart.
func (a *Algebra) cells(list []*Formula) []cellGroup {
	var groups [dimensions][][]int
	for d := range dimensions {
		groups[d] = a.alike(d, list)
	}
	var out []cellGroup
	for _, m := range groups[Method] {
		for _, h := range groups[Host] {
			for _, e := range groups[Entry] {
				for _, g := range groups[GRPC] {
					out = append(out, cellGroup{cellOf{m[0], h[0], e[0], g[0]}, h, e})
				}
			}
		}
	}
	return out
}

// alike groups the atoms of a dimension that no formula tells apart.
func (a *Algebra) alike(d Dimension, list []*Formula) [][]int {
	var leaves []*Formula
	for _, f := range list {
		for _, u := range f.uses[d] {
			if !slices.Contains(leaves, u) {
				leaves = append(leaves, u)
			}
		}
	}
	byAnswer := map[string]int{}
	var out [][]int
	for atom := range a.Atoms[d] {
		sig := make([]byte, len(leaves))
		for i, l := range leaves {
			sig[i] = byte(l.set[atom])
		}
		n, ok := byAnswer[string(sig)]
		if !ok {
			n = len(out)
			byAnswer[string(sig)] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], atom)
	}
	return out
}

// pairs answers decide for one cell, where only the path is open.
func (a *Algebra) pairs(scope *Formula, list, classes []*Formula) []pair {
	var key strings.Builder
	for _, f := range slices.Concat([]*Formula{scope}, list, []*Formula{a.None}, classes) {
		fmt.Fprint(&key, f.id, ",")
	}
	if out, ok := a.answers[key.String()]; ok {
		return out
	}
	var langs []*Language
	for _, f := range slices.Concat(list, classes) {
		langs = union(langs, f.path)
	}
	deciding := len(langs)
	langs = union(langs, scope.path)
	var out []pair
	answer := map[*Language]Truth{}
	complete := walk(langs, deciding, func(answers []Truth) bool {
		for i, l := range langs {
			answer[l] = answers[i]
		}
		if scope.eval(answer) != No {
			out = addPairs(out, takers(list, answer), takers(classes, answer))
		}
		return true
	})
	if !complete { // too large to know: everything is possible
		out = nil
		for i := range list {
			for k := Unclassed; k < len(classes); k++ {
				out = append(out, pair{i, k})
			}
		}
	}
	a.answers[key.String()] = out
	return out
}

// takers returns which conditions can be the first to hold; Unclassed when it
// may be that none does.
func takers(list []*Formula, answer map[*Language]Truth) []int {
	var out []int
	for i, f := range list {
		switch f.eval(answer) {
		case Yes:
			return append(out, i)
		case Maybe:
			out = append(out, i)
		}
	}
	return append(out, Unclassed)
}

func addPairs(out []pair, items, classes []int) []pair {
	for _, i := range items {
		if i == Unclassed {
			continue
		}
		for _, k := range classes {
			if p := (pair{i, k}); !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Package format gives policy files their canonical layout: two-space
// indentation, one blank after colons and commas, known fields in the order of
// the language, codes in quotes, at most one empty line, LF, one final newline.
// What an author chose stays: flow or block style, where lines break, the quotes
// of other texts, and every comment at what it belongs to.
//
// The layout changes no meaning. Source proves that for each file: the tree that
// the policy reader sees is the same before and after but for the order of fields
// and the quotes of codes, every comment is still there, and formatting the result
// again changes nothing. Where a proof fails, the file is left alone; that is a
// bug, and is reported as one.
//
// The package is pure and safe for concurrent use.
package format

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// Formatter formats files.
type Formatter struct{ shapes map[string]*shape.Shape }

// New returns a Formatter that knows the kinds of policy files.
func New() *Formatter { return &Formatter{policy.Shapes()} }

var byteOrderMark = []byte("\uFEFF")

// Source returns the canonical layout of one file. Problems, when there are any,
// are why it is no YAML that policy files may hold; there is no layout then. A
// file of another kind is laid out without an order of its fields; one that
// is no map stays as it is. An error is a bug.
func (f *Formatter) Source(file string, src []byte) (out []byte, problems []policy.Problem, err error) {
	bare := bytes.TrimPrefix(src, byteOrderMark)
	before, faults := yamlpos.Parse(bare)
	if len(faults) > 0 {
		return nil, policy.Faults(file, bare), nil
	}
	if !bytes.HasSuffix(bare, []byte("\n")) {
		// Block text that ends the file gets a line break; no reader of texts sees it.
		bare = append(bytes.Clone(bare), '\n')
		if before, faults = yamlpos.Parse(bare); len(faults) > 0 {
			return nil, policy.Faults(file, bare), nil
		}
	}
	if before == nil || before.Kind != yamlpos.Map {
		return src, nil, nil
	}
	of, root := f.shapes[kindOf(before)], before
	clean := bytes.ReplaceAll(bare, []byte("\r\n"), []byte("\n"))
	if !bytes.Equal(clean, bare) {
		if root, faults = yamlpos.Parse(clean); root == nil || len(faults) > 0 {
			return nil, nil, fmt.Errorf("lay out %s: it is not read without its carriage returns", file)
		}
	}
	if out, err = layout(root, clean, of); err != nil {
		return nil, nil, fmt.Errorf("lay out %s: %w", file, err)
	}
	if err := prove(before, clean, out, of); err != nil {
		return nil, nil, fmt.Errorf("lay out %s: %w", file, err)
	}
	return out, nil, nil
}

// IsPolicy tells whether a file claims to be a policy file, well-formed or not.
func IsPolicy(src []byte) bool { return bytes.Contains(src, []byte(policy.APIVersion)) }

func kindOf(root *yamlpos.Node) string {
	if k := root.Get("kind"); k != nil {
		return k.Value
	}
	return ""
}

// layout lays a file out whose tree is root.
func layout(root *yamlpos.Node, src []byte, of *shape.Shape) ([]byte, error) {
	tokens, err := yamlpos.Tokens(src)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	d, err := p.document(root, of)
	if err != nil {
		return nil, err
	}
	return d.print(), nil
}

// prove compares what the reader sees before and after.
func prove(before *yamlpos.Node, src, out []byte, of *shape.Shape) error {
	after, faults := yamlpos.Parse(out)
	if len(faults) > 0 {
		return fmt.Errorf("the result is not read any more, from line %d on", faults[0].Line)
	}
	if at := differ(before, after, of); at != nil {
		return fmt.Errorf("the result would mean something else than line %d", at.Line)
	}
	if err := sameComments(src, out); err != nil {
		return err
	}
	again, err := layout(after, out, of)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, out) {
		return errors.New("formatting the result again would change it")
	}
	return nil
}

// differ returns where two trees differ in more than the order of fields and
// quotes that may be added; nil when they do not.
func differ(a, b *yamlpos.Node, of *shape.Shape) *yamlpos.Node {
	if a == nil || b == nil {
		return &yamlpos.Node{Line: 1}
	}
	quoted := a.Kind == yamlpos.Plain && b.Kind == yamlpos.Quoted && needsQuotes(a, of)
	same := a.Value == b.Value
	if a.Kind == yamlpos.Plain && !quoted {
		// The YAML library gives plain text that ends a file the empty lines after it.
		same = strings.TrimRight(a.Value, "\n") == strings.TrimRight(b.Value, "\n")
	}
	if a.Kind != b.Kind && !quoted || !same || len(a.Fields) != len(b.Fields) || len(a.Items) != len(b.Items) {
		return a
	}
	for i, x := range a.Items {
		if at := differ(x, b.Items[i], of.Item()); at != nil {
			return at
		}
	}
	values := map[string]*yamlpos.Node{}
	for _, f := range b.Fields {
		values[f.Key.Value] = f.Value
	}
	for _, f := range a.Fields {
		value := values[f.Key.Value]
		if value == nil {
			return f.Key
		}
		if at := differ(f.Value, value, of.Field(f.Key.Value)); at != nil {
			return at
		}
	}
	return nil
}

func sameComments(a, b []byte) error {
	count := map[string]int{}
	for i, src := range [][]byte{a, b} {
		tokens, err := yamlpos.Tokens(src)
		if err != nil {
			return err
		}
		for _, t := range tokens {
			text := t.Comment
			if t.Kind == yamlpos.CommentToken {
				text = t.Raw
			}
			if text != "" {
				count[text] += 1 - 2*i
			}
		}
	}
	for text, n := range count {
		if n != 0 {
			return fmt.Errorf("the comment %q would be lost or doubled", text)
		}
	}
	return nil
}

// needsQuotes tells whether a text gets quotes: a code, and what some readers
// take for a truth value.
func needsQuotes(n *yamlpos.Node, of *shape.Shape) bool {
	if n.Kind != yamlpos.Plain || of == nil || !of.IsText() || n.Value == "" {
		return false
	}
	for _, c := range []byte(n.Value) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return of.Type == shape.Code || policy.IsBoolLike(n.Value)
}

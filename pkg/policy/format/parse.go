package format

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// comment is one that has a line of its own.
type comment struct {
	text  string
	blank bool // an empty line above it
}

// tail is a comment behind something.
type tail struct {
	text   string
	column int // where the author aligned it; 0 where one blank stood before it
}

// entry is an entry of a map or an item of a list, with its comments.
type entry struct {
	head    []comment // above it
	blank   bool      // an empty line above it, below its head
	breaks  bool      // in flow style: it begins a line
	key     string    // as written; "" for an item
	colon   bool
	mid     tail      // behind "key:" or "-"
	between []comment // between that and a value on a line of its own
	value   *value
	tail    tail // behind the value
	name    string
}

type style uint8

const (
	absent  style = iota // nothing stands there
	scalar               // lines
	literal              // header, lines
	flow                 // entries in brackets
	block                // entries on lines of their own
	pair                 // one entry without braces, in a flow list
)

// value is a value with everything in it.
type value struct {
	style   style
	isMap   bool
	lines   []string
	hang    bool // further lines stand below the first, not at the indentation
	header  string
	behind  tail // the opening bracket, or the header
	entries []*entry
	foot    []comment // after the last entry
	breaks  bool      // the closing bracket begins a line
}

// document is a whole file.
type document struct {
	head []comment
	root *entry
	foot []comment
}

// parser walks the tree and the tokens side by side.
type parser struct {
	tokens []yamlpos.Token
	at     int
	last   yamlpos.Token // the last one that is no comment
	flow   int           // brackets that are open
}

var errMismatch = errors.New("the tree and the tokens disagree")

func (p *parser) document(root *yamlpos.Node, of *shape.Shape) (d *document, err error) {
	d = &document{root: &entry{}}
	d.head = p.own()
	if p.peek() == nil {
		return nil, errMismatch
	}
	d.root.blank = p.peek().Blank && len(d.head) > 0
	if err := p.value(d.root, root, of, 0); err != nil {
		return nil, err
	}
	d.foot = p.own()
	if p.at != len(p.tokens) {
		return nil, fmt.Errorf("%w at line %d", errMismatch, p.tokens[p.at].Line)
	}
	if v := d.root.value; v.style == block && len(v.entries) > 0 {
		v.entries[0].blank, d.root.blank = d.root.blank, false
	}
	return d, nil
}

// peek returns the next token that is no comment; nil at the end.
func (p *parser) peek() *yamlpos.Token {
	for i := p.at; i < len(p.tokens); i++ {
		if k := p.tokens[i].Kind; k != yamlpos.CommentToken && k != yamlpos.Marker {
			return &p.tokens[i]
		}
	}
	return nil
}

// next takes the next token, which has to be of a kind.
func (p *parser) next(kind yamlpos.TokenKind) (yamlpos.Token, error) {
	if p.at >= len(p.tokens) || p.tokens[p.at].Kind != kind {
		return yamlpos.Token{}, fmt.Errorf("%w behind line %d", errMismatch, p.last.EndLine)
	}
	p.last = p.tokens[p.at]
	p.at++
	return p.last, nil
}

// behind takes a comment on the line of the last token.
func (p *parser) behind() tail {
	if p.at >= len(p.tokens) {
		return tail{}
	}
	t := p.tokens[p.at]
	if t.Kind != yamlpos.CommentToken || t.Line != p.last.EndLine || p.at == 0 {
		return tail{}
	}
	p.at++
	if t.Column > p.last.EndColumn+1 {
		return tail{t.Raw, t.Column}
	}
	return tail{text: t.Raw}
}

// own takes all comments up to the next token, and the marks of the document,
// which say nothing.
func (p *parser) own() []comment {
	return p.ownWhile(func(yamlpos.Token) bool { return true })
}

func (p *parser) ownWhile(take func(yamlpos.Token) bool) (out []comment) {
	for ; p.at < len(p.tokens); p.at++ {
		t := p.tokens[p.at]
		if t.Kind == yamlpos.Marker {
			continue
		}
		if t.Kind != yamlpos.CommentToken || !take(t) {
			break
		}
		out = append(out, comment{t.Raw, t.Blank})
	}
	return out
}

// value reads what stands behind a key, a dash or a bracket whose column is given;
// 0 is the document.
func (p *parser) value(e *entry, n *yamlpos.Node, of *shape.Shape, column int) error {
	if column > 0 {
		e.mid = p.behind()
	}
	next := p.peek()
	switch {
	case n.Kind == yamlpos.Null && !p.isNull(next):
		e.value = &value{}
		if p.flow == 0 {
			e.between = p.ownWhile(func(t yamlpos.Token) bool { return t.Column > column && t.Column > columnOf(next) })
		}
		return nil
	case next == nil:
		return errMismatch
	case n.Kind == yamlpos.Map && next.Kind != yamlpos.MapStart && p.flow > 0:
		return p.pair(e, n, of)
	case n.Kind == yamlpos.Map && next.Kind != yamlpos.MapStart:
		return p.blockMap(e, n, of, column)
	case n.Kind == yamlpos.List && next.Kind == yamlpos.Entry:
		return p.blockList(e, n, of, column)
	}
	e.between = p.own()
	var err error
	switch {
	case n.Kind == yamlpos.Map || n.Kind == yamlpos.List:
		e.value, err = p.brackets(n, of)
	case next.Kind == yamlpos.BlockToken:
		e.value, err = p.literal(next.Raw, column)
	default:
		e.value, err = p.scalar(n, of)
	}
	if err == nil && e.value.style != literal {
		e.tail = p.behind()
	}
	return err
}

// isNull tells whether an absent value is written out, as null or ~. What is
// written is no key, which a colon would follow.
func (p *parser) isNull(t *yamlpos.Token) bool {
	if t == nil || t.Kind != yamlpos.ScalarToken || !slices.Contains([]string{"null", "Null", "NULL", "~"}, t.Raw) {
		return false
	}
	i := slices.IndexFunc(p.tokens[p.at:], func(x yamlpos.Token) bool { return x.Line == t.Line && x.Column == t.Column }) + p.at + 1
	return i >= len(p.tokens) || p.tokens[i].Kind != yamlpos.Colon
}

func columnOf(t *yamlpos.Token) int {
	if t == nil {
		return 0
	}
	return t.Column
}

func (p *parser) scalar(n *yamlpos.Node, of *shape.Shape) (*value, error) {
	t, err := p.next(yamlpos.ScalarToken)
	if err != nil {
		return nil, err
	}
	if needsQuotes(n, of) {
		return &value{style: scalar, lines: []string{`"` + n.Value + `"`}}, nil
	}
	v := &value{style: scalar, hang: n.Kind == yamlpos.Plain && p.flow > 0}
	for i, line := range strings.Split(t.Raw, "\n") {
		if line = strings.TrimRight(line, " "); i > 0 {
			line = strings.TrimLeft(line, " ")
		}
		v.lines = append(v.lines, line)
	}
	if n.Kind == yamlpos.Plain {
		v.lines = plainLines(v.lines, strings.TrimRight(n.Value, "\n"))
	}
	return v, nil
}

// plainLines lays out plain text of several lines so that it still reads as text. The
// empty lines in it follow the text that the YAML library made of them: it counts
// those that hold blanks in its own way. Text that looks like an item or a field at
// the beginning of a line joins the line above.
func plainLines(lines []string, text string) []string {
	var out []string
	rest := text
	for i, line := range lines {
		if line == "" && i > 0 {
			continue
		}
		folded := strings.TrimLeft(rest, " \n")
		breaks := strings.Count(rest[:len(rest)-len(folded)], "\n")
		after, found := strings.CutPrefix(folded, line)
		if !found {
			return lines
		}
		rest = after
		if i > 0 && breaks == 0 && strings.ContainsRune("-?:", rune(line[0])) {
			out[len(out)-1] += " " + line
			continue
		}
		out = append(append(out, slices.Repeat([]string{""}, breaks)...), line)
	}
	return out
}

// literal reads a block scalar. Its lines lose the blanks that indent it.
func (p *parser) literal(header string, column int) (*value, error) {
	t, err := p.next(yamlpos.BlockToken)
	if err != nil {
		return nil, err
	}
	v := &value{style: literal, behind: tail{text: t.Comment}}
	indent := -1
	for _, c := range header {
		if c >= '1' && c <= '9' {
			indent = max(column-1, 0) + int(c-'0')
			digit := "2"
			if len(t.Lines) == 0 {
				digit = "" // there is nothing to indent
			}
			header = strings.Replace(header, string(c), digit, 1)
		}
	}
	for _, line := range t.Lines {
		if indent < 0 && strings.TrimSpace(line) != "" {
			indent = len(line) - len(strings.TrimLeft(line, " "))
		}
	}
	for _, line := range t.Lines {
		if indent < 0 {
			line = "" // there are blanks only
		}
		v.lines = append(v.lines, line[min(max(indent, 0), len(line)):])
	}
	v.header = header
	return v, nil
}

// brackets reads a map or list in flow style.
func (p *parser) brackets(n *yamlpos.Node, of *shape.Shape) (*value, error) {
	open, end := yamlpos.ListStart, yamlpos.ListEnd
	v := &value{style: flow, isMap: n.Kind == yamlpos.Map}
	if v.isMap {
		open, end = yamlpos.MapStart, yamlpos.MapEnd
	}
	if _, err := p.next(open); err != nil {
		return nil, err
	}
	p.flow++
	defer func() { p.flow-- }()
	v.behind = p.behind()
	head := p.own()
	for i := range max(len(n.Fields), len(n.Items)) {
		next := p.peek()
		if next == nil {
			return nil, errMismatch
		}
		e := &entry{head: head, breaks: next.Line > p.last.EndLine, blank: next.Blank && i+len(head) > 0}
		var err error
		if v.isMap {
			err = p.field(e, n.Fields[i], of)
		} else {
			err = p.value(e, n.Items[i], of.Item(), 0)
		}
		if err != nil {
			return nil, err
		}
		// An author may put a comment before the comma or behind it.
		e.tail, head = or(e.tail, p.behind), p.own()
		if p.peek() != nil && p.peek().Kind == yamlpos.Comma {
			if _, err := p.next(yamlpos.Comma); err != nil {
				return nil, err
			}
			if len(head) == 0 {
				e.tail = or(e.tail, p.behind)
			}
			head = append(head, p.own()...)
		}
		v.entries = append(v.entries, e)
	}
	v.foot = head
	t, err := p.next(end)
	if err != nil {
		return nil, err
	}
	v.breaks = p.at > 1 && t.Line > p.tokens[p.at-2].EndLine
	if v.isMap {
		v.sort(of)
	}
	return v, nil
}

// or returns t, or what else there is.
func or(t tail, other func() tail) tail {
	if t.text == "" {
		return other()
	}
	return t
}

// field reads a key and its value.
func (p *parser) field(e *entry, f yamlpos.Field, of *shape.Shape) error {
	t, err := p.next(yamlpos.ScalarToken)
	if err != nil {
		return err
	}
	e.key, e.name = t.Raw, f.Key.Value
	if of != nil && of.Index(e.name) < 0 && needsQuotes(f.Key, of.Keys) {
		e.key = `"` + f.Key.Value + `"`
	}
	if next := p.peek(); next == nil || next.Kind != yamlpos.Colon {
		e.value = &value{}
		return nil
	}
	if _, err := p.next(yamlpos.Colon); err != nil {
		return err
	}
	e.colon = true
	return p.value(e, f.Value, of.Field(e.name), t.Column)
}

func (p *parser) pair(e *entry, n *yamlpos.Node, of *shape.Shape) error {
	if len(n.Fields) != 1 {
		return errMismatch
	}
	e.between = append(e.between, p.own()...)
	in := &entry{}
	if err := p.field(in, n.Fields[0], of); err != nil {
		return err
	}
	e.tail, in.tail = in.tail, tail{}
	e.value = &value{style: pair, entries: []*entry{in}}
	return nil
}

func (p *parser) blockMap(e *entry, n *yamlpos.Node, of *shape.Shape, parent int) error {
	v := &value{style: block, isMap: true}
	e.value = v
	column := 0
	for i, f := range n.Fields {
		in := &entry{head: p.own()}
		if i == 0 {
			hoist(e, in)
		}
		next := p.peek()
		if next == nil {
			return errMismatch
		}
		in.blank = next.Blank
		if i == 0 {
			column = next.Column
		}
		if err := p.field(in, f, of); err != nil {
			return err
		}
		v.entries = append(v.entries, in)
	}
	v.foot = p.foot(column, parent)
	v.sort(of)
	return nil
}

// hoist puts comments between the dash of an item and its first entry above the
// dash.
func hoist(item, first *entry) {
	if item.key == "" && item.mid.text == "" && len(first.head) > 0 {
		item.head = append(item.head, first.head...)
		first.head = nil
	}
}

func (p *parser) blockList(e *entry, n *yamlpos.Node, of *shape.Shape, parent int) error {
	v := &value{style: block}
	e.value = v
	column := 0
	for i, x := range n.Items {
		in := &entry{head: p.own()}
		if i == 0 {
			hoist(e, in)
		}
		t, err := p.next(yamlpos.Entry)
		if err != nil {
			return err
		}
		in.blank, column = t.Blank, t.Column
		if err := p.value(in, x, of.Item(), t.Column); err != nil {
			return err
		}
		v.entries = append(v.entries, in)
	}
	v.foot = p.foot(column, parent)
	return nil
}

// foot takes the comments after the last entry of a block that stand at least as
// deep as its entries, and deeper than what follows; those that do not are about
// what follows.
func (p *parser) foot(column, parent int) []comment {
	next := columnOf(p.peek())
	return p.ownWhile(func(t yamlpos.Token) bool {
		return parent == 0 && next == 0 || t.Column >= column && t.Column > next && (next > 0 || column > parent)
	})
}

// sort brings known fields into their order; one that is not known stays behind
// the one that it stood behind. Line breaks and the first empty line stay in
// their places.
func (v *value) sort(of *shape.Shape) {
	if of == nil || len(v.entries) == 0 {
		return
	}
	rank, before := map[*entry]int{}, -1
	var breaks []bool
	for _, e := range v.entries {
		if i := of.Index(e.name); i >= 0 {
			before = i
		}
		rank[e] = before
		breaks = append(breaks, e.breaks)
	}
	first := v.entries[0]
	blank := first.blank
	slices.SortStableFunc(v.entries, func(a, b *entry) int { return rank[a] - rank[b] })
	if v.entries[0] != first {
		first.blank, v.entries[0].blank = false, blank
	}
	for i, e := range v.entries {
		e.breaks = breaks[i]
	}
}

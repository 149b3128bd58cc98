// Package yamlpos turns YAML bytes into a small tree in which every node knows
// its line and column. It is the only package that imports the YAML library.
//
// It reads a strict subset: one document of maps with scalar keys, lists and
// scalars. Anchors, aliases, merge keys, tags, directives, complex keys,
// duplicate keys, tabs, a byte order mark, control characters and characters
// that re-order text are faults, and so are more than MaxSize bytes and more
// than MaxDepth levels. Depth is bounded before the tree is built, so hostile
// input costs bounded time and memory.
//
// Parse never panics and is safe for concurrent use.
package yamlpos

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of one file.
const (
	MaxSize  = 1 << 20 // bytes
	MaxDepth = 32      // levels of maps and lists
	// MaxKeys bounds the keys of all maps together: the YAML library takes a
	// time that grows with the square of the keys of one map.
	MaxKeys = 20_000
)

// maxFaults ends the search in a file in which nearly everything is wrong.
const maxFaults = 100

// Kind is the kind of a Node.
type Kind uint8

// The kinds. Plain is a scalar without quotes, whatever it looks like; Quoted is
// one in quotes or a block scalar.
const (
	Null Kind = iota
	Plain
	Quoted
	Map
	List
)

// Node is one value and where it stands; Line and Column are 1-based, Column
// counts runes.
type Node struct {
	Kind         Kind
	Value        string  // of a scalar
	Fields       []Field // of a map, in order
	Items        []*Node // of a list
	Line, Column int
}

// Field is one entry of a map.
type Field struct {
	Key   *Node // a scalar
	Value *Node
}

// Get returns the value of a key, or nil.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for _, f := range n.Fields {
		if f.Key.Value == key {
			return f.Value
		}
	}
	return nil
}

// Reason is a class of fault.
type Reason uint8

// The reasons.
const (
	Syntax    Reason = iota // Detail is the reader's message
	TooLarge                // more than MaxSize
	TooDeep                 // more than MaxDepth
	TooMany                 // more than MaxKeys
	NotUTF8                 // invalid UTF-8
	ByteOrder               // a byte order mark
	Control                 // a NUL or another control character; Detail names it
	Reorder                 // a character that re-orders text; Detail names it
	Tab                     // a tab
	Anchor                  // &name
	Alias                   // *name
	Merge                   // <<
	Tag                     // !tag
	Directive               // %YAML
	Documents               // more than one document
	Key                     // a key that is not a scalar
	Duplicate               // a key that the map has already, at OtherLine
	Crash                   // the YAML library panicked; Detail is what it said
)

// Fault is one thing that keeps a file from being read.
type Fault struct {
	Reason       Reason
	Detail       string
	Line, Column int
	OtherLine    int
	OtherColumn  int
}

// Parse reads one document. The Node is nil for an empty file, and when there
// is any fault except Duplicate.
func Parse(src []byte) (n *Node, faults []Fault) {
	defer func() {
		if r := recover(); r != nil {
			n, faults = nil, []Fault{{Reason: Crash, Detail: fmt.Sprint(r), Line: 1, Column: 1}}
		}
	}()
	if len(src) > MaxSize {
		return nil, []Fault{{Reason: TooLarge, Line: 1, Column: 1}}
	}
	if faults = scan(src); len(faults) > 0 {
		return nil, faults
	}
	tokens := lexer.Tokenize(string(src))
	if faults = screen(tokens); len(faults) > 0 {
		return nil, faults
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, []Fault{syntax(err)}
	}
	var b builder
	for _, d := range file.Docs {
		if d == nil || d.Body == nil {
			continue
		}
		if n != nil {
			return nil, []Fault{at(Documents, d.Body.GetToken())}
		}
		n = b.node(d.Body, MaxDepth)
	}
	b.unread(tokens)
	for _, f := range b.faults {
		if f.Reason != Duplicate {
			return nil, b.faults
		}
	}
	return n, b.faults
}

func syntax(err error) Fault {
	f := Fault{Reason: Syntax, Detail: "this is not YAML", Line: 1, Column: 1}
	var e interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &e) {
		f.Detail = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			f.Line, f.Column = t.Position.Line, t.Position.Column
		}
	}
	return f
}

func at(r Reason, t *token.Token) Fault {
	if t == nil || t.Position == nil {
		return Fault{Reason: r, Line: 1, Column: 1}
	}
	return Fault{Reason: r, Line: t.Position.Line, Column: t.Position.Column}
}

// scan looks at the bytes alone: what is refused here never reaches the YAML
// library. It reports the first fault of each line.
func scan(src []byte) (faults []Fault) {
	line, col, told := 1, 1, 0
	report := func(r Reason, detail string) {
		if told != line && len(faults) < maxFaults {
			told = line
			faults = append(faults, Fault{Reason: r, Detail: detail, Line: line, Column: col})
		}
	}
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			report(NotUTF8, "")
			return faults
		case r == 0xFEFF && i == 0:
			report(ByteOrder, "")
		case r == '\t':
			report(Tab, "")
		case r == '\r' && i+1 < len(src) && src[i+1] == '\n', r == '\n':
		case r < 0x20, r >= 0x7F && r < 0xA0, r == 0x2028, r == 0x2029, r == 0xFEFF, r == 0xFFFE, r == 0xFFFF:
			report(Control, fmt.Sprintf("U+%04X", r))
		case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
			report(Reorder, fmt.Sprintf("U+%04X", r))
		}
		i, col = i+size, col+1
		if r == '\n' {
			line, col = line+1, 1
		}
	}
	return faults
}

// screen looks at the tokens: what YAML has and we refuse, and the depth, which
// must be known before the parser recurses.
func screen(tokens token.Tokens) (faults []Fault) {
	var d depth
	content, documents, keys := false, 0, 0
	open := false // a bracket or comma was the last token
	for i, t := range tokens {
		switch t.Type {
		case token.AnchorType:
			faults = append(faults, at(Anchor, t))
		case token.AliasType:
			faults = append(faults, at(Alias, t))
		case token.MergeKeyType:
			faults = append(faults, at(Merge, t))
		case token.TagType:
			faults = append(faults, at(Tag, t))
		case token.DirectiveType:
			faults = append(faults, at(Directive, t))
		case token.MappingKeyType:
			faults = append(faults, at(Key, t))
		case token.DocumentHeaderType:
			if documents++; content || documents > 1 {
				return append(faults, at(Documents, t))
			}
		case token.CommentType, token.DocumentEndType, token.SpaceType:
		case token.CollectEntryType:
			if open {
				f := at(Syntax, t)
				f.Detail = "a comma with nothing before it"
				faults = append(faults, f)
			}
		default:
			content = true
		}
		if t.Type != token.CommentType {
			open = t.Type == token.SequenceStartType || t.Type == token.MappingStartType || t.Type == token.CollectEntryType
		}
		var before *token.Token
		if i > 0 {
			before = tokens[i-1]
		}
		if d.step(t, before) > MaxDepth {
			return append(faults, at(TooDeep, t))
		}
		if t.Type == token.MappingValueType {
			if keys++; keys > MaxKeys {
				return append(faults, at(TooMany, t))
			}
		}
		if len(faults) >= maxFaults {
			return faults
		}
	}
	return faults
}

// depth follows how deep the tokens nest: open brackets, and the columns of the
// open block maps and lists.
type depth struct {
	flow  int
	block []level
}

type level struct {
	column int
	list   bool
}

func (d *depth) step(t, before *token.Token) int {
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		d.flow++
	case token.SequenceEndType, token.MappingEndType:
		d.flow = max(0, d.flow-1)
	case token.SequenceEntryType:
		if d.flow == 0 {
			d.open(level{t.Position.Column, true})
		}
	case token.MappingValueType:
		if d.flow == 0 && before != nil {
			d.open(level{before.Position.Column, false})
		}
	default:
	}
	return d.flow + len(d.block)
}

func (d *depth) open(l level) {
	n := len(d.block)
	for n > 0 && d.block[n-1].column > l.column {
		n--
	}
	// A list may stand at the column of the key that it belongs to.
	if n > 0 && d.block[n-1].column == l.column && d.block[n-1].list && !l.list {
		n--
	}
	if n > 0 && d.block[n-1] == l {
		d.block = d.block[:n]
		return
	}
	d.block = append(d.block[:n], l)
}

// builder turns the library's tree into ours.
type builder struct {
	faults []Fault
	read   map[*token.Token]bool // the scalars that the tree holds
}

func (b *builder) mark(t *token.Token) {
	if b.read == nil {
		b.read = map[*token.Token]bool{}
	}
	b.read[t] = true
}

func (b *builder) node(n ast.Node, left int) *Node {
	if n == nil {
		return &Node{Kind: Null, Line: 1, Column: 1}
	}
	t := n.GetToken()
	out := &Node{Line: t.Position.Line, Column: t.Position.Column}
	if left <= 0 {
		b.faults = append(b.faults, at(TooDeep, t))
		return out
	}
	switch v := n.(type) {
	case *ast.NullNode:
		b.mark(t)
	case *ast.StringNode:
		b.mark(t)
		out.Kind, out.Value = Plain, v.Value
		if t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType {
			out.Kind = Quoted
		} else if line := itemLike(t.Origin); line >= 0 {
			b.faults = append(b.faults, Fault{
				Reason: Syntax, Detail: "a further line of a text begins with -, as an item of a list does; put the text in quotes, or mend the indentation",
				Line: out.Line - line, Column: 1,
			})
		}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		b.mark(t)
		out.Kind, out.Value = Plain, t.Value
	case *ast.LiteralNode:
		out.Kind = Quoted
		if v.Value != nil {
			b.mark(v.Value.GetToken())
			out.Value = v.Value.Value
		}
	case *ast.MappingNode:
		b.fields(out, v.Values, left)
		if !v.IsFlowStyle && len(out.Fields) > 0 {
			out.Line, out.Column = out.Fields[0].Key.Line, out.Fields[0].Key.Column
		}
	case *ast.MappingValueNode:
		b.fields(out, []*ast.MappingValueNode{v}, left)
		if len(out.Fields) > 0 {
			out.Line, out.Column = out.Fields[0].Key.Line, out.Fields[0].Key.Column
		}
	case *ast.SequenceNode:
		out.Kind = List
		for _, x := range v.Values {
			out.Items = append(out.Items, b.node(x, left-1))
		}
	default:
		b.faults = append(b.faults, Fault{Reason: Syntax, Detail: "this form of YAML is not accepted", Line: out.Line, Column: out.Column})
	}
	return out
}

// itemLike finds a further line of plain text that begins with a dash, counted from the
// last one, at which the library says that the text stands; -1 where there is none.
// YAML takes it for text, people for an item, and the library swallows comments behind
// it.
func itemLike(plain string) int {
	lines := strings.Split(strings.Trim(plain, " \r\n"), "\n")
	for i, line := range lines {
		if i > 0 && strings.HasPrefix(strings.TrimLeft(line, " "), "-") {
			return len(lines) - 1 - i
		}
	}
	return -1
}

func (b *builder) fields(out *Node, values []*ast.MappingValueNode, left int) {
	out.Kind = Map
	seen := map[string]*Node{}
	for _, v := range values {
		key := b.node(v.Key, 1)
		if key.Kind != Plain && key.Kind != Quoted {
			b.faults = append(b.faults, Fault{Reason: Key, Line: key.Line, Column: key.Column})
			continue
		}
		value := b.node(v.Value, left-1)
		if first := seen[key.Value]; first != nil {
			if len(b.faults) >= maxFaults {
				continue
			}
			b.faults = append(b.faults, Fault{
				Reason: Duplicate, Detail: key.Value, Line: key.Line, Column: key.Column,
				OtherLine: first.Line, OtherColumn: first.Column,
			})
			continue
		}
		seen[key.Value] = key
		out.Fields = append(out.Fields, Field{Key: key, Value: value})
	}
}

// unread refuses a file of which the library dropped a part: what an author
// wrote must not vanish without a word.
func (b *builder) unread(tokens token.Tokens) {
	for _, t := range tokens {
		switch t.Type {
		case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType, token.FloatType,
			token.BoolType, token.NullType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
			token.InfinityType, token.NanType:
			if !b.read[t] {
				f := at(Syntax, t)
				f.Detail = "this value belongs to nothing"
				b.faults = append(b.faults, f)
				return
			}
		default:
		}
	}
}

// Comment is one comment, without its #, and where the # stands.
type Comment struct {
	Text         string
	Line, Column int
}

// Comments lists the comments of a file that Parse accepts; of any other it may
// list none.
func Comments(src []byte) (out []Comment) {
	if len(src) > MaxSize || len(scan(src)) > 0 {
		return nil
	}
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	for _, t := range lexer.Tokenize(string(src)) {
		if t.Type == token.CommentType {
			out = append(out, Comment{Text: strings.TrimSuffix(t.Value, "\r"), Line: t.Position.Line, Column: t.Position.Column})
		}
	}
	return out
}

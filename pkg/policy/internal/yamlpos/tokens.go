package yamlpos

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// TokenKind is the kind of a Token.
type TokenKind uint8

// The kinds of tokens.
const (
	CommentToken TokenKind = iota // Raw starts with #
	ScalarToken                   // Raw is what stands there, quotes included; it may run over several lines
	BlockToken                    // a block scalar: Raw is its header, Comment what stands behind it, Lines its content
	MapStart
	MapEnd
	ListStart
	ListEnd
	Entry // - of a list
	Comma
	Colon
	Marker // --- or ...
)

// Token is a piece of a file as it was written, blanks between pieces left out.
type Token struct {
	Kind         TokenKind
	Raw          string
	Comment      string
	Lines        []string
	Line, Column int  // 1-based; Column counts runes
	EndLine      int  // of the last character
	EndColumn    int  // behind the last character
	Blank        bool // an empty line stands right above
}

// Tokens takes a file apart that Parse reads without a fault. The error, that the
// library's tokens are not what stands in the file, would be a bug.
func Tokens(src []byte) (out []Token, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("take the file apart: %v", r)
		}
	}()
	s := scanner{src: src, line: 1, column: 1}
	list := lexer.Tokenize(string(src))
	for i := 0; i < len(list); i++ {
		t := list[i]
		if t.Type == token.LiteralType || t.Type == token.FoldedType {
			used, err := s.block(list[i:])
			if err != nil {
				return nil, err
			}
			i += used - 1
			continue
		}
		kind, known := kinds[t.Type]
		if !known {
			kind = ScalarToken
		}
		if err := s.take(kind, strings.Trim(t.Origin, " \n")); err != nil {
			return nil, err
		}
	}
	if rest := bytes.Trim(src[s.at:], " \n"); len(rest) > 0 {
		return nil, fmt.Errorf("take the file apart: line %d is in no token", s.line)
	}
	return s.out, nil
}

var kinds = map[token.Type]TokenKind{
	token.CommentType: CommentToken, token.MappingStartType: MapStart, token.MappingEndType: MapEnd,
	token.SequenceStartType: ListStart, token.SequenceEndType: ListEnd, token.SequenceEntryType: Entry,
	token.CollectEntryType: Comma, token.MappingValueType: Colon,
	token.DocumentHeaderType: Marker, token.DocumentEndType: Marker,
}

// scanner finds the library's tokens in the file again: their own positions and
// blanks are not to be relied on.
type scanner struct {
	src          []byte
	at           int
	line, column int
	empty        int // empty lines since the last token
	carry        int // of these, what the last token read already
	out          []Token
}

// skip passes blanks and counts the empty lines in them.
func (s *scanner) skip() {
	s.empty, s.carry = s.carry, 0
	start := s.column == 1
	for s.at < len(s.src) && (s.src[s.at] == ' ' || s.src[s.at] == '\n') {
		if s.src[s.at] == '\n' {
			if start {
				s.empty++
			}
			start = true
		}
		s.pass(1)
	}
}

func (s *scanner) pass(n int) {
	for _, r := range string(s.src[s.at : s.at+n]) {
		s.column++
		if r == '\n' {
			s.line, s.column = s.line+1, 1
		}
	}
	s.at += n
}

func (s *scanner) take(kind TokenKind, raw string) error {
	s.skip()
	n := match(s.src[s.at:], raw)
	if raw == "" || n < 0 {
		return fmt.Errorf("take the file apart: %q does not stand at line %d", raw, s.line)
	}
	raw = string(s.src[s.at : s.at+n])
	t := Token{Kind: kind, Raw: raw, Line: s.line, Column: s.column, Blank: s.empty > 0}
	s.pass(len(raw))
	t.EndLine, t.EndColumn = s.line, s.column
	s.out = append(s.out, t)
	return nil
}

// match returns how many bytes of src are raw, of which the library may have lost
// blanks; -1 when they are something else.
func match(src []byte, raw string) int {
	at := 0
	for i := range len(raw) {
		if raw[i] == ' ' || raw[i] == '\n' {
			continue
		}
		for at < len(src) && (src[at] == ' ' || src[at] == '\n') {
			at++
		}
		if at >= len(src) || src[at] != raw[i] {
			return -1
		}
		at++
	}
	return at
}

// block takes a block scalar: its header, a comment behind that, and all lines up
// to the next token. It returns how many of the library's tokens that were.
func (s *scanner) block(list token.Tokens) (used int, err error) {
	if err := s.take(BlockToken, strings.Trim(list[0].Origin, " \n")); err != nil {
		return 0, err
	}
	t := &s.out[len(s.out)-1]
	used = 1
	if len(list) > used && list[used].Type == token.CommentType && bytes.HasPrefix(bytes.TrimLeft(s.src[s.at:], " "), []byte("#")) {
		if err := s.take(CommentToken, strings.Trim(list[used].Origin, " \n")); err != nil {
			return 0, err
		}
		t = &s.out[len(s.out)-2]
		t.Comment = s.out[len(s.out)-1].Raw
		s.out = s.out[:len(s.out)-1]
		used++
	}
	if len(list) > used && list[used].Type == token.StringType {
		content := strings.TrimRight(list[used].Origin, " \n")
		used++
		if nl := bytes.IndexByte(s.src[s.at:], '\n'); nl >= 0 {
			s.pass(nl + 1)
		} else {
			s.pass(len(s.src) - s.at)
		}
		n := match(s.src[s.at:], content)
		if n < 0 {
			return 0, fmt.Errorf("take the file apart: the text below line %d does not stand there", t.Line)
		}
		from := s.at
		s.pass(n)
		end := s.at
		for end < len(s.src) && (s.src[end] == ' ' || s.src[end] == '\n') {
			end++
		}
		if end < len(s.src) {
			end = bytes.LastIndexByte(s.src[:end], '\n') + 1
		}
		if end > s.at {
			s.pass(end - s.at)
		}
		if s.at == from {
			return used, nil
		}
		t.Lines = strings.Split(strings.TrimSuffix(string(s.src[from:s.at]), "\n"), "\n")
		if !strings.Contains(t.Raw, "+") {
			n := len(t.Lines)
			indent := len(s.src) // there are blanks only
			for _, line := range t.Lines {
				if text := strings.TrimLeft(line, " "); text != "" {
					indent = len(line) - len(text)
					break
				}
			}
			// A line of more blanks than the indentation is text.
			for n > 0 && strings.TrimSpace(t.Lines[n-1]) == "" && len(t.Lines[n-1]) <= indent {
				n--
			}
			// The empty lines that end it belong to what follows.
			s.carry, t.Lines = len(t.Lines)-n, t.Lines[:n]
		}
		t.EndLine = t.Line + len(t.Lines)
	}
	return used, nil
}

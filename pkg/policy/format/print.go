package format

import (
	"strings"
	"unicode/utf8"
)

// printer writes lines and knows how long the current one is.
type printer struct{ strings.Builder }

func (w *printer) width() int {
	s := w.String()
	return utf8.RuneCountInString(s[strings.LastIndexByte(s, '\n')+1:])
}

func (w *printer) indent(n int) {
	w.WriteString(strings.Repeat(" ", n))
}

func (w *printer) newline(indent int) {
	w.WriteByte('\n')
	w.indent(indent)
}

// tail writes a comment behind what stands on the line, where its author aligned
// it, if there is room.
func (w *printer) tail(t tail) {
	if t.text == "" {
		return
	}
	gap := 1
	if t.column > 0 {
		gap = max(1, t.column-1-w.width())
	}
	w.indent(gap)
	w.WriteString(t.text)
}

func (d *document) print() []byte {
	w := &printer{}
	w.comments(d.head, 0, true)
	if d.root.blank {
		w.WriteByte('\n')
	}
	v := d.root.value
	w.comments(d.root.between, 0, len(d.head) == 0)
	if v.style == block {
		if len(d.head) > 0 && v.entries[0].blank {
			w.WriteByte('\n')
		}
		w.block(v, 0, false)
	} else {
		w.inline(v, 0)
		w.tail(d.root.tail)
		w.WriteByte('\n')
	}
	w.comments(d.foot, 0, false)
	return []byte(w.String())
}

// comments writes comments on lines of their own. The first one of a block has no
// empty line above it.
func (w *printer) comments(list []comment, indent int, first bool) {
	for i, c := range list {
		if c.blank && !(first && i == 0) {
			w.WriteByte('\n')
		}
		w.indent(indent)
		w.WriteString(c.text)
		w.WriteByte('\n')
	}
}

// block writes the entries of a map or list on lines of their own. Inline: the
// first one follows a dash.
func (w *printer) block(v *value, indent int, inline bool) {
	for i, e := range v.entries {
		w.comments(e.head, indent, i == 0)
		if e.blank && (i > 0 || len(e.head) > 0) {
			w.WriteByte('\n')
		}
		if i > 0 || !inline {
			w.indent(indent)
		}
		if v.isMap {
			w.WriteString(e.key + ":")
		} else {
			w.WriteByte('-')
		}
		w.tail(e.mid)
		w.below(e, indent, !v.isMap)
	}
	w.comments(v.foot, indent, false)
}

// below writes the value of an entry of a block and ends its line.
func (w *printer) below(e *entry, indent int, item bool) {
	v := e.value
	apart := e.mid.text != "" || len(e.between) > 0
	if v.style == block {
		compact := item && !apart && len(v.entries[0].head) == 0
		if compact {
			w.WriteByte(' ')
		} else {
			w.WriteByte('\n')
		}
		w.block(v, indent+2, compact)
		return
	}
	if apart {
		w.WriteByte('\n')
		w.comments(e.between, indent+2, true)
		if v.style == absent {
			return
		}
		w.indent(indent + 2)
	} else if v.style != absent {
		w.WriteByte(' ')
	}
	if v.style == literal {
		w.literal(v, indent+2)
		return
	}
	at := indent
	if apart || item {
		at += 2
	}
	w.inline(v, at)
	w.tail(e.tail)
	w.WriteByte('\n')
}

func (w *printer) literal(v *value, indent int) {
	w.WriteString(v.header)
	w.tail(v.behind)
	w.WriteByte('\n')
	for _, line := range v.lines {
		if line != "" {
			w.indent(indent)
			w.WriteString(line)
		}
		w.WriteByte('\n')
	}
}

// inline writes a value on the line that is being written, whose indentation is
// given.
func (w *printer) inline(v *value, indent int) {
	switch v.style {
	case scalar:
		if v.hang {
			indent = w.width() - 2
		}
		for i, line := range v.lines {
			if i > 0 {
				w.WriteByte('\n')
				if line != "" {
					w.indent(indent + 2)
				}
			}
			w.WriteString(line)
		}
	case pair:
		w.field(v.entries[0], indent)
	case flow:
		w.brackets(v, indent)
	default:
	}
}

func (w *printer) brackets(v *value, indent int) {
	open, end := "[", "]"
	if v.isMap {
		open, end = "{", "}"
	}
	w.WriteString(open)
	w.tail(v.behind)
	line, must := indent, v.behind.text != ""
	for i, e := range v.entries {
		if i > 0 && !(e.breaks || must || len(e.head) > 0) {
			w.WriteByte(' ')
		}
		for j, c := range e.head {
			if c.blank && i+j > 0 {
				w.WriteByte('\n')
			}
			w.newline(indent + 2)
			w.WriteString(c.text)
		}
		if e.breaks || must || len(e.head) > 0 {
			if e.blank && e.breaks && i+len(e.head) > 0 {
				w.WriteByte('\n')
			}
			w.newline(indent + 2)
			line = indent + 2
		}
		if v.isMap {
			w.field(e, line)
		} else {
			for _, c := range e.between {
				w.WriteString(c.text)
				w.newline(line)
			}
			w.inline(e.value, line)
		}
		if i < len(v.entries)-1 {
			w.WriteByte(',')
		}
		w.tail(e.tail)
		must = e.tail.text != ""
	}
	for i, c := range v.foot {
		if c.blank && i+len(v.entries) > 0 {
			w.WriteByte('\n')
		}
		w.newline(indent + 2)
		w.WriteString(c.text)
	}
	if v.breaks || must || len(v.foot) > 0 {
		w.newline(indent)
	}
	w.WriteString(end)
}

// field writes an entry of a map in flow style.
func (w *printer) field(e *entry, indent int) {
	w.WriteString(e.key)
	if !e.colon {
		return
	}
	w.WriteByte(':')
	w.tail(e.mid)
	if e.mid.text == "" && len(e.between) == 0 {
		w.WriteByte(' ')
		w.inline(e.value, indent)
		return
	}
	for _, c := range e.between {
		w.newline(indent + 2)
		w.WriteString(c.text)
	}
	w.newline(indent + 2)
	w.inline(e.value, indent+2)
}

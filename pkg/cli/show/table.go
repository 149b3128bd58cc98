package show

import (
	"io"

	gotable "github.com/jedib0t/go-pretty/v6/table"
)

// Table is a plain table: aligned, without lines, so that it pipes well.
type Table struct{ w gotable.Writer }

// NewTable starts a table.
func NewTable(head ...string) Table {
	w := gotable.NewWriter()
	style := gotable.StyleDefault
	style.Options = gotable.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	t := Table{w}
	t.w.AppendHeader(cells(head))
	return t
}

func cells(list []string) gotable.Row {
	var r gotable.Row
	for _, c := range list {
		r = append(r, Line(c))
	}
	return r
}

// Row adds a row.
func (t Table) Row(c ...string) { t.w.AppendRow(cells(c)) }

// Write writes the table.
func (t Table) Write(w io.Writer) { _, _ = io.WriteString(w, t.w.Render()+"\n") }

package cli

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// columns is a plain table: aligned, without lines, so that it pipes well.
type columns struct{ w table.Writer }

func newTable(head ...string) columns {
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	t := columns{w}
	t.w.AppendHeader(cells(head))
	return t
}

func cells(list []string) table.Row {
	var r table.Row
	for _, c := range list {
		r = append(r, line(c))
	}
	return r
}

func (t columns) row(c ...string) { t.w.AppendRow(cells(c)) }

func (t columns) write(w io.Writer) { _, _ = io.WriteString(w, t.w.Render()+"\n") }

package policy

import (
	"embed"

	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
)

// Shapes returns the form of each kind of file, as the reader asks for it.
func Shapes() map[string]*shape.Shape {
	out := map[string]*shape.Shape{}
	for _, kind := range kinds {
		out[kind] = form.Record(func(f *form.Reader, root *form.Object) {
			r := &reader{Reader: f, p: newParser(embed.FS{}), doc: document{kind: kind}}
			r.header(root)
			r.body(kind, root)
		})
	}
	return out
}

package policy

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/shape"
	"github.com/domicile-dev/domicile/policies"
)

// TestShapesHoldEveryAcceptedFile: what the reader accepts fits the shape that was
// recorded of it, field by field.
func TestShapesHoldEveryAcceptedFile(t *testing.T) {
	shapes, read := Shapes(), map[string]bool{}
	for _, fsys := range []fs.FS{policies.Library(), os.DirFS("testdata/valid")} {
		err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".yaml") || name == "users.yaml" {
				return err
			}
			src, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			root, faults := yamlpos.Parse(src)
			if len(faults) > 0 {
				t.Fatalf("%s: %v", name, faults)
			}
			kind := root.Get("kind").Value
			read[kind] = true
			for _, x := range misfits(root, shapes[kind], kind) {
				t.Errorf("%s: %s", name, x)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for kind := range shapes {
		if !read[kind] {
			t.Errorf("no file of kind %s was looked at", kind)
		}
	}
}

func misfits(n *yamlpos.Node, s *shape.Shape, at string) (out []string) {
	if s == nil {
		return []string{at + " is not in the shape"}
	}
	switch n.Kind {
	case yamlpos.Map:
		if s.Type != shape.Object {
			return []string{fmt.Sprintf("%s is a map, and %s in the shape", at, s.Type)}
		}
		for _, f := range n.Fields {
			out = append(out, misfits(f.Value, s.Field(f.Key.Value), at+"."+f.Key.Value)...)
		}
		for _, f := range s.Fields {
			if f.Required && n.Get(f.Name) == nil {
				out = append(out, fmt.Sprintf("%s.%s is required in the shape, and absent", at, f.Name))
			}
		}
	case yamlpos.List:
		if s.Type != shape.List || len(n.Items) == 0 && !s.Empty {
			return []string{fmt.Sprintf("%s is a list of %d, and %s in the shape", at, len(n.Items), s.Type)}
		}
		for i, x := range n.Items {
			out = append(out, misfits(x, s.Items, fmt.Sprintf("%s[%d]", at, i))...)
		}
	default:
		if s.Type == shape.Object || s.Type == shape.List || s.Type == "" || s.Type == shape.Choice && !slices.Contains(s.Set, n.Value) {
			return []string{fmt.Sprintf("%s is %q, and %s in the shape", at, n.Value, s.Type)}
		}
	}
	return out
}

// TestShapesKnowWhatIsRequired: a field is required in the shape when it is so in
// every file, not when another field decides.
func TestShapesKnowWhatIsRequired(t *testing.T) {
	shapes := Shapes()
	for path, want := range map[string]bool{
		"Jurisdiction.spec.law": true, "Jurisdiction.spec.review": false, "Jurisdiction.spec.observeUntil": false,
		"Deployment.spec.directory.kind": true, "Deployment.spec.directory.file": false, "Law.spec.reviewBy": true,
		"PolicyTest.cases": true, "PolicyTest.metadata.name": true, "Waiver.spec.until": true, "Denials.metadata": false,
	} {
		names := strings.Split(path, ".")
		s := shapes[names[0]]
		for i, name := range names[1:] {
			at := s.Index(name)
			if at < 0 {
				t.Fatalf("%s: no field %s", path, name)
			}
			if f := s.Fields[at]; i == len(names)-2 && f.Required != want {
				t.Errorf("%s: required is %v", path, f.Required)
			}
			s = s.Fields[at].Shape
		}
	}
	if s := shapes[kindJurisdiction].Field("spec").Field("defaults"); s.Index("cache") >= 0 || s.Index("serve") < 0 {
		t.Error("defaults of a jurisdiction: cache is in the shape, though it is always refused, or serve is not")
	}
}

package conditions

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/trusted"
)

var ends = regexp.MustCompile(`^request\.headers\['([a-z0-9-]+)'\]\.endsWith\(request\.headers\['` + trusted.PinCredential + `'\]\)$`)

// Note is what a filter notes of a request. The zero Note says nothing.
type Note struct {
	// Headers: where it is "true", one of them ends with the credential of the pin.
	Headers []string
	// Never: it is not "true" of any request.
	Never bool
}

// State judges a filter that notes something of a request, and adds its notes. Envoy
// obeys notes of its own names; a note that is written twice says nothing.
func (r *Reader) State(where string, c *setstatev3.Config, notes map[string]Note) {
	r.Known(where, c)
	for _, v := range c.GetOnRequestHeaders() {
		r.Known(where, v)
		key := v.GetObjectKey()
		if key == "" || strings.HasPrefix(key, "envoy.") || v.GetFactoryKey() != "envoy.string" {
			r.Unjudged(where, "filter state %q of kind %q may decide where requests go", key, v.GetFactoryKey())
			continue
		}
		if _, twice := notes[key]; twice {
			notes[key] = Note{}
			continue
		}
		notes[key] = read(v.GetFormatString())
	}
}

// read returns what the text of a note means; there are few that it knows.
func read(f *corev3.SubstitutionFormatString) (n Note) {
	text, isCEL := strings.CutPrefix(f.GetTextFormatSource().GetInlineString(), "%CEL(")
	text, whole := strings.CutSuffix(text, ")%")
	if !isCEL || !whole || len(f.GetContentType()) > 0 || f.GetOmitEmptyValues() || len(f.GetFormatters()) > 0 {
		return Note{}
	}
	if text == "false" {
		return Note{Never: true}
	}
	for part := range strings.SplitSeq(text, " || ") {
		m := ends.FindStringSubmatch(part)
		if m == nil {
			return Note{}
		}
		n.Headers = append(n.Headers, m[1])
	}
	return n
}

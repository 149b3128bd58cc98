package envoy

import (
	"bytes"
	"encoding/json"

	"google.golang.org/protobuf/proto"
)

// Render writes resources as one JSON document with stable bytes: listeners,
// clusters, routes and extensions, each a list in the order of their names.
func Render(r *Resources) ([]byte, error) {
	doc := map[string][]json.RawMessage{"listeners": {}, "clusters": {}, "routes": {}, "extensions": {}}
	add := func(kind string, m proto.Message) error {
		body, err := JSON(m)
		doc[kind] = append(doc[kind], body)
		return err
	}
	for _, x := range r.Listeners {
		if err := add("listeners", x); err != nil {
			return nil, err
		}
	}
	for _, x := range r.Clusters {
		if err := add("clusters", x); err != nil {
			return nil, err
		}
	}
	for _, x := range r.Routes {
		if err := add("routes", x); err != nil {
			return nil, err
		}
	}
	for _, x := range r.Extensions {
		if err := add("extensions", x); err != nil {
			return nil, err
		}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Render writes resources as one JSON document with stable bytes: listeners,
// clusters, routes and extensions, each a list in the order of their names.
func Render(r *Resources) ([]byte, error) {
	kinds := map[string]string{ListenerType: "listeners", ClusterType: "clusters", RouteType: "routes", ExtensionType: "extensions"}
	doc := map[string][]json.RawMessage{}
	for _, kind := range kinds {
		doc[kind] = []json.RawMessage{}
	}
	err := r.each(func(url, _ string, m proto.Message) error {
		body, err := JSON(m)
		doc[kinds[url]] = append(doc[kinds[url]], body)
		return err
	})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode resources: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("indent resources: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

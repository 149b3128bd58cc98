package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"
)

// world is a made-up policy: where each home is served; homes that are missing
// are denied. Its resources say in their bodies what they use, so that tests
// can judge them: a route lists "home>cluster" for what it allows.
type world struct {
	cells     map[string]string // home to region
	endpoints int               // changes the bytes of the clusters
	keys      int               // changes the bytes of the filter
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

func res(name, body string) Resource {
	return Resource{name, hash(name + "\n" + body), &anypb.Any{TypeUrl: "test", Value: []byte(body)}}
}

func (w world) table() string {
	return fmt.Sprintf("table-%v-%d-%d", w.cells, w.endpoints, w.keys)
}

// snapshot says cells with the clusters of w; as is the table in the routes.
func (w world) snapshot(cells map[string]string, as string) *Snapshot {
	clusters, lines := map[string]bool{}, []string{"table=" + as}
	s := &Snapshot{Table: as, Resources: map[string][]Resource{}}
	ls := []Resource{res("gateway", "fixed bytes"), res("peer", "fixed bytes")}
	for _, home := range slices.Sorted(maps.Keys(cells)) {
		clusters["live/"+home+"@"+cells[home]] = true
		clusters["message@"+cells[home]] = true
		ls = append(ls, res("live/"+home+"@"+cells[home], "tcp"))
		lines = append(lines, home+">message@"+cells[home], home+">live/"+home+"@"+cells[home])
	}
	for _, c := range slices.Sorted(maps.Keys(clusters)) {
		s.Resources[ClusterType] = append(s.Resources[ClusterType], res(c, fmt.Sprint(w.endpoints)))
	}
	s.Resources[ListenerType] = ls
	for _, name := range []string{"gateway", "peer"} {
		s.Resources[RouteType] = append(s.Resources[RouteType], res(name, strings.Join(lines, "\n")))
	}
	s.Resources[ExtensionType] = []Resource{res("domicile.jwt", fmt.Sprint(w.keys))}
	return s
}

func (w world) final() *Snapshot { return w.snapshot(w.cells, w.table()) }

// target leads to w; worlds are those that the revocation knows.
func (w world) target(worlds ...world) *Target {
	return &Target{Final: w.final(), Revoke: func(from string) *Snapshot {
		for _, old := range append(worlds, w) {
			if old.table() != from {
				continue
			}
			both := map[string]string{}
			for home, region := range w.cells {
				if old.cells[home] == region {
					both[home] = region
				}
			}
			return w.snapshot(both, "revoke "+from+" for "+w.table())
		}
		return nil
	}}
}

// allows lists the "home>cluster" lines of a route.
func allows(body []byte) []string {
	var list []string
	for line := range strings.Lines(string(body)) {
		if line = strings.TrimSpace(line); strings.Contains(line, ">") {
			list = append(list, line)
		}
	}
	return list
}

// used lists the clusters that a route needs.
func used(body []byte) []string {
	var list []string
	for _, line := range allows(body) {
		_, cluster, _ := strings.Cut(line, ">")
		list = append(list, cluster)
	}
	return list
}

// place makes a world from pairs: place("SA", "riyadh", "DE", "frankfurt").
func place(pairs ...string) world {
	w := world{cells: map[string]string{}}
	for pair := range slices.Chunk(pairs, 2) {
		w.cells[pair[0]] = pair[1]
	}
	return w
}

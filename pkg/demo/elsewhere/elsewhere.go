// Package elsewhere reads which backends of a demo run elsewhere: real IM servers
// that somebody else started, in the place of sample backends. Its values say
// where such a server is, never that it may serve: a service that the deployment
// gives no backend in a region gets none from here.
//
// The package is pure.
package elsewhere

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy"
)

// Backends maps a region and one of its services to the host:port list of its
// backends. The zero value names none.
type Backends map[string]map[string][]string

// Parse reads REGION/SERVICE=HOST:PORT; the same region and service again adds a
// backend.
func Parse(args []string) (Backends, error) {
	out := Backends{}
	for _, arg := range args {
		cell, addr, _ := strings.Cut(arg, "=")
		region, service, _ := strings.Cut(cell, "/")
		if region == "" || service == "" || !isAddress(addr) {
			return nil, fmt.Errorf("backend %q: write REGION/SERVICE=HOST:PORT, as in me-riyadh/message=127.0.0.1:5280", arg)
		}
		if out[region] == nil {
			out[region] = map[string][]string{}
		}
		if !slices.Contains(out[region][service], addr) {
			out[region][service] = append(out[region][service], addr)
		}
	}
	return out, nil
}

func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && n > 0 && host != "" && !strings.ContainsAny(host, " /@")
}

// Of returns where the backends of a region's service run; empty for nowhere else.
func (b Backends) Of(region, service string) []string { return b[region][service] }

// Check returns an error for a region that the deployment lacks, or a service
// that has no backend there, with those that there are.
func (b Backends) Check(d *policy.Deployment) error {
	services := map[string][]string{}
	for _, r := range d.Regions {
		services[r.Name] = slices.Sorted(maps.Keys(r.Backends))
	}
	for _, region := range slices.Sorted(maps.Keys(b)) {
		has, ok := services[region]
		if !ok {
			return fmt.Errorf("backend of %s: the deployment has no such region; it has %s", region, strings.Join(slices.Sorted(maps.Keys(services)), ", "))
		}
		for _, service := range slices.Sorted(maps.Keys(b[region])) {
			if !slices.Contains(has, service) {
				return fmt.Errorf("backend %s/%s: the deployment gives the region no backend of this service; it has %s", region, service, strings.Join(has, ", "))
			}
		}
	}
	return nil
}

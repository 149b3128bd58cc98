package coverage

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
)

func TestCounts(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	c := New(now)
	for i := range 30_000 {
		c.Add(fmt.Sprintf("user-%d", i%10_000), "SA")
	}
	for i := range 500 {
		c.Add(fmt.Sprintf("newcomer-%d", i%250), "")
	}
	r := c.Report()
	near := func(got uint64, want float64) bool { return math.Abs(float64(got)-want) <= 0.03*want }
	if sa := r.Homes["SA"]; sa.Requests != 30_000 || !near(sa.Users, 10_000) {
		t.Errorf("SA: %+v", sa)
	}
	if r.Without.Requests != 500 || !near(r.Without.Users, 250) || !r.Since.Equal(now) || len(r.Homes) != 1 {
		t.Errorf("%+v", r)
	}
}

// Only entries with a verified user count, by the headers that Envoy has set.
func TestEntries(t *testing.T) {
	c := New(time.Time{})
	for _, h := range []map[string]string{
		nil, {homeHeader: "SA"}, {userHeader: "kim", homeHeader: "SA"}, {userHeader: "lee"},
	} {
		c.entry(&datav3.HTTPAccessLogEntry{Request: &datav3.HTTPRequestProperties{RequestHeaders: h}})
	}
	c.entry(&datav3.HTTPAccessLogEntry{})
	if r := c.Report(); r.Homes["SA"] != (Seen{1, 1}) || r.Without != (Seen{1, 1}) || len(r.Homes) != 1 {
		t.Errorf("%+v", r)
	}
}

// A token can claim any home: memory stays bounded, and nothing is lost.
func TestBounded(t *testing.T) {
	c := New(time.Time{})
	for i := range 5_000 {
		c.Add("kim", fmt.Sprintf("H%d", i))
	}
	c.Add("kim", strings.Repeat("x", 5_000))
	r := c.Report()
	var requests uint64
	for _, s := range r.Homes {
		requests += s.Requests
	}
	if len(r.Homes) > maxHomes+2 || requests != 5_001 || r.Homes[other].Users != 1 {
		t.Errorf("%d homes, %d requests, other %+v", len(r.Homes), requests, r.Homes[other])
	}
}

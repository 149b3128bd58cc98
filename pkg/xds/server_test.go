package xds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/domicile-dev/domicile/pkg/identity"
)

const gw = "eu-frankfurt/gateway/gw-1"

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestOrderOfSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		c := h.join(gw, nil)
		equal(t, "before the first publish", c.got(), []string(nil))
		equal(t, "step", h.proxy(gw).Step, StepTarget)

		h.publish(before)
		equal(t, "a fresh proxy", c.got(), []string{
			"ECDS +domicile.jwt",
			"CDS +live/DE@frankfurt +live/SA@riyadh +message@frankfurt +message@riyadh",
			"LDS +gateway +live/DE@frankfurt +live/SA@riyadh +peer",
			"RDS +gateway +peer",
		})
		h.publish(after, before)
		equal(t, "a move", c.got(), []string{
			"RDS +gateway +peer", "LDS -live/SA@riyadh", // revoke
			"CDS +live/SA@istanbul +message@istanbul",
			"LDS +live/SA@istanbul",
			"RDS +gateway +peer",
			"CDS -live/SA@riyadh -message@riyadh",
		})
		p := h.proxy(gw)
		equal(t, "state", []string{string(p.State), p.Table, p.Target, p.Step}, []string{"synced", after.table(), after.table(), ""})
	})
}

// A stalled answer holds everything back that adds or removes; what takes away
// has gone out before, and a newer target's does so again.
func TestNothingIsAddedBeforeTheAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()

		c.answering(ignores(RouteType))
		h.publish(after, before)
		equal(t, "revocation without ACK", c.got(), []string{"RDS +gateway +peer", "LDS -live/SA@riyadh"})
		equal(t, "step", h.proxy(gw).Step, StepRevoke)
		h.publish(place("SA", "istanbul"), before, after)
		equal(t, "the next one, although the first is not answered", c.got(), []string{"RDS +gateway +peer", "LDS -live/DE@frankfurt"})
		equal(t, "table", h.proxy(gw).Table, before.table())
	})
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		c.answering(ignores(ClusterType))
		h.publish(after, before)
		equal(t, "clusters without ACK", c.got(), []string{
			"RDS +gateway +peer", "LDS -live/SA@riyadh", "CDS +live/SA@istanbul +message@istanbul",
		})
	})
}

// T33: equal targets, whatever their order and address, send nothing.
func TestPublishT33Equal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		plan := h.server.groups[eu].plan.Load()
		for range 1000 {
			same := before.target(before)
			for _, list := range same.Final.Resources {
				slices.Reverse(list)
			}
			h.server.Publish(map[Group]*Target{eu: same})
		}
		equal(t, "equal targets", c.got(), []string(nil))
		equal(t, "the plan is the same", h.server.groups[eu].plan.Load() == plan, true)
		renamed := before.target(before)
		renamed.Final.Table = "another digest"
		h.server.Publish(map[Group]*Target{eu: renamed})
		equal(t, "equal resources of another table", c.got(), []string(nil))
		p := h.proxy(gw)
		equal(t, "state", []string{string(p.State), p.Table}, []string{"synced", "another digest"})
	})
}

// T30: a proxy that has everything is in sync at once, on any replica.
func TestReconnectT30(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		c.close()
		other := start(t, Config{})
		other.publish(before)
		for _, replica := range []*harness{h, other} {
			c2 := replica.join(gw, c)
			equal(t, "sent again", c2.got(), []string(nil))
			p := replica.proxy(gw)
			equal(t, "state", []string{string(p.State), p.Table}, []string{"synced", before.table()})
			c2.close()
		}
		h.publish(place("DE", "frankfurt"), before)
		c3 := h.join(gw, c)
		equal(t, "what changed meanwhile", c3.got(), []string{
			"LDS -live/SA@riyadh", "RDS +gateway +peer", "RDS +gateway +peer", "CDS -live/SA@riyadh -message@riyadh",
		})
	})
}

// T27: a NACK stays with its proxy and its type; the pauses grow.
func TestNackT27(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{MaxBackoff: 10 * time.Second})
		h.publish(before)
		bad, good := h.join(gw, nil), h.join("eu-frankfurt/gateway/gw-2", nil)
		bad.got()
		bad.answering(rejects(ClusterType, "message@istanbul", strings.Repeat("x", 1023)+"法域"))
		began := time.Now()
		h.publish(after, before)
		equal(t, "until the NACK", bad.got(), []string{
			"RDS +gateway +peer", "LDS -live/SA@riyadh", "CDS +live/SA@istanbul +message@istanbul",
		})
		equal(t, "the other", h.proxy(good.id).State, Synced)
		p := h.proxy(gw)
		equal(t, "state", p.State, Rejected)
		equal(t, "error", p.Error, &Rejection{
			Type: ClusterType, Detail: strings.Repeat("x", 1023), Attempts: 1, Since: began,
			Version: "live/SA@istanbul@" + res("live/SA@istanbul", "0").Version + " and 1 more",
		})

		var tries []time.Duration
		for len(tries) < 6 && bad.ended() == nil {
			time.Sleep(100 * time.Millisecond)
			if len(bad.got()) > 0 {
				tries = append(tries, time.Since(began))
			}
		}
		if len(tries) < 6 {
			t.Fatalf("%d tries, then the stream ended with %v", len(tries), bad.ended())
		}
		for i, pause := range []time.Duration{1, 2, 4, 8, 10, 10} {
			from := time.Duration(0)
			if i > 0 {
				from = tries[i-1]
			}
			got := tries[i] - from
			if low, high := pause*800*time.Millisecond, pause*1200*time.Millisecond+200*time.Millisecond; got < low-200*time.Millisecond || got > high {
				t.Errorf("pause %d is %v, want about %d s", i, got, pause)
			}
		}
		equal(t, "attempts", h.proxy(gw).Error.Attempts, 7)

		h.publish(place("DE", "frankfurt"), before, after)
		equal(t, "a newer target goes at once", bad.got(), []string{
			"RDS +gateway +peer", "RDS +gateway +peer", "CDS -live/SA@riyadh -message@riyadh",
		})
		equal(t, "state", h.proxy(gw).State, Synced)
	})
}

// T27: one rejected piece of a revocation does not keep the others.
func TestNackT27InRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		c.answering(rejects(RouteType, "peer", "no"))
		h.publish(after, before)
		equal(t, "after the NACK", c.got(), []string{"RDS +gateway +peer", "LDS -live/SA@riyadh"})
		c.answering(accept)
		time.Sleep(2 * time.Second)
		equal(t, "the rest", c.got(), []string{
			"RDS +gateway +peer", "CDS +live/SA@istanbul +message@istanbul", "LDS +live/SA@istanbul",
			"RDS +gateway +peer", "CDS -live/SA@riyadh -message@riyadh",
		})
	})
}

// T29: a proxy that does not read delays nobody and is sent away in time.
func TestStalledT29(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		big := before.target()
		for i := range 2000 {
			big.Final.Resources[ClusterType] = append(big.Final.Resources[ClusterType],
				res(fmt.Sprintf("big-%04d", i), strings.Repeat("x", 3000)))
		}
		h.server.Publish(map[Group]*Target{eu: big})
		gate := make(chan struct{})
		stalled := h.join(gw, nil, func(c *client) { c.gate = gate })
		good := h.join("eu-frankfurt/gateway/gw-2", nil)
		chunks := 0
		for _, line := range good.got() {
			if strings.HasPrefix(line, "CDS") {
				chunks++
			}
		}
		equal(t, "6 MB come in responses of 2 MiB", chunks, 4)
		for range 20 {
			h.publish(after, before)
			h.publish(before, after)
		}
		h.publish(after, before)
		good.got()
		p := h.proxy(good.id)
		equal(t, "the other", []string{string(p.State), p.Table}, []string{"synced", after.table()})
		equal(t, "the stalled one", h.proxy(gw).State, Pending)

		time.Sleep(15 * time.Second)
		synctest.Wait()
		equal(t, "after the deadline", h.proxy(gw).State, Silent)
		close(gate)
		if err := stalled.ended(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("ended with %v", err)
		}
	})
}

// T29: one that reads and never answers, too; the queue for it is bounded.
func TestSilentT29(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		c.answering(func(*discoveryv3.DeltaDiscoveryResponse) error { return errNoAnswer })
		last := before
		for i := range 50 {
			next := before
			next.keys = i + 1
			h.publish(next, last)
			last = next
			synctest.Wait()
		}
		equal(t, "unanswered responses of two types", len(c.got()), 2*maxFlights)
		time.Sleep(15 * time.Second)
		if err := c.ended(); status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "no answer") {
			t.Errorf("ended with %v", err)
		}
		p := h.proxy(gw)
		equal(t, "state", []string{string(p.State), p.Table}, []string{"silent", before.table()})
		equal(t, "connected", p.ConnectedSince.IsZero(), true)

		back := h.join(gw, c)
		equal(t, "back", back.got(), []string{"RDS +gateway +peer", "ECDS +domicile.jwt"})
		equal(t, "state", h.proxy(gw).State, Synced)
	})
}

// T27: an answer to nothing moves nothing.
func TestNonceT27(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		old := c.nonces[len(c.nonces)-1]
		c.answering(ignores(RouteType))
		h.publish(after, before)
		c.got()
		for _, nonce := range []string{"", "made-up", old} {
			c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: RouteType, ResponseNonce: nonce})
			equal(t, "after nonce "+nonce, c.got(), []string(nil))
		}
		equal(t, "step", h.proxy(gw).Step, StepRevoke)
		c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, ResponseNonce: c.nonces[len(c.nonces)-2]})
		equal(t, "the nonce of another type", c.got(), []string(nil))
	})
}

// T31: the certificate decides who a node is.
func TestNodeT31Forged(t *testing.T) {
	for name, test := range map[string]struct {
		cert, node string
		code       codes.Code
	}{
		"another name":      {gw, "eu-frankfurt/gateway/gw-2", codes.PermissionDenied},
		"another region":    {gw, "me-riyadh/gateway/gw-1", codes.PermissionDenied},
		"no node":           {gw, "", codes.PermissionDenied},
		"no proxy":          {"-/operator/eve", "-/operator/eve", codes.PermissionDenied},
		"control":           {"-/control/c-1", "-/control/c-1", codes.PermissionDenied},
		"too many parts":    {gw + "/x", gw + "/x", codes.PermissionDenied},
		"not canonical":     {"EU-frankfurt/gateway/x", "EU-frankfurt/gateway/x", codes.PermissionDenied},
		"escape":            {"eu%2Dfrankfurt/gateway/x", "eu%2Dfrankfurt/gateway/x", codes.PermissionDenied},
		"no certificate id": {"", "", codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t, Config{})
				h.publish(before)
				c := h.dial(test.cert)
				c.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: test.node}, TypeUrl: ClusterType})
				go c.run()
				equal(t, "code", status.Code(c.ended()), test.code)
				equal(t, "sent", c.got(), []string(nil))
				equal(t, "in the status", len(h.server.Proxies()), 0)
			})
		})
	}
}

// T29: the same node again: the newer stream wins.
func TestTwiceT29(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		older := h.join(gw, nil)
		newer := h.join(gw, nil)
		equal(t, "the older", status.Code(older.ended()), codes.Aborted)
		equal(t, "the newer", newer.ended(), error(nil))
		equal(t, "state", h.proxy(gw).State, Synced)
		equal(t, "proxies", len(h.server.Proxies()), 1)
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{MaxStreams: 1, MaxNames: 10})
		h.publish(before)
		c := h.join(gw, nil)
		second := h.join("eu-frankfurt/gateway/gw-2", nil)
		equal(t, "one stream too many", status.Code(second.ended()), codes.ResourceExhausted)
		for i := range 3 {
			var names []string
			for j := range 4 {
				names = append(names, fmt.Sprint(i, j))
			}
			c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: RouteType, ResourceNamesSubscribe: names})
		}
		equal(t, "names", status.Code(c.ended()), codes.ResourceExhausted)
		third := h.join(gw, nil)
		equal(t, "room again", third.ended(), error(nil))
		third.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/other"})
		equal(t, "type", status.Code(third.ended()), codes.InvalidArgument)
		mute := h.dial(gw)
		go mute.run()
		time.Sleep(15 * time.Second)
		equal(t, "no first request", status.Code(mute.ended()), codes.DeadlineExceeded)
	})
}

func TestSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		ask := func(typeURL string, subscribe, unsubscribe []string) []string {
			c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: subscribe, ResourceNamesUnsubscribe: unsubscribe})
			return c.got()
		}
		equal(t, "one that does not exist", ask(RouteType, []string{"nowhere"}, nil), []string{"RDS -nowhere"})
		equal(t, "again", ask(RouteType, []string{"gateway"}, nil), []string{"RDS +gateway"})
		equal(t, "a cluster by name", ask(ClusterType, []string{"message@riyadh"}, nil), []string{"CDS +message@riyadh"})
		equal(t, "no more", ask(RouteType, nil, []string{"gateway"}), []string(nil))
		equal(t, "state", h.proxy(gw).State, Synced)
		moved := before
		moved.keys = 1
		h.publish(moved, before)
		equal(t, "without the unsubscribed", c.got(), []string{"RDS +peer", "ECDS +domicile.jwt", "RDS +peer"})
		equal(t, "it comes back", ask(RouteType, []string{"gateway"}, nil), []string{"RDS +gateway"})
	})
}

// A group that is no longer published is closed, listeners first, and so is a
// proxy of a group that never was.
func TestGroupWithoutTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		h.server.Publish(map[Group]*Target{{"me-riyadh", "gateway"}: after.target()})
		got := c.got()
		equal(t, "first", got[:1], []string{"RDS -gateway -peer"})
		equal(t, "then", got[1], "LDS -gateway -live/DE@frankfurt -live/SA@riyadh -peer")
		lost := h.join("us-1/gateway/gw-1", nil)
		equal(t, "of no group", lost.got(), []string{"CDS", "ECDS -domicile.jwt", "LDS", "RDS -gateway -peer"})
		h.publish(before)
		c.got()
		equal(t, "back", h.proxy(gw).State, Synced)
	})
}

// A target that cannot be served changes nothing for its group.
func TestPublishInvalid(t *testing.T) {
	for name, broken := range map[string]func(*Snapshot){
		"twice":   func(s *Snapshot) { s.Resources[RouteType] = append(s.Resources[RouteType], s.Resources[RouteType][0]) },
		"type":    func(s *Snapshot) { s.Resources["other"] = nil },
		"version": func(s *Snapshot) { s.Resources[RouteType][0].Version = "" },
		"body":    func(s *Snapshot) { s.Resources[RouteType][0].Body = (*anypb.Any)(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t, Config{})
				h.publish(before)
				c := h.join(gw, nil)
				c.got()
				target := after.target(before)
				broken(target.Final)
				h.server.Publish(map[Group]*Target{eu: target})
				equal(t, "sent", c.got(), []string(nil))
				equal(t, "target", h.proxy(gw).Target, before.table())
			})
		})
	}
}

func TestStatusAndMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		h := start(t, Config{Metrics: registry})
		h.publish(before)
		c := h.join(gw, nil)
		c.got()
		bad := h.join("eu-frankfurt/gateway/a", nil, func(c *client) { c.answer = rejects(ListenerType, "peer", "no") })
		bad.got()
		gone := h.join("eu-frankfurt/gateway/b", nil)
		gone.got()
		gone.close()
		synctest.Wait()
		var ids []string
		for _, p := range h.server.Proxies() {
			ids = append(ids, p.Name+" "+string(p.State))
		}
		equal(t, "proxies", ids, []string{"a rejected", "b disconnected", "gw-1 synced"})
		equal(t, "metrics", gather(t, registry), map[string]float64{
			"domicile_xds_acks_total 0": 10, "domicile_xds_nacks_total 0": 1, "domicile_xds_ack_seconds 10": 0,
			"domicile_proxy_sync_state 0 eu-frankfurt disconnected": 1,
			"domicile_proxy_sync_state 0 eu-frankfurt pending":      0,
			"domicile_proxy_sync_state 0 eu-frankfurt rejected":     1,
			"domicile_proxy_sync_state 0 eu-frankfurt silent":       0,
			"domicile_proxy_sync_state 0 eu-frankfurt synced":       1,
			"domicile_xds_pushes_total 0 " + ClusterType:            3,
			"domicile_xds_pushes_total 0 " + ListenerType:           3,
			"domicile_xds_pushes_total 0 " + RouteType:              2,
			"domicile_xds_pushes_total 0 " + ExtensionType:          3,
		})
		time.Sleep(time.Hour)
		ids = nil
		for _, p := range h.server.Proxies() {
			ids = append(ids, p.Name)
		}
		equal(t, "after an hour", ids, []string{"a", "gw-1"})
	})
}

// gather reads a registry: name, number of observations, labels; and the value.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := fmt.Sprint(f.GetName(), " ", m.GetHistogram().GetSampleCount())
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func TestCloseEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		c := h.join(gw, nil)
		h.server.Close()
		h.server.Close()
		if err := c.ended(); status.Code(err) != codes.Unavailable {
			t.Errorf("ended with %v", err)
		}
		if err := h.join(gw, nil).ended(); status.Code(err) != codes.Unavailable {
			t.Errorf("a new one ended with %v", err)
		}
	})
}

// What the hook returns without a gRPC code is no permission.
func TestAuthenticateError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, Config{})
		h.server.config.Authenticate = func(context.Context) (identity.ID, error) { return identity.ID{}, errors.New("no") }
		equal(t, "code", status.Code(h.join(gw, nil).ended()), codes.Unauthenticated)
	})
}

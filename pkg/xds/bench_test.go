package xds

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// BenchmarkPublish moves one home for a number of mTLS proxies, which share the
// machine: from Publish to the ACK of the last one, all steps counted.
func BenchmarkPublish(b *testing.B) {
	for _, proxies := range []int{100, 1000} {
		for _, unchanged := range []int{0, 2000} {
			b.Run(fmt.Sprintf("proxies=%d/unchanged=%d", proxies, unchanged), func(b *testing.B) {
				benchPublish(b, proxies, unchanged)
			})
		}
	}
}

func benchPublish(b *testing.B, proxies, unchanged int) {
	ca := newAuthority(b)
	s := New(Config{TrustDomain: "demo"})
	addr := ca.serveTLS(s, tls.RequireAndVerifyClientCert)
	worlds := []world{before, after}
	var targets []*Target
	for i, w := range worlds {
		t := w.target(worlds[1-i])
		extra := make([]Resource, unchanged)
		for j := range extra {
			extra[j] = res(fmt.Sprintf("other-%04d", j), "same")
		}
		t.Final.Resources[ClusterType] = append(t.Final.Resources[ClusterType], extra...)
		targets = append(targets, t)
	}
	s.Publish(map[Group]*Target{eu: targets[0]})
	ctx, cancel := context.WithCancel(b.Context())
	var clients sync.WaitGroup
	for i := range proxies {
		id := fmt.Sprintf("eu-frankfurt/gateway/gw-%d", i)
		stream, err := ca.dialTLS(ctx, addr, ca.leaf("spiffe://demo/"+id))
		if err != nil {
			b.Fatal(err)
		}
		names := [kinds][]string{routes: {"gateway", "peer"}, extensions: {"domicile.jwt"}}
		for k, typeURL := range typeURLs {
			_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: id}, TypeUrl: typeURL, ResourceNamesSubscribe: names[k]})
		}
		clients.Go(func() {
			for {
				resp, err := stream.Recv()
				if err != nil {
					return
				}
				_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce})
			}
		})
	}
	wait := func(table string) {
		for {
			left := proxies
			for _, p := range s.Proxies() {
				if p.State == Synced && p.Table == table {
					left--
				}
			}
			if left == 0 {
				return
			}
			<-time.After(2 * time.Millisecond)
		}
	}
	wait(before.table())
	i := 0
	for b.Loop() {
		i = 1 - i
		s.Publish(map[Group]*Target{eu: targets[i]})
		wait(worlds[i].table())
	}
	cancel()
	clients.Wait()
}

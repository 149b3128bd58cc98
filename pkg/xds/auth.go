package xds

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// AuthenticateTLS reads a client's id, REGION/ROLE/NAME, from the one SPIFFE
// URI of its verified certificate, spiffe://trustDomain/REGION/ROLE/NAME.
// Without a verified certificate the error is Unauthenticated, with an unfit
// one PermissionDenied.
func AuthenticateTLS(trustDomain string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		p, _ := peer.FromContext(ctx)
		if p == nil {
			return "", status.Error(codes.Unauthenticated, "client certificate needed")
		}
		info, ok := p.AuthInfo.(credentials.TLSInfo)
		if !ok || len(info.State.VerifiedChains) == 0 {
			return "", status.Error(codes.Unauthenticated, "client certificate needed")
		}
		leaf := info.State.VerifiedChains[0][0]
		if len(leaf.URIs) != 1 {
			return "", status.Error(codes.PermissionDenied, "the certificate needs exactly one URI name")
		}
		// The text is compared, not the parsed parts: no escape, port or query
		// can make two names of one.
		id, ok := strings.CutPrefix(leaf.URIs[0].String(), "spiffe://"+trustDomain+"/")
		if _, err := parseID(id); !ok || err != nil {
			return "", status.Error(codes.PermissionDenied, "the certificate is not that of a proxy of this trust domain")
		}
		return id, nil
	}
}

// nodeID is a proxy's id in its parts.
type nodeID struct {
	Group
	Name string
}

var roles = []string{"gateway", "peer", "sidecar"}

// parseID reads REGION/ROLE/NAME; roles that are no proxies are refused.
func parseID(id string) (nodeID, error) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 || len(id) > 255 || slices.Contains(parts, "") ||
		strings.ContainsAny(id, "?#%") || !slices.Contains(roles, parts[1]) {
		return nodeID{}, status.Errorf(codes.PermissionDenied, "%.255q is not REGION/ROLE/NAME of a proxy", id)
	}
	return nodeID{Group{parts[0], parts[1]}, parts[2]}, nil
}

package xds

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/domicile-dev/domicile/pkg/identity"
)

// AuthenticateTLS reads a client's id from its verified certificate, by the
// rules of package identity. Without a verified certificate the error is
// Unauthenticated, with an unfit one PermissionDenied.
func AuthenticateTLS(trustDomain string) func(context.Context) (identity.ID, error) {
	return func(ctx context.Context) (identity.ID, error) {
		p, _ := peer.FromContext(ctx)
		if p == nil {
			return identity.ID{}, status.Error(codes.Unauthenticated, "client certificate needed")
		}
		info, ok := p.AuthInfo.(credentials.TLSInfo)
		if !ok || len(info.State.VerifiedChains) == 0 {
			return identity.ID{}, status.Error(codes.Unauthenticated, "client certificate needed")
		}
		id, err := identity.FromCertificate(info.State.VerifiedChains[0][0], trustDomain)
		if err != nil {
			return identity.ID{}, status.Error(codes.PermissionDenied, clip(err.Error()))
		}
		return id, nil
	}
}

var served = identity.Role(identity.Envoys()...)

// admit refuses whoever is no proxy: a node of the trust domain may be one of
// the control plane, or an operator.
func admit(id identity.ID) error {
	err := id.Validate()
	if err == nil {
		err = served(id)
	}
	if err != nil {
		return status.Error(codes.PermissionDenied, clip(err.Error()))
	}
	return nil
}

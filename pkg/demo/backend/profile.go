package backend

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// defaultProfile invents a profile from the user's name, the same in every
// backend. Numbers and names are of ranges that belong to nobody.
func defaultProfile(user string) map[string]any {
	sum := sha256.Sum256([]byte(user))
	n := binary.BigEndian.Uint32(sum[:])
	born := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(n%12000))
	return map[string]any{
		"displayName": user,
		"avatarUrl":   fmt.Sprintf("https://avatars.example/%x.png", sum[:8]),
		"phone":       fmt.Sprintf("+999%09d", n%1_000_000_000),
		"email":       url.PathEscape(user) + "@example.com",
		"birthDate":   born.Format(time.DateOnly),
	}
}

// healthServer is grpc.health.v1.Health of a backend that serves: a Watch stays
// open until the caller or the process ends.
type healthServer struct {
	grpc_health_v1.UnimplementedHealthServer
	done <-chan struct{}
}

var serving = &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}

// Check implements grpc.health.v1.Health.
func (healthServer) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return serving, nil
}

// Watch implements grpc.health.v1.Health.
func (h healthServer) Watch(_ *grpc_health_v1.HealthCheckRequest, s grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	if err := s.Send(serving); err != nil {
		return err
	}
	select {
	case <-s.Context().Done():
		return s.Context().Err()
	case <-h.done:
		return status.Error(codes.Unavailable, "the backend stops")
	}
}

package main

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/valyala/fasthttp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// The roles in which this program starts itself.
const (
	backendRole = "bench-backend" // ADDRESS
	callOutRole = "bench-callout" // SOCKET MAP
)

var children = map[string]func(args []string) error{backendRole: serveBackend, callOutRole: serveCallOut}

// serveBackend answers every request with 200 and every WebSocket message with
// itself.
func serveBackend(args []string) error {
	if len(args) != 1 {
		return errors.New(backendRole + ": want ADDRESS")
	}
	runtime.GOMAXPROCS(1)
	s := &fasthttp.Server{
		NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true, ReadBufferSize: 16 << 10,
		Handler: func(c *fasthttp.RequestCtx) {
			if key := c.Request.Header.Peek("Sec-Websocket-Key"); len(key) > 0 {
				c.SetStatusCode(fasthttp.StatusSwitchingProtocols)
				c.Response.Header.Set("Upgrade", "websocket")
				c.Response.Header.Set("Connection", "Upgrade")
				c.Response.Header.Set("Sec-WebSocket-Accept", acceptKey(string(key)))
				c.Hijack(echo)
				return
			}
			c.SetBodyString("ok")
		},
	}
	return s.ListenAndServe(args[0])
}

// acceptKey is RFC 6455, 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // not for secrecy
	return base64.StdEncoding.EncodeToString(sum[:])
}

// echo returns each short, masked, unfragmented message as a server must: unmasked.
func echo(c net.Conn) {
	frame := make([]byte, 2+4+125)
	for {
		if _, err := io.ReadFull(c, frame[:6]); err != nil {
			return
		}
		n := int(frame[1] & 0x7f)
		if frame[0] != 0x82 || frame[1]&0x80 == 0 || n > 125 {
			return
		}
		body := frame[6 : 6+n]
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		for i := range body {
			body[i] ^= frame[2+i%4]
		}
		frame[4], frame[5] = 0x82, byte(n)
		if _, err := c.Write(frame[4 : 6+n]); err != nil {
			return
		}
	}
}

// callOut is what a user would write instead: Envoy has verified the token, and
// a map says which region the home's users belong to.
type callOut struct {
	authv3.UnimplementedAuthorizationServer
	regions map[string]string
}

func serveCallOut(args []string) error {
	if len(args) != 2 {
		return errors.New(callOutRole + ": want SOCKET MAP")
	}
	c := &callOut{}
	if err := json.NewDecoder(strings.NewReader(args[1])).Decode(&c.regions); err != nil {
		return fmt.Errorf("%s: %w", callOutRole, err)
	}
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, c)
	return s.Serve(l)
}

// Check implements Envoy's Authorization service.
func (c *callOut) Check(_ context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	region, ok := c.regions[q.GetAttributes().GetRequest().GetHttp().GetHeaders()["x-domicile-home"]]
	if !ok {
		return &authv3.CheckResponse{
			Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden},
			}},
		}, nil
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: regionHeader, Value: region}}},
		}},
	}, nil
}

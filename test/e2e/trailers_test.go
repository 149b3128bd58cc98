package e2e_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What stands in the trailers of a gRPC stream reaches the backend over HTTP/2, also
// where the stream crosses to another region. Some servers read them as headers.
func TestT01_TrailersOfGRPCNameNobody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	streams := make(chan []string, 4)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go answerStreams(c, streams)
		}
	}()
	l := own(t, "--backend", "tr-istanbul/message="+ln.Addr().String())
	for _, region := range []string{"tr-istanbul", "eu-frankfurt"} {
		for door, at := range map[string]string{"gateway": l.ready.Regions[region].Gateway, "sidecar": l.ready.Regions[region].Sidecar} {
			sendTrailers(t, at, l.token(t, "deniz", "TR"))
			select {
			case got := <-streams:
				if !slices.Contains(got, "x-domicile-user: deniz") || slices.Contains(got, "x-domicile-user: root") || slices.Contains(got, "x-domicile-home: SA") {
					t.Errorf("%s of %s: %q", door, region, got)
				}
				if !slices.Contains(got, "checksum: 1") {
					t.Errorf("%s of %s: no trailers came: %q", door, region, got)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s of %s: nothing came", door, region)
			}
		}
	}
}

// sendTrailers sends one gRPC request that names another user in its trailers, and
// waits for the answer.
func sendTrailers(t *testing.T, at, token string) {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	f := http2.NewFramer(c, c)
	_, _ = io.WriteString(c, http2.ClientPreface)
	_ = f.WriteSettings()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	fields := func(end bool, list ...string) {
		block.Reset()
		for i := 0; i < len(list); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
		}
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end}); err != nil {
			t.Fatal(err)
		}
	}
	fields(false, ":method", "POST", ":scheme", "http", ":authority", u.Host, ":path", "/grpc.health.v1.Health/Check",
		"content-type", "application/grpc", "te", "trailers", "authorization", "Bearer "+token)
	_ = f.WriteData(1, false, make([]byte, 5))
	fields(true, "x-domicile-home", "SA", "x-domicile-user", "root", "checksum", "1")
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if frame.Header().StreamID == 1 {
			return
		}
	}
}

// answerStreams is a backend of HTTP/2 that tells all headers and trailers of a stream.
func answerStreams(c net.Conn, streams chan<- []string) {
	defer func() { _ = c.Close() }()
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	got := map[uint32][]string{}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			_ = f.WritePing(true, frame.Data)
		case *http2.MetaHeadersFrame:
			for _, h := range frame.Fields {
				got[frame.StreamID] = append(got[frame.StreamID], h.Name+": "+h.Value)
			}
			if frame.StreamEnded() {
				streams <- got[frame.StreamID]
				// 8 is ":status: 200" in the static table (RFC 7541, appendix A).
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID, BlockFragment: []byte{0x80 | 8}, EndHeaders: true, EndStream: true})
			}
		}
	}
}

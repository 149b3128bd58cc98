package kill_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// call is one request of the control plane to etcd.
type call struct {
	op      string // Range, Put or Txn
	key     string // the first that it is about
	swapped bool   // a transaction has made another record the head already
}

// about tells whether a call is an operation on a key that begins so, below the
// store's prefix.
func (c call) about(op, key string) bool {
	return c.op == op && strings.HasPrefix(strings.TrimPrefix(c.key, "/domicile/v1/"), key)
}

// trap kills when a call comes by: before etcd sees it, or after etcd has carried
// it out and before the answer leaves.
type trap struct {
	hit   func(call) bool
	after bool
	kill  func()
	done  chan struct{} // closed after the kill
}

// relay stands between the control plane and etcd, and passes everything on. It
// is where a test can tell one step of a change from the next, without a hook in
// the programs that run.
type relay struct {
	back *grpc.ClientConn
	mu   sync.Mutex
	set  *trap
	swap bool
}

// newRelay serves at an address of its own, and returns it.
func newRelay(t *testing.T, etcd string) (*relay, string) {
	t.Helper()
	back, err := grpc.NewClient(etcd,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond}, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(verbatim{}), grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{back: back}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := grpc.NewServer(grpc.UnknownServiceHandler(r.carry), grpc.ForceServerCodec(verbatim{}), grpc.MaxRecvMsgSize(64<<20))
	go front.Serve(l) //nolint:errcheck // ends with Stop
	t.Cleanup(func() { front.Stop(); back.Close() })
	return r, l.Addr().String()
}

// arm sets the trap for the calls from now on.
func (r *relay) arm(x *trap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set, r.swap = x, false
}

// step tells the relay of a call; it reports whether that sprang the trap.
func (r *relay) step(c call, after bool) bool {
	r.mu.Lock()
	x := r.set
	c.swapped = r.swap
	if after && c.about("Txn", "head") {
		r.swap = true
	}
	if x == nil || x.after != after || !x.hit(c) {
		r.mu.Unlock()
		return false
	}
	r.set = nil
	r.mu.Unlock()
	x.kill()
	close(x.done)
	return true
}

var errKilled = status.Error(codes.Unavailable, "test: killed")

func (r *relay) carry(_ any, front grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(front)
	ctx := front.Context()
	if in, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, in)
	}
	op, kv := strings.CutPrefix(method, "/etcdserverpb.KV/")
	if !kv {
		return r.pipe(ctx, method, front)
	}
	var in, out []byte
	if err := front.RecvMsg(&in); err != nil {
		return err
	}
	c := call{op: op, key: keyOf(op, in)}
	if r.step(c, false) {
		return errKilled
	}
	if err := r.back.Invoke(ctx, method, &in, &out); err != nil {
		return err
	}
	if r.step(c, true) {
		return errKilled
	}
	return front.SendMsg(&out)
}

// pipe passes a stream on, such as a watch.
func (r *relay) pipe(ctx context.Context, method string, front grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	back, err := r.back.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var m []byte
			if front.RecvMsg(&m) != nil || back.SendMsg(&m) != nil {
				_ = back.CloseSend()
				return
			}
		}
	}()
	for {
		var m []byte
		if err := back.RecvMsg(&m); err != nil {
			return err
		}
		if err := front.SendMsg(&m); err != nil {
			return err
		}
	}
}

// keyOf is the first key of a request; of a transaction, the first that it
// compares or changes.
func keyOf(op string, data []byte) string {
	switch op {
	case "Range":
		var m etcdserverpb.RangeRequest
		_ = proto.Unmarshal(data, &m)
		return string(m.Key)
	case "Put":
		var m etcdserverpb.PutRequest
		_ = proto.Unmarshal(data, &m)
		return string(m.Key)
	case "Txn":
		var m etcdserverpb.TxnRequest
		_ = proto.Unmarshal(data, &m)
		for _, o := range m.Success {
			if p := o.GetRequestPut(); p != nil {
				return string(p.Key)
			}
		}
	}
	return ""
}

// verbatim is a codec that leaves messages as they are.
type verbatim struct{}

func (verbatim) Name() string { return "proto" }

func (verbatim) Marshal(v any) ([]byte, error) {
	if b, ok := v.(*[]byte); ok {
		return *b, nil
	}
	return nil, fmt.Errorf("marshal %T: not bytes", v)
}

func (verbatim) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal into %T: not bytes", v)
	}
	*b = append([]byte(nil), data...)
	return nil
}

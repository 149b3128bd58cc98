// Package packing wraps messages into Any with deterministic bytes, so that equal
// configurations have equal versions.
package packing

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Packer wraps messages and keeps the first error, so that a configuration can be
// written down as one expression and be thrown away as a whole. The zero Packer is
// ready; it must not be used concurrently.
type Packer struct{ err error }

// Pack wraps a message. After an error the result means nothing.
func (p *Packer) Pack(m proto.Message) *anypb.Any {
	a, err := Pack(m)
	if err != nil {
		p.Fail(err)
	}
	return a
}

// Fail keeps the first error.
func (p *Packer) Fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Err is the first error, nil where there is none.
func (p *Packer) Err() error { return p.err }

// Pack wraps a message.
func Pack(m proto.Message) (*anypb.Any, error) {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return a, nil
}

// Package findings collects what the leak check finds. It is pure; a List must
// not be used concurrently.
package findings

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/fields"
)

// The codes of findings; package leakcheck exports them.
const (
	RegionNotAllowed = "region-not-allowed"
	Denied           = "denied"
	NoClass          = "no-class"
	NoHome           = "no-home"
	NotEntitled      = "issuer"
	UnknownEndpoint  = "unknown-endpoint"
	AroundPeer       = "around-peer"
	Onward           = "onward"
	PeerUnproved     = "peer-unproved"
	HeaderTrust      = "header-trust"
	PinUnproved      = "pin"
	TokenUnproved    = "token"
	Decrypted        = "decrypted"
	Endless          = "endless"
	AgentBypassed    = "agent"
	NotObserved      = "not-observed"
	NotJudged        = "not-judged"
)

// Finding is one way out, or one thing that keeps the proof from being made.
type Finding struct {
	Code     string `json:"code"`
	Where    string `json:"where"` // listener › route table › branch › route
	Home     string `json:"home,omitempty"`
	Class    string `json:"class,omitempty"`
	Entry    string `json:"entry,omitempty"`
	Region   string `json:"region,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Message  string `json:"message"`
}

// String is one line for people.
func (f Finding) String() string { return f.Where + ": " + f.Code + ": " + f.Message }

// List is what was found so far, without duplicates. The zero List is empty.
type List struct {
	found    []Finding
	seen     map[Finding]bool
	reported int
}

// Found is the list, in the order in which it was reported.
func (l *List) Found() []Finding { return l.found }

// Reported counts calls of Report: it has grown where something was found, even
// again.
func (l *List) Reported() int { return l.reported }

// Report keeps a finding once. What protobuf says varies in its spaces from
// build to build, on purpose.
func (l *List) Report(f Finding) {
	l.reported++
	f.Message = strings.Join(strings.Fields(f.Message), " ")
	if l.seen == nil {
		l.seen = map[Finding]bool{}
	}
	if !l.seen[f] {
		l.seen[f] = true
		l.found = append(l.found, f)
	}
}

// Unjudged reports configuration outside the closed set.
func (l *List) Unjudged(where, format string, args ...any) {
	l.Report(Finding{Code: NotJudged, Where: where, Message: fmt.Sprintf(format, args...)})
}

// Known reports every field of m outside the closed set.
func (l *List) Known(where string, m proto.Message) {
	for _, f := range fields.Outside(m) {
		l.Unjudged(where, "field %s of %s", f, m.ProtoReflect().Descriptor().Name())
	}
}

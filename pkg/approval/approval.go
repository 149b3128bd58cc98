// Package approval says who stands behind a change of policy, in a form that
// anybody can check offline: a statement of what is to become the policy head, in
// the in-toto form (Statement v1), in a DSSE envelope that several people sign.
//
// The deployment that is in force decides whose signatures count for its
// successor, and in which roles; so a change of signers is itself approved by the
// present ones. A statement is bound to its place in the history: to the sequence
// that it makes and to the bundle that it replaces. The same signatures can
// neither bring the policy back later nor put it on top of anything else.
//
// What a stolen key can do is what its roles can do together with the others that
// an action needs; it cannot sign alone where two roles are asked for, and it can
// rewrite nothing that was recorded. All functions are pure and bounded: an
// envelope is at most MaxEnvelope bytes and MaxSignatures signatures.
package approval

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/domicile-dev/domicile/pkg/policy"
)

// Bounds of an envelope.
const (
	MaxEnvelope   = 64 << 10
	MaxSignatures = 32
)

const (
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://domicile.dev/change/v1"
)

// Action is what a statement allows.
type Action string

// The actions.
const (
	Apply    Action = "apply"
	Rollback Action = "rollback"
	// Deny pulls the emergency brake: it may tighten only.
	Deny Action = "deny"
)

// Statement is what is signed: that a bundle may become the policy head with this
// sequence, on top of that bundle.
type Statement struct {
	Deployment string    `json:"deployment"`
	Action     Action    `json:"action"`
	Sequence   uint64    `json:"sequence"`           // that it makes
	Previous   string    `json:"previous,omitempty"` // digest of the bundle that it replaces; empty for the first
	Bundle     string    `json:"-"`                  // digest; the subject of the in-toto statement
	Message    string    `json:"message,omitempty"`
	GitCommit  string    `json:"gitCommit,omitempty"`
	At         time.Time `json:"at"`
	// Expires is when it may no longer be used; zero is never. It bounds how long
	// a signed change can be held back.
	Expires time.Time `json:"expires,omitzero"`
}

type inToto struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Statement `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

func (s Statement) encode() ([]byte, error) {
	digest, ok := cutDigest(s.Bundle)
	if !ok {
		return nil, fmt.Errorf("sign: %q is not the digest of a bundle", s.Bundle)
	}
	return json.Marshal(inToto{statementType, []subject{{"bundle", map[string]string{"sha256": digest}}}, predicateType, s})
}

func cutDigest(s string) (string, bool) {
	rest, ok := bytes.CutPrefix([]byte(s), []byte("sha256:"))
	raw, err := hex.DecodeString(string(rest))
	return string(rest), ok && err == nil && len(raw) == sha256.Size
}

func decode(payload []byte) (Statement, error) {
	var t inToto
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields() // what is not understood was not approved
	if err := d.Decode(&t); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Statement{}, errors.New("read statement: something follows it")
	}
	if t.Type != statementType || t.PredicateType != predicateType || len(t.Subject) != 1 || len(t.Subject[0].Digest) != 1 {
		return Statement{}, errors.New("read statement: it is not about a change of policy")
	}
	t.Predicate.Bundle = "sha256:" + t.Subject[0].Digest["sha256"]
	if _, ok := cutDigest(t.Predicate.Bundle); !ok {
		return Statement{}, errors.New("read statement: its subject has no digest")
	}
	return t.Predicate, nil
}

// Key is a private key that signs.
type Key struct {
	private crypto.Signer
	public  []byte // SubjectPublicKeyInfo, DER
}

// NewKey makes an Ed25519 key.
func NewKey() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return keyOf(private)
}

// ReadKey reads a private key: PKCS#8 in PEM, Ed25519 or ECDSA P-256.
func ReadKey(data []byte) (*Key, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("read key: not a private key in PEM (PKCS#8)")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("read key: not a private key in PEM (PKCS#8)") // the cause could show parts of it
	}
	return keyOf(private)
}

func keyOf(private any) (*Key, error) {
	s, ok := private.(crypto.Signer)
	if e, is := private.(*ecdsa.PrivateKey); !ok || is && e.Curve != elliptic.P256() {
		return nil, errors.New("read key: neither Ed25519 nor ECDSA P-256")
	}
	if _, err := verifierOf(s.Public()); err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return &Key{s, public}, nil
}

// PEM is the private key for its file, which its owner alone may read.
func (k *Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Public is the public key as signers of a deployment write it.
func (k *Key) Public() string { return base64.StdEncoding.EncodeToString(k.public) }

// Signer is the signer of a deployment whose key this is.
func (k *Key) Signer(signers []policy.Signer) (policy.Signer, bool) {
	i := slices.IndexFunc(signers, func(s policy.Signer) bool { return bytes.Equal(s.Key, k.public) })
	if i < 0 {
		return policy.Signer{}, false
	}
	return signers[i], true
}

// dsseKey adapts a key to package dsse.
type dsseKey struct {
	id     string
	public crypto.PublicKey
	sign   crypto.Signer // nil for one that verifies only
}

func keyID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func verifierOf(public crypto.PublicKey) (*dsseKey, error) {
	switch p := public.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() {
			return nil, errors.New("the key is neither Ed25519 nor ECDSA P-256")
		}
	default:
		return nil, errors.New("the key is neither Ed25519 nor ECDSA P-256")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return &dsseKey{id: keyID(der), public: public}, nil
}

// KeyID implements dsse.
func (k *dsseKey) KeyID() (string, error) { return k.id, nil }

// Public implements dsse.
func (k *dsseKey) Public() crypto.PublicKey { return k.public }

// Sign implements dsse.
func (k *dsseKey) Sign(_ context.Context, data []byte) ([]byte, error) {
	if _, ok := k.public.(ed25519.PublicKey); ok {
		return k.sign.Sign(rand.Reader, data, crypto.Hash(0))
	}
	sum := sha256.Sum256(data)
	return k.sign.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// Verify implements dsse.
func (k *dsseKey) Verify(_ context.Context, data, sig []byte) error {
	ok := false
	switch p := k.public.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(p, data, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		ok = ecdsa.VerifyASN1(p, sum[:], sig)
	}
	if !ok {
		return errors.New("the signature does not hold")
	}
	return nil
}

// ErrOther means that an envelope is about another change than the one named.
var ErrOther = errors.New("the approvals are for another change")

// Sign adds a signature to an envelope, which is nil for the first one. The
// statement must be the one that was signed before: ErrOther.
func Sign(ctx context.Context, envelope []byte, s Statement, k *Key) ([]byte, error) {
	payload, err := s.encode()
	if err != nil {
		return nil, err
	}
	public, err := verifierOf(k.private.Public())
	if err != nil {
		return nil, err
	}
	public.sign = k.private
	signer, err := dsse.NewEnvelopeSigner(public)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	fresh, err := signer.SignPayload(ctx, payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if len(envelope) > 0 {
		old, _, err := open(envelope)
		if err != nil {
			return nil, err
		}
		if old.Payload != fresh.Payload {
			return nil, ErrOther
		}
		old.Signatures = slices.DeleteFunc(old.Signatures, func(x dsse.Signature) bool { return x.KeyID == public.id })
		fresh.Signatures = append(old.Signatures, fresh.Signatures...)
	}
	return json.Marshal(fresh)
}

// open reads an envelope without believing it.
func open(envelope []byte) (*dsse.Envelope, Statement, error) {
	if len(envelope) > MaxEnvelope {
		return nil, Statement{}, fmt.Errorf("read approvals: more than %d bytes", MaxEnvelope)
	}
	e := &dsse.Envelope{}
	d := json.NewDecoder(bytes.NewReader(envelope))
	d.DisallowUnknownFields()
	if err := d.Decode(e); err != nil {
		return nil, Statement{}, fmt.Errorf("read approvals: not a DSSE envelope: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, Statement{}, errors.New("read approvals: something follows the envelope")
	}
	if e.PayloadType != payloadType || len(e.Signatures) > MaxSignatures {
		return nil, Statement{}, errors.New("read approvals: not an envelope of approvals")
	}
	payload, err := e.DecodeB64Payload()
	if err != nil {
		return nil, Statement{}, fmt.Errorf("read approvals: %w", err)
	}
	s, err := decode(payload)
	return e, s, err
}

// Read returns the statement of an envelope without verifying a signature.
func Read(envelope []byte) (Statement, error) {
	_, s, err := open(envelope)
	return s, err
}

// Approval is one signature that holds.
type Approval struct {
	Signer string   `json:"signer"`
	Roles  []string `json:"roles"`
}

// Verify returns what an envelope states and who of the signers has signed it,
// sorted. Signatures of others do not count and do no harm. An envelope without
// one that holds is valid and has no approvals: it allows nothing.
func Verify(ctx context.Context, envelope []byte, signers []policy.Signer) (Statement, []Approval, error) {
	e, s, err := open(envelope)
	if err != nil {
		return s, nil, err
	}
	var out []Approval
	for _, who := range signers {
		public, err := x509.ParsePKIXPublicKey(who.Key)
		if err != nil {
			continue // the reader of policies has refused it
		}
		key, err := verifierOf(public)
		if err != nil {
			continue
		}
		v, err := dsse.NewEnvelopeVerifier(key)
		if err != nil {
			return s, nil, fmt.Errorf("verify: %w", err)
		}
		if _, err := v.Verify(ctx, e); err == nil {
			out = append(out, Approval{who.Name, who.Roles})
		}
	}
	slices.SortFunc(out, func(a, b Approval) int { return bytes.Compare([]byte(a.Signer), []byte(b.Signer)) })
	return s, out, nil
}

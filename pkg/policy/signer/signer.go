// Package signer is the model and the reader of those who sign changes: their
// public keys and roles, and which roles an action asks for.
//
// The package is pure. Read reports what is wrong through its form.Reader and goes
// on; what it returns then lacks the faulty part.
package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
	"github.com/domicile-dev/domicile/pkg/policy/source"
)

// The actions that approvals speak of: every change, a change that loosens, and
// the emergency brake.
const (
	Apply         = "apply"
	Loosen        = "loosen"
	EmergencyDeny = "emergencyDeny"
)

// Signer is a person or machine whose signature counts, in its roles.
type Signer struct {
	Name  string
	Key   []byte // public key: SubjectPublicKeyInfo in DER, Ed25519 or ECDSA P-256
	Roles []string
	Pos   source.Pos
}

type reader struct {
	*form.Reader
	signers []Signer
}

// Read reads signers and approvals of a deployment's spec: who may sign, and the
// roles that must sign an action; approvals is nil where nothing is said. A role
// that nobody holds would make its action impossible, and so would two roles of
// one action that only one person holds.
func Read(f *form.Reader, spec *form.Object) (signers []Signer, approvals map[string][]string) {
	r := &reader{Reader: f}
	for _, n := range spec.Items("signers", false, false) {
		r.signer(n)
	}
	a := spec.Object("approvals", false)
	if a == nil {
		return r.signers, nil
	}
	approvals = map[string][]string{}
	for _, action := range []string{Apply, Loosen, EmergencyDeny} {
		roles := a.Texts(action, false, false, r.Name)
		if roles == nil {
			continue
		}
		approvals[action] = form.Values(roles)
		if len(r.signers) > 0 {
			r.heldRoles(action, roles)
		}
	}
	a.Done()
	if !spec.Has("signers") {
		r.Warn(a.Node, codes.NoSigners, lang.T("list signers: [{name: …, key: …, roles: […]}], or remove approvals"),
			lang.T("approvals name roles, and no signers are listed: nothing of it is enforced"))
	}
	return r.signers, approvals
}

// heldRoles refuses roles that no signer holds, or that cannot be filled by as
// many signers as there are roles.
func (r *reader) heldRoles(action string, roles []form.Text) {
	for _, role := range roles {
		if !slices.ContainsFunc(r.signers, func(s Signer) bool { return slices.Contains(s.Roles, role.Value) }) {
			r.Fail(role.At, codes.RoleUnheld, form.Suggest(role.Value, allRoles(r.signers), lang.T("give a signer the role %s, or remove it here", role.Value)),
				lang.T("approvals.%s asks for the role %s, which no signer holds", action, role.Value))
			return
		}
	}
	if !fillable(r.signers, form.Values(roles)) {
		r.Fail(roles[0].At, codes.RoleUnheld, lang.T("give the roles to different signers"),
			lang.T("approvals.%s asks for %d roles by different signers, and fewer signers hold them", action, len(roles)))
	}
}

func allRoles(signers []Signer) []string {
	var out []string
	for _, s := range signers {
		out = append(out, s.Roles...)
	}
	return out
}

// fillable tells whether each role can be filled by a signer of its own.
func fillable(signers []Signer, roles []string) bool {
	fills := make([]int, len(signers)) // 1 + the role that a signer fills
	var place func(role int, seen []bool) bool
	place = func(role int, seen []bool) bool {
		for i, s := range signers {
			if seen[i] || !slices.Contains(s.Roles, roles[role]) {
				continue
			}
			seen[i] = true
			if fills[i] == 0 || place(fills[i]-1, seen) {
				fills[i] = role + 1
				return true
			}
		}
		return false
	}
	for role := range roles {
		if !place(role, make([]bool, len(signers))) {
			return false
		}
	}
	return true
}

func (r *reader) signer(n *yamlpos.Node) {
	o := r.Object(n, "signer")
	if o == nil {
		return
	}
	s := Signer{Pos: r.Pos(n)}
	s.Name = o.Ident("name", true)
	at := o.Need("key")
	if at != nil {
		s.Key = r.publicKey(at)
	}
	s.Roles = form.Values(o.Texts("roles", true, false, r.Name))
	o.Done()
	for _, x := range r.signers {
		switch {
		case s.Name != "" && s.Name == x.Name:
			r.Twice(n.Get("name"), lang.T("signer %q", s.Name), x.Pos)
			return
		case s.Key != nil && bytes.Equal(s.Key, x.Key):
			r.Twice(at, lang.T("the key of signer %q", s.Name), x.Pos)
			return
		}
	}
	r.signers = append(r.signers, s)
}

// publicKey reads a public key; nil when it is none that a signature may be
// checked with. What may be a secret is said to be one.
func (r *reader) publicKey(n *yamlpos.Node) []byte {
	text, ok := r.Text(n, "key")
	if !ok {
		return nil
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if strings.Contains(text, "PRIVATE") || err == nil && isPrivate(der) {
		r.Fail(n, codes.PrivateKey, lang.T("write the public key; a secret that stood in a file is to be replaced"),
			lang.T("the key of a signer is a secret: who reads the policy could sign in the signer's name"))
		return nil
	}
	if err == nil {
		switch key, err := x509.ParsePKIXPublicKey(der); k := key.(type) {
		case ed25519.PublicKey:
			return der
		case *ecdsa.PublicKey:
			if err == nil && k.Curve == elliptic.P256() {
				return der
			}
		}
	}
	r.Fail(n, codes.SignerKey, lang.T("write what `openssl pkey -in KEY -pubout -outform DER | base64 -w0` prints for an Ed25519 or P-256 key"),
		lang.T("the key of a signer should be the base64 of an Ed25519 or P-256 public key (SubjectPublicKeyInfo, DER)"))
	return nil
}

// isPrivate tells whether der is a private key, or may be one: the bare form of
// an Ed25519 private key has no mark.
func isPrivate(der []byte) bool {
	if len(der) == ed25519.PrivateKeySize {
		return true
	}
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, ec := x509.ParseECPrivateKey(der)
	_, rsa := x509.ParsePKCS1PrivateKey(der)
	return pkcs8 == nil || ec == nil || rsa == nil
}

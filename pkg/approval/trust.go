package approval

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/domicile-dev/domicile/pkg/policy"
)

// Trust is whom a control plane believes before it has a policy that says who may
// replace it: all of them must have signed the first one. Without it, whoever writes
// the first policy to the store decides.
type Trust []policy.Signer

// MaxTrust bounds a file of trust.
const MaxTrust = 16 << 10

// ReadTrust reads signers, one a line: a name, and the public key as deployments write
// it. Empty lines, and lines that begin with #, say nothing.
func ReadTrust(data []byte) (Trust, error) {
	if len(data) > MaxTrust {
		return nil, fmt.Errorf("read trust: it has %d bytes; the most is %d", len(data), MaxTrust)
	}
	var out Trust
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("read trust: line %d: write a name and a public key, as in kim MCowBQYDK2VwAyEA…", n)
		}
		der, err := base64.StdEncoding.DecodeString(fields[1])
		if err == nil {
			err = isPublic(der)
		}
		if err != nil {
			return nil, fmt.Errorf("read trust: line %d: the key of %q is not the base64 of an Ed25519 or P-256 public key (SubjectPublicKeyInfo, DER)", n, fields[0])
		}
		for _, s := range out {
			if s.Name == fields[0] || string(s.Key) == string(der) {
				return nil, fmt.Errorf("read trust: line %d: the name or the key of %q stands twice", n, fields[0])
			}
		}
		out = append(out, policy.Signer{Name: fields[0], Key: der})
	}
	if len(out) == 0 || len(out) > MaxSignatures {
		return nil, fmt.Errorf("read trust: it lists %d signers; write from 1 to %d", len(out), MaxSignatures)
	}
	return out, nil
}

func isPublic(der []byte) error {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	_, err = verifierOf(public)
	return err
}

// Verify returns what all of them signed.
func (t Trust) Verify(ctx context.Context, envelope []byte) (Statement, error) {
	if len(envelope) == 0 {
		return Statement{}, fmt.Errorf("the first policy must be signed by %s, and nobody signed it", t)
	}
	s, signed, err := Verify(ctx, envelope, t)
	if err != nil {
		return Statement{}, err
	}
	var missing []string
	for _, who := range t {
		found := false
		for _, a := range signed {
			found = found || a.Signer == who.Name
		}
		if !found {
			missing = append(missing, who.Name)
		}
	}
	if len(missing) > 0 {
		return Statement{}, errors.New("the first policy must also be signed by " + strings.Join(missing, ", "))
	}
	return s, nil
}

// String names them.
func (t Trust) String() string {
	var names []string
	for _, s := range t {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

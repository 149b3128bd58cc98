package gogit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// namespace is the one in which git signs by SSH (git-config gpg.format).
const namespace = "git"

// Keys are those whose signature on a commit counts.
type Keys struct {
	ssh []sshKey
	pgp string // armoured key ring
}

type sshKey struct {
	who string
	key ssh.PublicKey
}

// signedObject is a commit or an annotated tag.
type signedObject interface {
	EncodeWithoutSignature(plumbing.EncodedObject) error
}

// ReadKeys reads a file of public keys: lines as in git's allowed signers file
// (who, key type, key; see ssh-keygen(1)), or an armoured PGP key ring. Options
// of allowed signers, such as valid-before, are refused: they would be ignored.
func ReadKeys(path string) (*Keys, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("git signers: %w", err)
	}
	if bytes.Contains(data, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		return &Keys{pgp: string(data)}, nil
	}
	k := &Keys{}
	for i, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		who, rest, _ := strings.Cut(line, " ")
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
		if err != nil || len(options) > 0 {
			return nil, fmt.Errorf("git signers %s:%d: write NAME KEYTYPE KEY, without options", path, i+1)
		}
		k.ssh = append(k.ssh, sshKey{who, key})
	}
	if len(k.ssh) == 0 {
		return nil, fmt.Errorf("git signers %s: there is no key in it", path)
	}
	return k, nil
}

// verify returns who signed o.
func (k *Keys) verify(o signedObject) (string, error) {
	signature := ""
	switch o := o.(type) {
	case *object.Commit:
		signature = o.PGPSignature
	case *object.Tag:
		signature = o.PGPSignature
	}
	switch {
	case signature == "":
		return "", errors.New("it is not signed")
	case strings.HasPrefix(signature, "-----BEGIN "+sshsig.PEMType):
		return k.verifySSH(o, signature)
	default:
		return k.verifyPGP(o)
	}
}

func (k *Keys) verifySSH(o signedObject, armoured string) (string, error) {
	sig, err := sshsig.Unarmor([]byte(armoured))
	if err != nil {
		return "", fmt.Errorf("its signature cannot be read: %w", err)
	}
	encoded := &plumbing.MemoryObject{}
	if err := o.EncodeWithoutSignature(encoded); err != nil {
		return "", fmt.Errorf("what was signed cannot be read: %w", err)
	}
	r, err := encoded.Reader()
	if err != nil {
		return "", fmt.Errorf("what was signed cannot be read: %w", err)
	}
	for _, key := range k.ssh {
		if !bytes.Equal(key.key.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		if err := sshsig.Verify(r, sig, key.key, sig.HashAlgorithm, namespace); err != nil {
			return "", fmt.Errorf("the signature of %s does not hold: %w", key.who, err)
		}
		return key.who, nil
	}
	return "", fmt.Errorf("key %s is not among the signers", ssh.FingerprintSHA256(sig.PublicKey))
}

func (k *Keys) verifyPGP(o signedObject) (string, error) {
	if k.pgp == "" {
		return "", errors.New("it is signed by PGP, and the signers are SSH keys")
	}
	v, ok := o.(interface {
		Verify(armoredKeyRing string) (*openpgp.Entity, error)
	})
	if !ok {
		return "", errors.New("it cannot be signed by PGP")
	}
	e, err := v.Verify(k.pgp)
	if err != nil {
		return "", fmt.Errorf("its signature does not hold: %w", err)
	}
	return e.PrimaryKey.KeyIdString(), nil
}

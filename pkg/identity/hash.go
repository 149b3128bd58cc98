package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// NewHashKey returns a random key for UserHash.
func NewHashKey() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails: the runtime ends the process instead
	return key
}

// ReadHashKey reads the key of UserHash from a file of hex digits: all agents and
// tools of a deployment share it. Its errors do not show the content.
func ReadHashKey(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read directory key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("read directory key %s: not hex digits", path)
	}
	if len(key) < minHashKey {
		return nil, fmt.Errorf("read directory key %s: %d bytes, at least %d are needed, such as openssl rand -hex 32 gives", path, len(key), minHashKey)
	}
	return key, nil
}

// minHashKey is the least length of a key in bytes: a guessed key makes user ids
// guessable.
const minHashKey = 16

// UserHash is the name under which a directory knows a user: HMAC-SHA-256 of the
// user id, in lower-case hex. Without the key nobody can tell who is listed, nor
// test a guess. The user id is hashed as it is: no case or Unicode folding.
func UserHash(key []byte, user string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(user))
	return hex.EncodeToString(m.Sum(nil))
}

// IsUserHash tells whether s has the form of a UserHash.
func IsUserHash(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
)

// NewHashKey returns a random key for UserHash.
func NewHashKey() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails: the runtime ends the process instead
	return key
}

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

// Package secretfile reads passwords and bearer tokens from files, which is the only
// place where Domicile takes them from. What it reads never stands in its errors.
// Callers read again for every use that is not hot, so that a replaced secret counts
// without a restart.
package secretfile

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecret bounds a secret in bytes.
const maxSecret = 16 << 10

// Read returns the one line that the file holds, without the space around it.
func Read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxSecret:
		return "", fmt.Errorf("read secret %s: longer than %d bytes", path, maxSecret)
	case secret == "":
		return "", fmt.Errorf("read secret %s: it is empty", path)
	case strings.ContainsFunc(secret, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "", fmt.Errorf("read secret %s: not one line of text", path)
	}
	return secret, nil
}

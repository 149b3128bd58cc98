package secretfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/secretfile"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for content, want := range map[string]string{
		"s3cret":                    "s3cret",
		" s3 cret\r\n":              "s3 cret",
		"":                          "",
		" \n":                       "",
		"two\nlines":                "",
		"nul\x00":                   "",
		strings.Repeat("x", 17<<10): "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := secretfile.Read(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %q, %v", content, got, err)
		}
		if err != nil && len(content) > 2 && strings.Contains(err.Error(), content) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	if _, err := secretfile.Read(path + ".missing"); err == nil {
		t.Error("a missing file was read")
	}
	if _, err := secretfile.Read("/dev/zero"); err == nil {
		t.Error("a file without end was read")
	}
}

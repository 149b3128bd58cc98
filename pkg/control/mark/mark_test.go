package mark

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/domicile-dev/domicile/pkg/store"
)

// T18: a state file that is damaged stops the start; nothing is forgotten.
func TestT18DamagedState(t *testing.T) {
	good, err := json.Marshal(file{7, "sha256:" + strings.Repeat("a", 64)})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.json")
	for name, data := range map[string][]byte{
		"empty": {}, "half": good[:len(good)/2], "more": append(bytes.Clone(good), "{}"...), "zero": []byte(`{"sequence":0,"bundle":""}`),
		"a bit": bytes.Replace(good, []byte("sha256"), []byte("sha257"), 1), "other fields": []byte(`{"sequence":7}`),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := Open(path); err == nil {
			t.Errorf("%s: %+v", name, m.last)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path)
	if err != nil || m.last.Sequence != 7 {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Dir(path), 0o700) //nolint:errcheck // so that it can be removed
	if os.Geteuid() != 0 {
		if err := m.Put(store.Record{Sequence: 8, Bundle: "sha256:" + strings.Repeat("b", 64)}); err == nil || m.last.Sequence != 7 {
			t.Errorf("a write that failed was believed: %v", err)
		}
	}
}

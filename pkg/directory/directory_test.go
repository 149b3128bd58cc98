package directory_test

import (
	"testing"

	"github.com/domicile-dev/domicile/pkg/directory"
	"github.com/domicile-dev/domicile/pkg/directory/directorytest"
)

func TestMemory(t *testing.T) {
	directorytest.Run(t, func(*testing.T) directorytest.Target {
		m := directory.NewMemory()
		return directorytest.Target{
			Open: func(*testing.T) directory.Directory { return m },
			Set: func(t *testing.T, hash, home string) {
				if _, err := m.Put(t.Context(), directory.Entry{Hash: hash, Home: home}); err != nil {
					t.Fatal(err)
				}
			},
			Stop:  func(*testing.T) { m.SetAvailable(false) },
			Start: func(*testing.T) { m.SetAvailable(true) },
		}
	})
}

package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/domicile-dev/domicile/pkg/topology"
)

// Published is what a control plane says of the policy that it has in force, to those
// who compile the same bundle and compare: the agents.
type Published struct {
	Sequence uint64 `json:"sequence"`
	Bundle   string `json:"bundle"` // digest of the archive
	Table    string `json:"table"`  // digest of the table, as compiled now
	// Overlay is what the control plane puts in the place of addresses and keys: local
	// stand-ins, and the key sets that it has fetched.
	Overlay *topology.Overlay `json:"overlay,omitempty"`
}

// State names the whole of it: whoever has this state has nothing new to learn.
func (p Published) State() (string, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

package session

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/show"
)

// FormatVersion is the version of all machine output: a minor step adds fields.
const FormatVersion = "1.0"

// Versioned begins every machine-readable result.
type Versioned struct {
	FormatVersion string `json:"formatVersion"`
}

// V1 is the present version.
func V1() Versioned { return Versioned{FormatVersion} }

// Emit writes a result in the form that was asked for.
func (a *Session) Emit(v any, text func(io.Writer)) error {
	switch a.Output {
	case "json", "yaml":
		data, err := json.Marshal(v)
		if err != nil {
			return exit.Errorf(exit.Bug, "write result: %w", err)
		}
		if a.Output == "yaml" {
			return show.YAML(a.Out, data)
		}
		return show.JSON(a.Out, data)
	}
	var b bytes.Buffer
	text(&b)
	_, err := a.Out.Write(b.Bytes())
	return err
}

package cli

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/show"
)

// formatVersion is the version of all machine output: a minor step adds fields.
const formatVersion = "1.0"

// versioned begins every machine-readable result.
type versioned struct {
	FormatVersion string `json:"formatVersion"`
}

func v1() versioned { return versioned{formatVersion} }

// emit writes a result in the form that was asked for.
func (a *app) emit(v any, text func(io.Writer)) error {
	switch a.output {
	case "json", "yaml":
		data, err := json.Marshal(v)
		if err != nil {
			return exit.Errorf(exit.Bug, "write result: %w", err)
		}
		if a.output == "yaml" {
			return show.YAML(a.Out, data)
		}
		return show.JSON(a.Out, data)
	}
	var b bytes.Buffer
	text(&b)
	_, err := a.Out.Write(b.Bytes())
	return err
}

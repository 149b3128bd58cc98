package policy

import (
	"fmt"

	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

// faultText says for each reason why a file is not accepted; %s is its detail.
var faultText = map[yamlpos.Reason]struct{ code, message, fix string }{
	yamlpos.Syntax:    {codes.Syntax, "this is not valid YAML: %s", "check quotes, brackets, colons and indentation here and on the line above"},
	yamlpos.TooLarge:  {codes.TooLarge, "the file is larger than 1 MiB, the limit of one file", "split it"},
	yamlpos.TooDeep:   {codes.TooDeep, fmt.Sprintf("maps and lists nest more than %d levels deep", yamlpos.MaxDepth), "flatten it; no policy needs this depth"},
	yamlpos.TooMany:   {codes.TooDeep, fmt.Sprintf("the file has more than %d keys", yamlpos.MaxKeys), "split it"},
	yamlpos.NotUTF8:   {codes.Encoding, "this is not UTF-8 text", "save the file as UTF-8"},
	yamlpos.ByteOrder: {codes.Encoding, "the file starts with a byte order mark (U+FEFF)", "save the file as UTF-8 without BOM"},
	yamlpos.Control:   {codes.Encoding, "a control character (%s)", "remove it"},
	yamlpos.Reorder:   {codes.Encoding, "a character that makes text look re-ordered (%s)", "remove it: what is read must be what is shown"},
	yamlpos.Tab:       {codes.Tab, "a tab; YAML forbids it for indentation, and it is accepted nowhere", "use spaces"},
	yamlpos.Anchor:    {codes.Feature, "an anchor (&); policy files have none, so that each place says what it means", "write the value out"},
	yamlpos.Alias:     {codes.Feature, "an alias (*); policy files have none, so that each place says what it means", "write the value out, or quote a text that starts with *"},
	yamlpos.Merge:     {codes.Feature, "a merge key (<<); policy files have none, so that each place says what it means", "write the values out"},
	yamlpos.Tag:       {codes.Feature, "a tag (!); policy files have none", "remove it, or quote a text that starts with !"},
	yamlpos.Directive: {codes.Feature, "a YAML directive (%); policy files have none", "remove the line"},
	yamlpos.Documents: {codes.Documents, "a second document in one file", "move it to a file of its own"},
	yamlpos.Key:       {codes.Shape, "a key must be plain text", "write key: value"},
	yamlpos.Duplicate: {codes.DuplicateKey, "the key %q stands twice in one map", "keep one of them"},
	yamlpos.Crash:     {codes.Internal, "the YAML reader ended in a bug: %s", "report it with the file"},
}

func (p *parser) fault(file string, f yamlpos.Fault) {
	t := faultText[f.Reason]
	msg := t.message
	switch f.Reason {
	case yamlpos.Syntax, yamlpos.Control, yamlpos.Reorder, yamlpos.Duplicate, yamlpos.Crash:
		msg = fmt.Sprintf(t.message, f.Detail)
	default:
	}
	x := Problem{Pos: Pos{File: file, Line: f.Line, Column: f.Column}, Code: t.code, Message: msg, Fix: t.fix}
	if f.Reason == yamlpos.Duplicate {
		x.Why = fmt.Sprintf("first at %s:%d:%d", file, f.OtherLine, f.OtherColumn)
	}
	p.add(x)
}

package policy

import (
	"fmt"

	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

// faultText says for each reason why a file is not accepted; %s is its detail.
var faultText = map[yamlpos.Reason]struct{ code, message, fix string }{
	yamlpos.Syntax:    {CodeSyntax, "this is not valid YAML: %s", "check quotes, brackets, colons and indentation here and on the line above"},
	yamlpos.TooLarge:  {CodeTooLarge, "the file is larger than 1 MiB, the limit of one file", "split it"},
	yamlpos.TooDeep:   {CodeTooDeep, fmt.Sprintf("maps and lists nest more than %d levels deep", yamlpos.MaxDepth), "flatten it; no policy needs this depth"},
	yamlpos.TooMany:   {CodeTooDeep, fmt.Sprintf("the file has more than %d keys", yamlpos.MaxKeys), "split it"},
	yamlpos.NotUTF8:   {CodeEncoding, "this is not UTF-8 text", "save the file as UTF-8"},
	yamlpos.ByteOrder: {CodeEncoding, "the file starts with a byte order mark (U+FEFF)", "save the file as UTF-8 without BOM"},
	yamlpos.Control:   {CodeEncoding, "a control character (%s)", "remove it"},
	yamlpos.Reorder:   {CodeEncoding, "a character that makes text look re-ordered (%s)", "remove it: what is read must be what is shown"},
	yamlpos.Tab:       {CodeTab, "a tab; YAML forbids it for indentation, and it is accepted nowhere", "use spaces"},
	yamlpos.Anchor:    {CodeFeature, "an anchor (&); policy files have none, so that each place says what it means", "write the value out"},
	yamlpos.Alias:     {CodeFeature, "an alias (*); policy files have none, so that each place says what it means", "write the value out, or quote a text that starts with *"},
	yamlpos.Merge:     {CodeFeature, "a merge key (<<); policy files have none, so that each place says what it means", "write the values out"},
	yamlpos.Tag:       {CodeFeature, "a tag (!); policy files have none", "remove it, or quote a text that starts with !"},
	yamlpos.Directive: {CodeFeature, "a YAML directive (%); policy files have none", "remove the line"},
	yamlpos.Documents: {CodeDocuments, "a second document in one file", "move it to a file of its own"},
	yamlpos.Key:       {CodeShape, "a key must be plain text", "write key: value"},
	yamlpos.Duplicate: {CodeDuplicateKey, "the key %q stands twice in one map", "keep one of them"},
	yamlpos.Crash:     {CodeInternal, "the YAML reader ended in a bug: %s", "report it with the file"},
}

func (p *parser) fault(file string, f yamlpos.Fault) {
	t := faultText[f.Reason]
	msg := t.message
	switch f.Reason {
	case yamlpos.Syntax, yamlpos.Control, yamlpos.Reorder, yamlpos.Duplicate, yamlpos.Crash:
		msg = fmt.Sprintf(t.message, f.Detail)
	}
	x := Problem{Pos: Pos{file, f.Line, f.Column}, Code: t.code, Message: msg, Fix: t.fix}
	if f.Reason == yamlpos.Duplicate {
		x.Why = fmt.Sprintf("first at %s:%d:%d", file, f.OtherLine, f.OtherColumn)
	}
	p.add(x)
}

package policy

import (
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy/internal/codes"
	"github.com/domicile-dev/domicile/pkg/policy/internal/form"
	"github.com/domicile-dev/domicile/pkg/policy/internal/yamlpos"
)

// faultText says why a file is not accepted, and what to do about it.
func faultText(f yamlpos.Fault) (code string, message, fix lang.Text) {
	switch f.Reason {
	case yamlpos.Syntax:
		return codes.Syntax, lang.T("this is not valid YAML: %s", f.Detail), lang.T("check quotes, brackets, colons and indentation here and on the line above")
	case yamlpos.TooLarge:
		return codes.TooLarge, lang.T("the file is larger than 1 MiB, the limit of one file"), lang.T("split it")
	case yamlpos.TooDeep:
		return codes.TooDeep, lang.T("maps and lists nest more than %d levels deep", yamlpos.MaxDepth), lang.T("flatten it; no policy needs this depth")
	case yamlpos.TooMany:
		return codes.TooDeep, lang.T("the file has more than %d keys", yamlpos.MaxKeys), lang.T("split it")
	case yamlpos.NotUTF8:
		return codes.Encoding, lang.T("this is not UTF-8 text"), lang.T("save the file as UTF-8")
	case yamlpos.ByteOrder:
		return codes.Encoding, lang.T("the file starts with a byte order mark (U+FEFF)"), lang.T("save the file as UTF-8 without BOM")
	case yamlpos.Control:
		return codes.Encoding, lang.T("a control character (%s)", f.Detail), lang.T("remove it")
	case yamlpos.Reorder:
		return codes.Encoding, lang.T("a character that makes text look re-ordered (%s)", f.Detail), lang.T("remove it: what is read must be what is shown")
	case yamlpos.Tab:
		return codes.Tab, lang.T("a tab; YAML forbids it for indentation, and it is accepted nowhere"), lang.T("use spaces")
	case yamlpos.Anchor:
		return codes.Feature, lang.T("an anchor (&); policy files have none, so that each place says what it means"), lang.T("write the value out")
	case yamlpos.Alias:
		return codes.Feature, lang.T("an alias (*); policy files have none, so that each place says what it means"), lang.T("write the value out, or quote a text that starts with *")
	case yamlpos.Merge:
		return codes.Feature, lang.T("a merge key (<<); policy files have none, so that each place says what it means"), lang.T("write the values out")
	case yamlpos.Tag:
		return codes.Feature, lang.T("a tag (!); policy files have none"), lang.T("remove it, or quote a text that starts with !")
	case yamlpos.Directive:
		return codes.Feature, lang.T("a YAML directive (%); policy files have none"), lang.T("remove the line")
	case yamlpos.Documents:
		return codes.Documents, lang.T("a second document in one file"), lang.T("move it to a file of its own")
	case yamlpos.Key:
		return codes.Shape, lang.T("a key must be plain text"), lang.T("write key: value")
	case yamlpos.Duplicate:
		return codes.DuplicateKey, lang.T("the key %q stands twice in one map", f.Detail), lang.T("keep one of them")
	default: // yamlpos.Crash
		return codes.Internal, lang.T("the YAML reader ended in a bug: %s", f.Detail), lang.T("report it with the file")
	}
}

func (p *parser) fault(file string, f yamlpos.Fault) {
	code, message, fix := faultText(f)
	x := Problem{Pos: Pos{File: file, Line: f.Line, Column: f.Column}, Code: code, Message: message, Fix: fix}
	if f.Reason == yamlpos.Duplicate {
		x.Why = firstAt(Pos{File: file, Line: f.OtherLine, Column: f.OtherColumn})
	}
	p.add(x)
}

// Faults says what keeps a file from being taken apart at all; nil when it is
// YAML as policy files may hold it, whatever it says.
func Faults(file string, src []byte) []Problem {
	p := newParser(nil)
	if len(src) > MaxFileSize {
		src = src[:MaxFileSize+1]
	}
	_, faults := yamlpos.Parse(src)
	for _, f := range faults {
		p.fault(file, f)
	}
	return p.finish()
}

// IsBoolLike tells whether some YAML readers take an unquoted word for true or
// false.
func IsBoolLike(s string) bool { return form.IsBoolLike(s) }

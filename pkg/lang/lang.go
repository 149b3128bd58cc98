// Package lang says things in the languages that people of Domicile read:
// English and simplified Chinese. Codes, keys, names of files and fields are
// never translated; sentences are.
//
// The English sentence is the key: a sentence that changes has no translation
// until somebody writes it, so that none can go stale unseen, and a test finds
// every sentence of the sources that has none. The package is pure.
package lang

import (
	"fmt"
	"strings"
)

// Lang is a language.
type Lang string

// The languages.
const (
	English Lang = "en"
	Chinese Lang = "zh-CN"
)

// All lists the languages, the one to fall back on first.
func All() []Lang { return []Lang{English, Chinese} }

// Parse reads a language as people and their environment write it: en,
// en_GB.UTF-8, zh-CN, zh_CN.UTF-8, zh-Hans. False for every other one.
func Parse(s string) (Lang, bool) {
	s, _, _ = strings.Cut(s, ".")
	switch base, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(s), "_", "-"), "-"); base {
	case "en", "c", "posix":
		return English, true
	case "zh":
		return Chinese, true
	}
	return English, false
}

// Environment returns the language that DOMICILE_LANG, LC_ALL, LC_MESSAGES or
// LANG ask for, in this order; English where none names one that is spoken here.
func Environment(getenv func(string) string) Lang {
	for _, name := range []string{"DOMICILE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			l, _ := Parse(v)
			return l
		}
	}
	return English
}

// Text is one sentence in every language. The zero Text says nothing.
type Text struct{ En, Zh string }

// T makes a Text from an English format, as fmt.Sprintf reads it; without
// arguments the format is the sentence. An argument that is a Text is said in the
// language of the sentence around it. The format must be a literal, so that the
// test finds it.
func T(format string, args ...any) Text {
	zh, ok := translation(format)
	if !ok {
		zh = format
	}
	return Text{En: say(English, format, args), Zh: say(Chinese, zh, args)}
}

// Same is a Text that reads the same in every language: a name, a code, a line
// of YAML.
func Same(s string) Text { return Text{En: s, Zh: s} }

// Join puts sep between texts.
func Join(texts []Text, sep Text) Text {
	var out Text
	for i, t := range texts {
		if i > 0 {
			out = Text{En: out.En + sep.En, Zh: out.Zh + sep.Zh}
		}
		out = Text{En: out.En + t.En, Zh: out.Zh + t.Zh}
	}
	return out
}

// In returns the sentence in a language.
func (t Text) In(l Lang) string {
	if l == Chinese && t.Zh != "" {
		return t.Zh
	}
	return t.En
}

// String returns the English sentence.
func (t Text) String() string { return t.En }

// IsZero tells whether t says nothing.
func (t Text) IsZero() bool { return t == Text{} }

func say(l Lang, format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	said := make([]any, len(args))
	for i, a := range args {
		if t, ok := a.(Text); ok {
			a = t.In(l)
		}
		said[i] = a
	}
	return fmt.Sprintf(format, said...)
}

// translation looks a format up in the catalogues.
func translation(format string) (string, bool) {
	for _, c := range catalogues {
		if zh, ok := c[format]; ok {
			return zh, true
		}
	}
	return "", false
}

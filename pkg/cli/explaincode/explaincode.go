// Package explaincode is the command "explain-code": what a code such as DP2107
// means, in the reader's language.
package explaincode

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policy/nearest"
	"github.com/domicile-dev/domicile/pkg/policytest"
)

// code is a code in machine output, in both languages.
type code struct {
	Code    string `json:"code"`
	Family  string `json:"family"` // shape, meaning, governance, topology, tests, bug
	Title   string `json:"title"`
	TitleZh string `json:"titleZh"`
	Page    string `json:"page"`
	PageZh  string `json:"pageZh"`
}

type result struct {
	session.Versioned
	Codes []code `json:"codes"`
}

// Command is the command "explain-code".
func Command(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain-code [CODE]",
		Short: "Say what a code such as DP2107 means",
		Long: `Say what a code of domicile lint or domicile test means, why Domicile insists on
it, and what to do. Without a code, list all of them. The codes are stable; DP1 is
the shape of files, DP2 what they mean, DP3 governance, DP4 topology, DP5 tests, DP9
a bug in Domicile.`,
		Example: `  domicile explain-code DP2107
  domicile explain-code DP2107 --lang zh-CN
  domicile explain-code --output json`,
		Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []string
			for _, c := range policytest.Codes() {
				out = append(out, cobra.CompletionWithDesc(c.Code, c.Title.In(s.Lang())))
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return s.Emit(result{session.V1(), machine(policytest.Codes()...)}, func(w io.Writer) { list(w, s.Lang()) })
		case 1:
		default:
			return session.Usage(cmd, "unexpected argument %q", args[1])
		}
		info, ok := policytest.ExplainCode(strings.ToUpper(args[0]))
		if !ok {
			return session.Usage(cmd, "%s", unknown(args[0]).In(s.Lang()))
		}
		return s.Emit(result{session.V1(), machine(info)}, func(w io.Writer) {
			fmt.Fprintf(w, "%s  %s\n\n%s\n", info.Code, info.Title.In(s.Lang()), Wrap(info.Page.In(s.Lang()), 80))
		})
	})
	return cmd
}

// unknown says that there is no such code, and which are like it.
func unknown(word string) lang.Text {
	var codes []string
	for _, c := range policytest.Codes() {
		codes = append(codes, c.Code)
	}
	near := nearest.Words(word, codes, 3)
	if len(near) == 0 {
		return lang.T("there is no code %q; domicile explain-code lists all", word)
	}
	return lang.T("there is no code %q; the nearest are %s", word, strings.Join(near, ", "))
}

func machine(infos ...policy.CodeInfo) []code {
	out := []code{}
	for _, c := range infos {
		out = append(out, code{c.Code, family(c.Code), c.Title.En, c.Title.In(lang.Chinese), c.Page.En, c.Page.In(lang.Chinese)})
	}
	return out
}

var families = map[byte]struct {
	key   string
	title lang.Text
}{
	'1': {"shape", lang.T("DP1  the shape of files")},
	'2': {"meaning", lang.T("DP2  what they mean")},
	'3': {"governance", lang.T("DP3  governance")},
	'4': {"topology", lang.T("DP4  topology")},
	'5': {"tests", lang.T("DP5  tests")},
	'9': {"bug", lang.T("DP9  a bug in Domicile")},
}

func family(code string) string { return families[code[2]].key }

func list(w io.Writer, l lang.Lang) {
	last := byte(0)
	for _, c := range policytest.Codes() {
		if c.Code[2] != last {
			if last != 0 {
				fmt.Fprintln(w)
			}
			last = c.Code[2]
			fmt.Fprintln(w, families[last].title.In(l))
		}
		fmt.Fprintf(w, "  %s  %s\n", c.Code, c.Title.In(l))
	}
}

// Wrap breaks a paragraph into lines of at most this many columns: between words,
// and between Chinese characters, but not before their punctuation.
func Wrap(s string, columns int) string {
	var b strings.Builder
	width := 0
	for _, word := range pieces(s) {
		w := runewidth.StringWidth(strings.TrimRight(word, " "))
		if width > 0 && width+w > columns {
			b.WriteByte('\n')
			width = 0
		}
		b.WriteString(word)
		width += runewidth.StringWidth(word)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// pieces cuts text at each place where a line may end.
func pieces(s string) []string {
	var out []string
	runes := []rune(s)
	from := 0
	for i := 1; i < len(runes); i++ {
		before, after := runes[i-1], runes[i]
		wide := runewidth.RuneWidth(before) == 2 || runewidth.RuneWidth(after) == 2
		if before == ' ' && after != ' ' || wide && !strings.ContainsRune("，。；：、？！）」”》 ", after) && !strings.ContainsRune("（「“《", before) {
			out = append(out, string(runes[from:i]))
			from = i
		}
	}
	return append(out, string(runes[from:]))
}

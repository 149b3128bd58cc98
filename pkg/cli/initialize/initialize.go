// Package initialize is the command "init": a new policy repository that works.
package initialize

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing/fstest"

	"github.com/spf13/cobra"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/cli/exit"
	"github.com/domicile-dev/domicile/pkg/cli/session"
	"github.com/domicile-dev/domicile/pkg/cli/show"
	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/pkg/policytest"
	"github.com/domicile-dev/domicile/pkg/starter"
	"github.com/domicile-dev/domicile/pkg/version"
	"github.com/domicile-dev/domicile/policies"
)

// result is the machine output.
type result struct {
	session.Versioned
	Dir   string   `json:"dir"`
	Homes []string `json:"homes"`
	Files []string `json:"files"`
}

// Command is the command "init".
func Command(s *session.Session) *cobra.Command {
	var (
		codes, regions []string
		force          bool
	)
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a new policy repository that works",
		Long: `Write a policy repository for the homes of your users: a deployment with example
regions, for each home a jurisdiction that serves at home and nowhere else, with its
law as comments in English and Chinese, tests of every decision, and what git,
editors, pre-commit, GitHub and GitLab need.

What is written passes lint, fmt --check and test with full coverage, which is proved
before the first byte is written. A directory that holds anything is refused; with
--force the files of the starter replace those of the same name, and no others.`,
		Example: `  domicile init my-policies --jurisdictions SA,TR,DE
  domicile init . --jurisdictions NO,US-CA
  domicile init my-policies --jurisdictions SA,DE,NO --regions me-riyadh=SA,eu-frankfurt=DE
  domicile demo --policies my-policies`,
		Args: session.Args("DIR"), ValidArgsFunction: session.Directories,
	}
	cmd.Flags().StringSliceVar(&codes, "jurisdictions", nil, "`codes` of the homes of your users, separated by commas")
	cmd.Flags().StringSliceVar(&regions, "regions", nil, "your regions as `NAME=COUNTRY`, separated by commas (default: one for each country, one for the EEA)")
	cmd.Flags().BoolVar(&force, "force", false, "write into a directory that is not empty")
	session.Complete(cmd, "jurisdictions", func(*cobra.Command) []string { return starter.Homes(library()) })
	cmd.RunE = s.Run(func(cmd *cobra.Command, args []string) error {
		set := library()
		homes, err := chosen(cmd, s.Lang(), set, codes)
		if err != nil {
			return err
		}
		own, err := placed(cmd, s.Lang(), regions)
		if err != nil {
			return err
		}
		if err := vacant(args[0], force, s.Lang()); err != nil {
			return err
		}
		files, err := starting(s, set, homes, own)
		if err != nil {
			return err
		}
		if err := prove(s, cmd, args[0], files, len(own) > 0); err != nil {
			return err
		}
		if err := write(args[0], files); err != nil {
			return exit.Errorf(exit.Usage, "write starter: %w", err)
		}
		r := result{session.V1(), args[0], homes, slices.Sorted(maps.Keys(files))}
		return s.Emit(r, func(w io.Writer) { text(w, s.Lang(), r) })
	})
	return cmd
}

// library is the shipped law files and groups.
func library() *policy.Set {
	set, _ := policy.Parse(fstest.MapFS{}, policies.Shipped()) // that there is no deployment is no matter
	return set
}

// chosen judges the codes.
func chosen(cmd *cobra.Command, l lang.Lang, set *policy.Set, codes []string) ([]string, error) {
	known := starter.Homes(set)
	var out []string
	for _, c := range codes {
		c = strings.ToUpper(strings.TrimSpace(c))
		switch {
		case c == "" || slices.Contains(out, c):
		case !slices.Contains(known, c):
			return nil, session.Usage(cmd, "%s", lang.T("no law file of %q; choose from %s", c, strings.Join(known, ", ")).In(l))
		default:
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, session.Usage(cmd, "%s", lang.T("name the homes of your users: --jurisdictions SA,TR,DE").In(l))
	}
	return out, nil
}

// isName and isCountry are the forms of a region's name and country; which codes
// are countries is known to who reads the deployment. A truth value of YAML is no
// name here: the files of the starter hold names unquoted.
var (
	isName    = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	isTruth   = regexp.MustCompile(`^(y|n|yes|no|on|off|true|false)$`)
	isCountry = regexp.MustCompile(`^[A-Z]{2}$`)
)

// placed judges the regions.
func placed(cmd *cobra.Command, l lang.Lang, regions []string) ([]starter.Region, error) {
	var out []starter.Region
	for _, r := range regions {
		name, country, _ := strings.Cut(strings.TrimSpace(r), "=")
		country = strings.ToUpper(country)
		switch {
		case !isName.MatchString(name) || isTruth.MatchString(name) || !isCountry.MatchString(country):
			return nil, session.Usage(cmd, "%s", lang.T("region %q is not of the form NAME=COUNTRY, as in eu-frankfurt=DE", r).In(l))
		case slices.ContainsFunc(out, func(x starter.Region) bool { return x.Name == name }):
			return nil, session.Usage(cmd, "%s", lang.T("region %q stands there twice", name).In(l))
		}
		out = append(out, starter.Region{Name: name, Country: country})
	}
	return out, nil
}

// vacant refuses a directory that holds something.
func vacant(dir string, force bool, l lang.Lang) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return exit.Errorf(exit.Usage, "open directory: %w", err)
	}
	// What git itself keeps is no content.
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == ".git" })
	if len(entries) > 0 && !force {
		return exit.Errorf(exit.Usage, "%s", lang.T("%s is not empty; nothing was written (--force writes into it)", dir).In(l))
	}
	return nil
}

func starting(s *session.Session, set *policy.Set, homes []string, regions []starter.Region) (map[string][]byte, error) {
	jwks, err := exampleKeys()
	if err != nil {
		return nil, exit.Errorf(exit.Bug, "%w", err)
	}
	release := version.String()
	if !strings.HasPrefix(release, "v") || strings.ContainsAny(release, "-+") {
		release = "main" // built from a working tree: there is no such tag
	}
	files, err := starter.Files(starter.Input{Set: set, Codes: homes, Regions: regions, Today: s.Now().UTC(), JWKS: jwks, Release: release})
	if err != nil {
		return nil, exit.Errorf(exit.Bug, "%w", err)
	}
	return files, nil
}

// exampleKeys makes a key set whose private key nobody has, so that no token of
// the example issuer will ever be good.
func exampleKeys() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make example key: %w", err)
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, fmt.Errorf("make example key: %w", err)
	}
	half := (len(point) - 1) / 2
	text := base64.RawURLEncoding.EncodeToString
	data, err := json.MarshalIndent(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "example", "use": "sig", "alg": "ES256", "x": text(point[1 : 1+half]), "y": text(point[1+half:]),
	}}}, "", "  ")
	return append(data, '\n'), err
}

// prove refuses what would not compile, leaks or fails its own tests: as a bug,
// unless regions were given, which may be in no country that there is.
func prove(s *session.Session, cmd *cobra.Command, dir string, files map[string][]byte, given bool) error {
	own := map[string][]byte{}
	for name, data := range files {
		// A bundle holds policy files and their keys; the rest is for people.
		if !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "schema/") && strings.Contains(name, ".") && !strings.HasSuffix(name, ".md") {
			own[name] = data
		}
	}
	b, err := bundle.New(own)
	if err != nil {
		return exit.Errorf(exit.Bug, "make starter: %w", err)
	}
	l, err := s.Judge(cmd, b.FS(), dir, session.Judged{Strict: true})
	if err != nil {
		return err
	}
	if !l.Good() && given {
		return errors.Join(exit.Errorf(exit.Usage, "%s", lang.T("the starter does not compile with these regions; nothing was written").In(s.Lang())), s.Refuse(l))
	}
	if !l.Good() {
		return errors.Join(exit.Errorf(exit.Bug, "the starter does not compile; nothing was written"), s.Refuse(l))
	}
	if r := policytest.Run(l.Set, l.Table); !r.OK() || r.Coverage.Percent() < 100 {
		return exit.Errorf(exit.Bug, "the starter fails its tests; nothing was written: %+v", r)
	}
	return nil
}

// write writes all files or none. A directory that is new appears with all files
// in it; in one that exists, what was written is taken back when a file fails.
func write(dir string, files map[string][]byte) (err error) {
	if _, missing := os.Stat(dir); errors.Is(missing, fs.ErrNotExist) {
		return appear(dir, files)
	}
	old, err := present(dir, files)
	if err != nil {
		return err
	}
	var written, made []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range written {
			if f, was := old[name]; was {
				err = errors.Join(err, atomicfile.Write(name, f.data, f.mode))
			} else {
				err = errors.Join(err, os.Remove(name))
			}
		}
		for _, d := range slices.Backward(made) {
			err = errors.Join(err, os.Remove(d))
		}
	}()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		name := filepath.Join(dir, filepath.FromSlash(file))
		if made, err = parents(filepath.Dir(name), made); err != nil {
			return err
		}
		if err = atomicfile.Write(name, files[file], 0o644); err != nil {
			return err
		}
		written = append(written, name)
	}
	return nil
}

// file is what a file was before it is replaced.
type file struct {
	data []byte
	mode fs.FileMode
}

// present reads the files that will be replaced, by path. One that is no plain file,
// or cannot be read, is an error: it could not be put back.
func present(dir string, files map[string][]byte) (map[string]file, error) {
	out := map[string]file{}
	for name := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // what is in the way is found by writing
			continue
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is no plain file; nothing was written", path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out[path] = file{data, info.Mode().Perm()}
	}
	return out, nil
}

// parents makes a directory and those above it, and adds what it made.
func parents(dir string, made []string) ([]string, error) {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return made, nil
	}
	made, err := parents(filepath.Dir(dir), made)
	if err != nil {
		return made, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// appear fills a directory beside the one that is wanted, and renames it.
func appear(dir string, files map[string][]byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil {
		return err
	}
	stage, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".domicile-init-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(stage))
		}
	}()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		name := filepath.Join(stage, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, files[file], 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return err
	}
	return os.Rename(stage, dir)
}

func text(w io.Writer, l lang.Lang, r result) {
	for _, f := range r.Files {
		fmt.Fprintf(w, "  %s\n", show.Line(f))
	}
	fmt.Fprintln(w, show.Line(lang.T("Wrote %d files for %s into %s.", len(r.Files), strings.Join(r.Homes, ", "), r.Dir).In(l)))
	fmt.Fprintln(w, show.Line(lang.T("next: domicile demo --policies %s   to try it; then put your own addresses, issuer and keys into deployment.yaml", r.Dir).In(l)))
}

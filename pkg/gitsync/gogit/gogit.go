// Package gogit is the real gitsync.Source: a bare copy of one branch or tag of a
// repository, by way of go-git, so that no git program is needed beside the
// control plane.
//
// The copy is a cache: one that cannot be read is thrown away and fetched again.
// Credentials come from files and are never part of a URL, a log line or an error.
// A Source must not be used by two goroutines at once.
package gogit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"testing/fstest"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/gitsync"
)

// fetchTime bounds one fetch.
const fetchTime = 2 * time.Minute

// maxSubject is how much of a commit's first line is kept, in bytes.
const maxSubject = 512

// followed is where the copy keeps what the branch or tag points to.
const followed = plumbing.ReferenceName("refs/domicile/followed")

// Config says what to follow and how to be let in.
type Config struct {
	URL string // https, ssh or file; without credentials
	Ref string // branch, or a full name: refs/tags/production
	// Path is the policy directory inside the repository; "" is its root.
	Path string
	// Dir holds the copy; it is made when missing.
	Dir string
	// Keys, when not nil, must have signed the commit (or the annotated tag).
	Keys *Keys
	// TokenFile holds a token for https; SSHKey a private key and KnownHosts the
	// servers' keys for ssh. Read at each fetch, so that they may be renewed.
	TokenFile, SSHKey, KnownHosts string
	// CAFile holds authorities for https beside those of the system (PEM).
	CAFile string
}

// Source is a repository that is followed.
type Source struct {
	cfg  Config
	repo *git.Repository
}

// New checks the configuration; nothing is fetched yet.
func New(cfg Config) (*Source, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("git repository: not a URL") // the error would repeat it
	case u.Scheme != "https" && u.Scheme != "ssh" && u.Scheme != "file":
		return nil, fmt.Errorf("git repository: scheme %q is not https, ssh or file", u.Scheme)
	case hasPassword(u):
		return nil, errors.New("git repository: the URL holds a password; put it into a token file")
	case u.Scheme == "ssh" && (cfg.SSHKey == "" || cfg.KnownHosts == ""):
		return nil, errors.New("git repository: ssh needs a key file and a file of known hosts")
	case cfg.Ref == "":
		return nil, errors.New("git repository: name a branch or tag")
	}
	if cfg.Path = path.Clean(cfg.Path); cfg.Path == "/" || cfg.Path == "" {
		cfg.Path = "."
	}
	if !fs.ValidPath(cfg.Path) {
		return nil, fmt.Errorf("git repository: path %q is not inside it", cfg.Path)
	}
	if !strings.HasPrefix(cfg.Ref, "refs/") {
		cfg.Ref = "refs/heads/" + cfg.Ref
	}
	if err := plumbing.ReferenceName(cfg.Ref).Validate(); err != nil {
		return nil, fmt.Errorf("git repository: %q is not the name of a branch or tag", cfg.Ref)
	}
	return &Source{cfg: cfg}, nil
}

func hasPassword(u *url.URL) bool {
	_, set := u.User.Password()
	return set
}

// Fetch implements gitsync.Source.
func (s *Source) Fetch(ctx context.Context) (gitsync.Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	c, err := s.fetch(ctx)
	if err == nil || errors.Is(err, gitsync.ErrUntrusted) || ctx.Err() != nil || !damaged(err) {
		return c, err
	}
	// The copy itself may be what is broken: begin again with a new one.
	s.repo = nil
	if rmErr := os.RemoveAll(s.cfg.Dir); rmErr != nil {
		return c, errors.Join(err, rmErr)
	}
	return s.fetch(ctx)
}

// damaged tells whether a new copy might help.
func damaged(err error) bool {
	return errors.Is(err, plumbing.ErrObjectNotFound) || errors.Is(err, git.ErrRepositoryNotExists) || errors.Is(err, errCopy)
}

var errCopy = errors.New("local copy of the repository")

func (s *Source) fetch(ctx context.Context) (gitsync.Commit, error) {
	if err := s.open(); err != nil {
		return gitsync.Commit{}, err
	}
	auth, err := s.auth()
	if err != nil {
		return gitsync.Commit{}, err
	}
	var authorities []byte
	if s.cfg.CAFile != "" {
		if authorities, err = os.ReadFile(s.cfg.CAFile); err != nil {
			return gitsync.Commit{}, fmt.Errorf("git authorities: %w", err)
		}
	}
	err = s.repo.FetchContext(ctx, &git.FetchOptions{
		RemoteURL: s.cfg.URL, Auth: auth, CABundle: authorities, Tags: git.NoTags, Force: true,
		RefSpecs: []config.RefSpec{config.RefSpec("+" + s.cfg.Ref + ":" + string(followed))},
	})
	if err != nil && !errors.Is(err, git.NoErrAlreadyUpToDate) {
		return gitsync.Commit{}, fmt.Errorf("fetch %s: %w", s.cfg.Ref, err)
	}
	ref, err := s.repo.Reference(followed, true)
	if err != nil {
		return gitsync.Commit{}, fmt.Errorf("fetch %s: %w: %w", s.cfg.Ref, errCopy, err)
	}
	return s.commit(ref.Hash())
}

func (s *Source) open() error {
	if s.repo != nil {
		return nil
	}
	repo, err := git.PlainOpen(s.cfg.Dir)
	if errors.Is(err, git.ErrRepositoryNotExists) {
		if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("make a copy of the repository: %w", err)
		}
		repo, err = git.PlainInit(s.cfg.Dir, true)
		if err == nil {
			_, err = repo.CreateRemote(&config.RemoteConfig{Name: git.DefaultRemoteName, URLs: []string{s.cfg.URL}})
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errCopy, err)
	}
	s.repo = repo
	return nil
}

// auth reads the credentials anew.
func (s *Source) auth() (transport.AuthMethod, error) {
	switch {
	case s.cfg.TokenFile != "":
		token, err := os.ReadFile(s.cfg.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("git token: %w", err)
		}
		return &githttp.BasicAuth{Username: "git", Password: strings.TrimSpace(string(token))}, nil
	case strings.HasPrefix(s.cfg.URL, "ssh:"):
		user := "git"
		if u, err := url.Parse(s.cfg.URL); err == nil && u.User.Username() != "" {
			user = u.User.Username()
		}
		keys, err := gitssh.NewPublicKeysFromFile(user, s.cfg.SSHKey, "")
		if err != nil {
			return nil, fmt.Errorf("git ssh key %s: %w", s.cfg.SSHKey, err)
		}
		if keys.HostKeyCallback, err = gitssh.NewKnownHostsCallback(s.cfg.KnownHosts); err != nil {
			return nil, fmt.Errorf("git known hosts %s: %w", s.cfg.KnownHosts, err)
		}
		return keys, nil
	}
	return nil, nil
}

// commit reads the commit that a hash names: itself, or by way of an annotated tag.
func (s *Source) commit(h plumbing.Hash) (gitsync.Commit, error) {
	var signed signedObject
	tag, err := s.repo.TagObject(h)
	if err == nil {
		signed, h = tag, tag.Target
	}
	c, err := s.repo.CommitObject(h)
	if err != nil {
		return gitsync.Commit{}, fmt.Errorf("%s is not a commit: %w", h, err)
	}
	subject, _, _ := strings.Cut(c.Message, "\n")
	out := gitsync.Commit{
		Hash: c.Hash.String(), Author: c.Author.Name, At: c.Author.When.UTC(),
		Subject: strings.ToValidUTF8(subject[:min(len(subject), maxSubject)], ""),
	}
	if s.cfg.Keys == nil {
		return out, nil
	}
	if signed == nil {
		signed = c
	}
	if out.Signer, err = s.cfg.Keys.verify(signed); err != nil {
		return out, fmt.Errorf("commit %.12s: %w: %w", out.Hash, gitsync.ErrUntrusted, err)
	}
	return out, nil
}

// Descends implements gitsync.Source.
func (s *Source) Descends(_ context.Context, hash, from string) (bool, error) {
	if err := s.open(); err != nil {
		return false, err
	}
	ancestor, err := s.repo.CommitObject(plumbing.NewHash(from))
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read commit %s: %w", from, err)
	}
	c, err := s.repo.CommitObject(plumbing.NewHash(hash))
	if err != nil {
		return false, fmt.Errorf("read commit %s: %w", hash, err)
	}
	ok, err := ancestor.IsAncestor(c)
	if err != nil {
		return false, fmt.Errorf("history of %s: %w", hash, err)
	}
	return ok, nil
}

// Files implements gitsync.Source. A file that is too large for a bundle comes as
// one byte more than it may have, so that its reader says so.
func (s *Source) Files(ctx context.Context, hash string) (fs.FS, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	c, err := s.repo.CommitObject(plumbing.NewHash(hash))
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", hash, err)
	}
	tree, err := c.Tree()
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", hash, err)
	}
	if s.cfg.Path != "." {
		if tree, err = tree.Tree(s.cfg.Path); err != nil {
			return nil, fmt.Errorf("the commit has no directory %s", s.cfg.Path)
		}
	}
	return readTree(ctx, tree)
}

func readTree(ctx context.Context, tree *object.Tree) (fs.FS, error) {
	out, total := fstest.MapFS{}, 0
	walker := object.NewTreeWalker(tree, true, nil)
	defer walker.Close()
	for {
		name, entry, err := walker.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("read the commit's files: %w", err)
		}
		switch entry.Mode {
		case filemode.Dir:
			continue
		case filemode.Symlink, filemode.Submodule:
			return nil, fmt.Errorf("%s is a symbolic link or a submodule: policies are plain files of one commit; put the file itself there", name)
		}
		data, err := content(tree, &entry)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if total += len(data); total > bundle.MaxTotal || len(out) == 5*bundle.MaxFiles {
			return nil, fmt.Errorf("the directory holds more than %d MiB or %d files: name one that holds policies only", bundle.MaxTotal>>20, 5*bundle.MaxFiles)
		}
		out[name] = &fstest.MapFile{Data: data, Mode: 0o644}
	}
}

func content(tree *object.Tree, entry *object.TreeEntry) (data []byte, err error) {
	file, err := tree.TreeEntryFile(entry)
	if err != nil {
		return nil, err
	}
	r, err := file.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(r, bundle.MaxFile+1))
	return b.Bytes(), err
}

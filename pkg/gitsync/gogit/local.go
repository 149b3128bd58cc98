package gogit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

// ErrNoRepository means that a directory lies in no git repository.
var ErrNoRepository = errors.New("not in a git repository")

// Checkout is a directory of a checked-out repository on this machine.
type Checkout struct {
	repo *git.Repository
	path string // of the directory inside the repository, with slashes
}

// Open finds the repository that a directory lies in; ErrNoRepository where there
// is none.
func Open(dir string) (*Checkout, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	repo, err := git.PlainOpenWithOptions(abs, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoRepository)
	}
	if err != nil {
		return nil, fmt.Errorf("open the repository of %s: %w", dir, err)
	}
	tree, err := repo.Worktree()
	if err != nil {
		return nil, fmt.Errorf("open the repository of %s: %w", dir, err)
	}
	root, err := filepath.EvalSymlinks(tree.Filesystem.Root())
	if err != nil {
		return nil, fmt.Errorf("open the repository of %s: %w", dir, err)
	}
	rel, err := filepath.Rel(root, abs)
	if err != nil {
		return nil, fmt.Errorf("open the repository of %s: %w", dir, err)
	}
	return &Checkout{repo, filepath.ToSlash(rel)}, nil
}

// At returns the directory as it was at a commit, branch or tag, and the commit's
// full hash. It is bounded like Source.Files.
func (c *Checkout) At(ctx context.Context, ref string) (fs.FS, string, error) {
	h, err := c.repo.ResolveRevision(plumbing.Revision(ref))
	if err != nil {
		return nil, "", fmt.Errorf("%q names no commit of this repository", ref)
	}
	commit, err := c.repo.CommitObject(*h)
	if err != nil {
		return nil, "", fmt.Errorf("%q names no commit of this repository", ref)
	}
	tree, err := commit.Tree()
	if err != nil {
		return nil, "", fmt.Errorf("read commit %s: %w", h, err)
	}
	if c.path != "." {
		if tree, err = tree.Tree(c.path); err != nil {
			return nil, "", fmt.Errorf("commit %.12s has no directory %s", h.String(), c.path)
		}
	}
	fsys, err := readTree(ctx, tree)
	return fsys, h.String(), err
}

// Head returns the hash of the commit that is checked out.
func (c *Checkout) Head() (string, error) {
	ref, err := c.repo.Head()
	if err != nil {
		return "", fmt.Errorf("the repository has no commit: %w", err)
	}
	return ref.Hash().String(), nil
}

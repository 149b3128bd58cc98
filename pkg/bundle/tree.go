package bundle

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is the read-only file system of a bundle. It never changes after newTree.
type tree struct {
	files map[string][]byte
	dirs  map[string][]fs.DirEntry // sorted by name
}

func newTree(files map[string][]byte) *tree {
	t := &tree{files: files, dirs: map[string][]fs.DirEntry{".": nil}}
	listed := map[string]bool{} // directories that their parent lists
	add := func(name string, n node) {
		t.dirs[path.Dir(name)] = append(t.dirs[path.Dir(name)], fs.FileInfoToDirEntry(n))
	}
	for name, data := range files {
		add(name, node{name: path.Base(name), size: int64(len(data))})
		for dir := path.Dir(name); dir != "." && !listed[dir]; dir = path.Dir(dir) {
			listed[dir] = true
			add(dir, node{name: path.Base(dir), dir: true})
		}
	}
	for _, list := range t.dirs {
		slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return t
}

// Open implements fs.FS.
func (t *tree) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if data, ok := t.files[name]; ok {
		return &file{node{name: path.Base(name), size: int64(len(data))}, bytes.NewReader(data)}, nil
	}
	if list, ok := t.dirs[name]; ok {
		return &dir{node: node{name: path.Base(name), dir: true}, path: name, rest: list}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// node describes a file or directory to package fs.
type node struct {
	name string
	size int64
	dir  bool
}

func (n node) Name() string       { return n.name }
func (n node) Size() int64        { return n.size }
func (n node) ModTime() time.Time { return time.Unix(0, 0).UTC() }
func (n node) IsDir() bool        { return n.dir }
func (n node) Sys() any           { return nil }
func (n node) Mode() fs.FileMode {
	if n.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type file struct {
	node
	*bytes.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.node, nil }
func (f *file) Close() error               { return nil }
func (f *file) Size() int64                { return f.node.size }

type dir struct {
	node
	path string
	rest []fs.DirEntry
}

func (d *dir) Stat() (fs.FileInfo, error) { return d.node, nil }
func (d *dir) Close() error               { return nil }

func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile.
func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.rest) {
		n = len(d.rest)
	}
	out := slices.Clone(d.rest[:n])
	d.rest = d.rest[n:]
	return out, nil
}

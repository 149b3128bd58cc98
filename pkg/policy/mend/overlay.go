package mend

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// overlay is a directory in which some files have another content.
type overlay struct {
	base    fs.FS
	changed map[string][]byte
}

func (o overlay) Open(name string) (fs.File, error) {
	if data, ok := o.changed[name]; ok {
		return &file{Reader: bytes.NewReader(data), info: info{path.Base(name), int64(len(data))}}, nil
	}
	return o.base.Open(name)
}

// Stat looks without opening, as that of the base may.
func (o overlay) Stat(name string) (fs.FileInfo, error) {
	if data, ok := o.changed[name]; ok {
		return info{path.Base(name), int64(len(data))}, nil
	}
	i, err := fs.Stat(o.base, name)
	if err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	return i, nil
}

// ReadDir lists the base: nothing is added, and nothing removed.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(o.base, name)
	if err != nil {
		return list, fmt.Errorf("list: %w", err)
	}
	return list, nil
}

type file struct {
	*bytes.Reader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

type info struct {
	name string
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o444 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }

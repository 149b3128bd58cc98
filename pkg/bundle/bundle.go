// Package bundle packs a set of law and policy files into one immutable,
// content-addressed archive.
//
// It guarantees that an archive has one meaning and a meaning has one archive:
// New always writes the same bytes for the same files, and Open accepts no
// bytes but those that New would write. Whoever compares two digests therefore
// compares two sets of files, and whoever signs a digest signs exactly what
// every reader will see.
//
// The form is a POSIX ustar archive of regular files in byte order of their
// names, mode 0644, owner and device 0 without names, modification time 0, no
// directory entries, no compression, and the two closing zero blocks. The form
// is fixed for good: a digest in somebody's audit log must stay true, so a
// change needs another digest prefix.
//
// Open verifies the digest before it parses a byte. Both New and Open are
// bounded by MaxFile, MaxFiles, MaxTotal and MaxArchive and return an error for
// everything else; neither panics, whatever the input. A Bundle never changes
// and may be used by many goroutines at once.
package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// Limits of a bundle, in bytes where they are sizes.
const (
	MaxFile  = 1 << 20  // one file
	MaxFiles = 2000     // files in one bundle
	MaxTotal = 64 << 20 // all files together
	MaxPath  = 100      // one path: the name field of ustar

	// MaxArchive is the largest archive that the limits above allow: each file
	// costs a header and at most one block of padding, the end two blocks.
	MaxArchive = MaxTotal + MaxFiles*2*block + 2*block

	block = 512
)

const digestPrefix = "sha256:"

// ErrDigest means that the bytes are not those that the digest names. Fetch
// them again, from somewhere else if it stays; never use them.
var ErrDigest = errors.New("digest does not match")

// Bundle is a set of files. The zero value holds none; New and Open make others.
type Bundle struct {
	archive []byte
	digest  string
	files   map[string][]byte
}

// New packs files, keyed by slash-separated path. It copies what it is given.
// The error names the path that breaks a rule: paths are relative, clean, at
// most MaxPath bytes of ASCII letters, digits, '.', '_', '-' and '/', differ by
// more than case, and none is the directory of another.
func New(files map[string][]byte) (*Bundle, error) {
	names := slices.Sorted(maps.Keys(files))
	if err := check(names, files); err != nil {
		return nil, fmt.Errorf("pack bundle: %w", err)
	}
	b := &Bundle{files: make(map[string][]byte, len(files))}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		b.files[name] = bytes.Clone(files[name])
		if err := w.WriteHeader(header(name, len(files[name]))); err != nil {
			return nil, fmt.Errorf("pack bundle: %q: %w", name, err)
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, fmt.Errorf("pack bundle: %q: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack bundle: %w", err)
	}
	b.archive = out.Bytes()
	b.digest = Digest(b.archive)
	return b, nil
}

// header holds nothing but name and size: whatever else it could hold would
// make two archives of one meaning.
func header(name string, size int) *tar.Header {
	return &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     name,
		Size:     int64(size),
		Mode:     0o644,
		ModTime:  time.Unix(0, 0),
		Format:   tar.FormatUSTAR,
	}
}

// Open checks that the archive has the digest, then that it is the canonical
// archive of its files. The error wraps ErrDigest in the first case. It copies
// what it is given.
func Open(archive []byte, digest string) (*Bundle, error) {
	if err := Verify(archive, digest); err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	files, err := unpack(archive)
	if err != nil {
		return nil, fmt.Errorf("open bundle %s: %w", digest, err)
	}
	b, err := New(files)
	if err != nil {
		return nil, fmt.Errorf("open bundle %s: %w", digest, err)
	}
	// The one test that needs no list of what could be odd about an archive:
	// order, header fields, padding, sparse files, trailing data.
	if !bytes.Equal(b.archive, archive) {
		return nil, fmt.Errorf("open bundle %s: archive is not canonical", digest)
	}
	return b, nil
}

func unpack(archive []byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for total := 0; ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		switch _, seen := files[h.Name]; {
		case h.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%q is not a regular file", h.Name)
		case seen:
			return nil, fmt.Errorf("%q appears twice", h.Name)
		case len(files) == MaxFiles:
			return nil, fmt.Errorf("more than %d files", MaxFiles)
		case h.Size > MaxFile:
			return nil, fmt.Errorf("%q has more than %d bytes", h.Name, MaxFile)
		}
		data, err := io.ReadAll(io.LimitReader(r, MaxFile))
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", h.Name, err)
		}
		if total += len(data); total > MaxTotal {
			return nil, fmt.Errorf("more than %d bytes in all", MaxTotal)
		}
		files[h.Name] = data
	}
}

// Digest returns the bundle's digest, "sha256:" and 64 lower-case hex digits.
func (b *Bundle) Digest() string { return b.digest }

// Archive returns a copy of the canonical archive.
func (b *Bundle) Archive() []byte { return bytes.Clone(b.archive) }

// Files returns a copy of the files, keyed by path.
func (b *Bundle) Files() map[string][]byte {
	out := make(map[string][]byte, len(b.files))
	for name, data := range b.files {
		out[name] = bytes.Clone(data)
	}
	return out
}

// FS returns the files as a read-only file system. Directories exist as far as
// files need them.
func (b *Bundle) FS() fs.FS { return newTree(b.files) }

// Digest names any bytes as Bundle.Digest names an archive.
func Digest(archive []byte) string {
	sum := sha256.Sum256(archive)
	return digestPrefix + hex.EncodeToString(sum[:])
}

// Verify tells whether the archive is small enough and has the digest, without
// parsing it. A mismatch wraps ErrDigest.
func Verify(archive []byte, digest string) error {
	if !ValidDigest(digest) {
		return fmt.Errorf("%q is not a digest", digest)
	}
	if len(archive) > MaxArchive {
		return fmt.Errorf("verify %s: archive has more than %d bytes", digest, MaxArchive)
	}
	if got := Digest(archive); got != digest {
		return fmt.Errorf("verify %s: %w: the bytes are %s", digest, ErrDigest, got)
	}
	return nil
}

// ValidDigest tells whether s is written as a digest.
func ValidDigest(s string) bool {
	hexa, ok := strings.CutPrefix(s, digestPrefix)
	return ok && len(hexa) == 2*sha256.Size && strings.Trim(hexa, "0123456789abcdef") == ""
}

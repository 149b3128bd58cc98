package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sample() map[string][]byte {
	return map[string][]byte{
		"deployment.yaml":            []byte("kind: Deployment\n"),
		"jurisdictions/sa.yaml":      []byte("kind: Jurisdiction\n"),
		"jurisdictions/sa_test.yaml": []byte("kind: PolicyTest\n"),
		"law/empty.yaml":             {},
		"law/sa.yaml":                bytes.Repeat([]byte("x"), 3*block),
	}
}

func mustNew(t testing.TB, files map[string][]byte) *Bundle {
	t.Helper()
	b, err := New(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The digest is written down: a change of the form, of this package or of the
// standard library below it, must not pass unseen.
func TestFormIsFixed(t *testing.T) {
	b := mustNew(t, sample())
	const want = "sha256:cb58f08c2cbf0b61b181788e40f563abc80745e23016b16a22222cbb6273814a"
	if b.Digest() != want {
		t.Errorf("digest %s, want %s", b.Digest(), want)
	}
	if got := Digest(b.Archive()); got != want {
		t.Errorf("digest of the archive %s, want %s", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	b := mustNew(t, sample())
	got, err := Open(b.Archive(), b.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), got.Files()); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, fsys := range []fs.FS{b.FS(), got.FS()} {
		if err := fstest.TestFS(fsys, "deployment.yaml", "jurisdictions/sa.yaml", "law/empty.yaml"); err != nil {
			t.Error(err)
		}
	}
	if err := fstest.TestFS((&Bundle{}).FS()); err != nil {
		t.Errorf("zero bundle: %v", err)
	}
}

func TestBundleIsImmutable(t *testing.T) {
	in := sample()
	b := mustNew(t, in)
	in["deployment.yaml"][0] = '!'
	b.Archive()[block] = '!'
	b.Files()["deployment.yaml"][0] = '!'
	delete(b.Files(), "deployment.yaml")
	if d := cmp.Diff(sample(), b.Files()); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if _, err := Open(b.Archive(), b.Digest()); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	many := map[string][]byte{}
	for i := range MaxFiles + 1 {
		many[fmt.Sprintf("%d.yaml", i)] = nil
	}
	large := map[string][]byte{}
	for i := range MaxTotal/MaxFile + 1 {
		large[fmt.Sprintf("%d.yaml", i)] = make([]byte, MaxFile)
	}
	one := func(name string) map[string][]byte { return map[string][]byte{name: []byte("x")} }
	two := func(a, b string) map[string][]byte { return map[string][]byte{a: nil, b: nil} }
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"no files":         {nil, "no files"},
		"too many":         {many, "2001 files"},
		"too large":        {large, "bytes in all"},
		"large file":       {map[string][]byte{"a": make([]byte, MaxFile+1)}, "more than 1048576"},
		"empty path":       {one(""), "not relative"},
		"dot":              {one("."), "not relative"},
		"absolute":         {one("/etc/passwd"), "not relative"},
		"parent":           {one("a/../b"), "not relative"},
		"parent first":     {one("../b"), "not relative"},
		"trailing slash":   {one("a/"), "not relative"},
		"double slash":     {one("a//b"), "not relative"},
		"backslash":        {one(`a\b`), "outside"},
		"NUL":              {one("a\x00b"), "outside"},
		"newline":          {one("a\nb"), "outside"},
		"look-alike":       {one("s\u0430.yaml"), "outside"},
		"not UTF-8":        {one("a\xff"), "not relative"},
		"long":             {one(strings.Repeat("a", MaxPath+1)), "101 bytes"},
		"case":             {two("sa.yaml", "SA.yaml"), "case only"},
		"case of a dir":    {two("a/x", "A/y"), "case only"},
		"file and dir":     {two("a", "a/b"), "a file and a directory"},
		"file and dir far": {map[string][]byte{"a/b": nil, "a-": nil, "a/b/c/d": nil}, "a file and a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := New(c.files)
			if b != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New = %v, %v; want an error with %q", b, err, c.want)
			}
		})
	}
}

func TestLimitsAreReached(t *testing.T) {
	files := map[string][]byte{strings.Repeat("p", MaxPath): make([]byte, MaxFile)}
	for i := range MaxFiles - 1 {
		files[fmt.Sprintf("%d.yaml", i)] = make([]byte, (MaxTotal-MaxFile)/MaxFiles)
	}
	b := mustNew(t, files)
	if len(b.archive) > MaxArchive {
		t.Errorf("archive has %d bytes, more than MaxArchive", len(b.archive))
	}
	if _, err := Open(b.Archive(), b.Digest()); err != nil {
		t.Error(err)
	}
}

func TestT18DigestComesFirst(t *testing.T) {
	b := mustNew(t, sample())
	// Not even an archive: only the digest may be what is wrong with it.
	if _, err := Open([]byte("no archive"), b.Digest()); !errors.Is(err, ErrDigest) {
		t.Errorf("garbage: %v, want ErrDigest", err)
	}
	for i := range b.archive {
		bad := b.Archive()
		bad[i] ^= 1
		if _, err := Open(bad, b.Digest()); !errors.Is(err, ErrDigest) {
			t.Fatalf("bit flip at %d: %v, want ErrDigest", i, err)
		}
	}
	for _, digest := range []string{"", "sha256:", "md5:" + b.Digest()[7:], strings.ToUpper(b.Digest()), b.Digest() + "0", b.Digest()[:70] + "g", b.Digest() + "\n"} {
		if _, err := Open(b.Archive(), digest); err == nil {
			t.Errorf("digest %q accepted", digest)
		}
	}
	if err := Verify(make([]byte, MaxArchive+1), b.Digest()); err == nil || errors.Is(err, ErrDigest) {
		t.Errorf("too large: %v, want an error about the size", err)
	}
}

// archive writes what New never would.
func archive(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Each archive has its true digest, so that only its form can be refused.
func TestT18OpenRefusesOtherForms(t *testing.T) {
	with := func(change func(*tar.Header)) []byte {
		h := header("b", 3)
		change(h)
		return archive(t, header("a", 3), h)
	}
	good := archive(t, header("a", 3), header("b", 3))
	padded := bytes.Clone(good)
	padded[block+5] = 1 // after the three bytes of a
	for name, bytes := range map[string][]byte{
		"empty":          {},
		"no files":       archive(t),
		"unsorted":       archive(t, header("b", 3), header("a", 3)),
		"twice":          archive(t, header("a", 3), header("a", 3)),
		"mode":           with(func(h *tar.Header) { h.Mode = 0o755 }),
		"owner":          with(func(h *tar.Header) { h.Uid = 1 }),
		"owner's name":   with(func(h *tar.Header) { h.Uname = "root" }),
		"time":           with(func(h *tar.Header) { h.ModTime = time.Unix(1, 0) }),
		"pax":            with(func(h *tar.Header) { h.Format = tar.FormatPAX; h.PAXRecords = map[string]string{"comment": "x"} }),
		"gnu":            with(func(h *tar.Header) { h.Format = tar.FormatGNU }),
		"parent":         with(func(h *tar.Header) { h.Name = "../b" }),
		"absolute":       with(func(h *tar.Header) { h.Name = "/b" }),
		"directory":      with(func(h *tar.Header) { h.Name = "b/"; h.Typeflag = tar.TypeDir; h.Size = 0 }),
		"symbolic link":  with(func(h *tar.Header) { h.Typeflag = tar.TypeSymlink; h.Linkname = "a"; h.Size = 0 }),
		"hard link":      with(func(h *tar.Header) { h.Typeflag = tar.TypeLink; h.Linkname = "a"; h.Size = 0 }),
		"device":         with(func(h *tar.Header) { h.Typeflag = tar.TypeChar; h.Size = 0 }),
		"large file":     with(func(h *tar.Header) { h.Size = MaxFile + 1 }),
		"trailing data":  append(slices.Clone(good), 'x'),
		"trailing zeros": append(slices.Clone(good), make([]byte, block)...),
		"one zero block": good[:len(good)-block],
		"no zero blocks": good[:len(good)-2*block],
		"cut":            good[:block+1],
		"padding":        padded,
		"two archives":   append(slices.Clone(good), good...),
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := Open(bytes, Digest(bytes)); err == nil {
				t.Errorf("accepted, with files %v", maps.Keys(b.Files()))
			} else if errors.Is(err, ErrDigest) {
				t.Errorf("refused for its digest: %v", err)
			}
		})
	}
	if _, err := Open(good, Digest(good)); err != nil {
		t.Errorf("the archive that the cases derive from: %v", err)
	}
}

// FuzzOpen looks for an archive that is accepted though New would write it
// otherwise, and for a panic. The digest is always right: the fuzzer would
// never find one.
func FuzzOpen(f *testing.F) {
	f.Add(mustNew(f, sample()).Archive())
	f.Add(mustNew(f, map[string][]byte{"a": nil}).Archive())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := Open(in, Digest(in))
		if err != nil {
			return
		}
		again, err := New(b.Files())
		if err != nil {
			t.Fatalf("files of an accepted archive are refused: %v", err)
		}
		if !bytes.Equal(again.Archive(), in) || again.Digest() != Digest(in) {
			t.Fatal("two archives of one meaning")
		}
		if err := fs.WalkDir(b.FS(), ".", func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzNew looks for a path that New accepts and Open does not.
func FuzzNew(f *testing.F) {
	for _, p := range []string{"a", "a/b", "../a", "a\\b", "A", "é", "a/.", strings.Repeat("x", 101)} {
		f.Add(p, "b", []byte("x"))
	}
	f.Fuzz(func(t *testing.T, p, q string, data []byte) {
		b, err := New(map[string][]byte{p: data, q: nil})
		if err != nil {
			return
		}
		if _, err := Open(b.Archive(), b.Digest()); err != nil {
			t.Fatal(err)
		}
	})
}

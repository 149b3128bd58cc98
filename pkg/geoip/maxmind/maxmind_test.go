package maxmind_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/domicile-dev/domicile/pkg/geoip"
	"github.com/domicile-dev/domicile/pkg/geoip/maxmind"
)

// city is a record as GeoLite2-City has it, in small.
func city(code string) mmdbtype.Map {
	return mmdbtype.Map{
		"continent": mmdbtype.Map{"code": mmdbtype.String("AS"), "geoname_id": mmdbtype.Uint32(6255147)},
		"country":   mmdbtype.Map{"iso_code": mmdbtype.String(code), "names": mmdbtype.Map{"en": mmdbtype.String("Country " + code), "zh-CN": mmdbtype.String("国家 " + code)}},
		"location":  mmdbtype.Map{"latitude": mmdbtype.Float64(24.6), "accuracy_radius": mmdbtype.Uint16(100)},
		"traits":    mmdbtype.Map{"is_anycast": mmdbtype.Bool(true)},
		"extra":     mmdbtype.Slice{mmdbtype.Int32(-1), mmdbtype.Float32(1), mmdbtype.Uint64(1 << 40), mmdbtype.Bytes("x")},
	}
}

// make1 makes a database of records by prefix.
func make1(t testing.TB, o mmdbwriter.Options, records map[string]mmdbtype.DataType) []byte {
	t.Helper()
	o.DatabaseType, o.Description, o.BuildEpoch = "Test-City", map[string]string{"en": "made by a test"}, 1_800_000_000
	tree, err := mmdbwriter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	// The writer lets what comes later replace what is inside: wide prefixes go first.
	wide := func(a, b string) int {
		return cmp.Or(netip.MustParsePrefix(a).Bits()-netip.MustParsePrefix(b).Bits(), cmp.Compare(a, b))
	}
	for _, prefix := range slices.SortedFunc(maps.Keys(records), wide) {
		_, network, err := net.ParseCIDR(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(network, records[prefix]); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// good is a database in which 8.0.0.0/8 is in the US and 31.0.0.0/8 in SA.
func good(t testing.TB) []byte {
	return make1(t, mmdbwriter.Options{}, map[string]mmdbtype.DataType{
		"8.0.0.0/8": city("US"), "31.0.0.0/8": city("SA"), "2a00:1000::/28": city("TR"),
		"9.0.0.0/8": mmdbtype.Map{"continent": mmdbtype.Map{"code": mmdbtype.String("EU")}}, // no country
	})
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	// By rename, as tools that care replace a file.
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, data []byte) (*maxmind.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	write(t, path, data)
	return maxmind.Open(path)
}

func TestCountry(t *testing.T) {
	for _, o := range []mmdbwriter.Options{{RecordSize: 24}, {RecordSize: 28}, {RecordSize: 32}, {DisableIPv4Aliasing: true}, {DisableMetadataPointers: true}} {
		f, err := open(t, make1(t, o, map[string]mmdbtype.DataType{
			"8.0.0.0/8": city("US"), "8.8.8.0/24": city("SA"), "2a00:1000::/28": city("TR"), "1.1.1.1/32": city("AU"),
			"9.0.0.0/8":  mmdbtype.Map{"continent": mmdbtype.Map{"code": mmdbtype.String("EU")}},
			"11.0.0.0/8": mmdbtype.Map{"country": mmdbtype.Map{"names": mmdbtype.Map{}}},
			"12.0.0.0/8": mmdbtype.Map{"country_code": mmdbtype.String("DE")},
			"13.0.0.0/8": mmdbtype.Map{"country_code": mmdbtype.String("")},
		}))
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		for a, want := range map[string]string{
			"8.1.2.3": "US", "8.8.8.8": "SA", "8.8.9.8": "US", "1.1.1.1": "AU", "1.1.1.2": "", "2a00:100f::1": "TR", "2a00:2000::1": "", "9.9.9.9": "",
			"11.1.1.1": "", "12.1.1.1": "DE", "13.1.1.1": "", "::ffff:8.8.8.8": "SA", "255.255.255.255": "", "::": "", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "",
		} {
			if got := f.Country(netip.MustParseAddr(a)); got != want {
				t.Errorf("%+v: %s is in %q, want %q", o, a, got, want)
			}
		}
		if got := f.Country(netip.Addr{}); got != "" {
			t.Errorf("no address is in %q", got)
		}
		if f.Kind() != "Test-City" || f.Built() != time.Unix(1_800_000_000, 0) || f.Err() != nil {
			t.Errorf("%s, %v, %v", f.Kind(), f.Built(), f.Err())
		}
		if got := geoip.Propose(f, "1.1.1.1, 8.8.8.8", 0); got != "SA" {
			t.Errorf("proposes %q", got)
		}
	}
	f, err := open(t, make1(t, mmdbwriter.Options{IPVersion: 4}, map[string]mmdbtype.DataType{"8.0.0.0/8": city("US")}))
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]string{"8.8.8.8": "US", "::ffff:8.8.8.8": "US", "2a00:1000::1": "", "9.9.9.9": ""} {
		if got := f.Country(netip.MustParseAddr(a)); got != want {
			t.Errorf("IPv4 only: %s is in %q, want %q", a, got, want)
		}
	}
}

// raw is a database built by hand: a tree whose only node leads to the first byte of
// data whatever the address.
type raw struct {
	tree, data []byte
	meta       []byte // nil: as it must be
	nodes      uint32
	version    byte
}

func (r raw) bytes() []byte {
	if r.tree == nil { // left: a chain of nodes for the address of zeros; right: data
		n := int(r.nodes)
		for i := range n {
			next := i + 1
			if next == n {
				next = n + 16
			}
			r.tree = append(r.tree, be24(next)...)
			r.tree = append(r.tree, be24(n+16)...)
		}
	}
	if r.meta == nil {
		r.meta = metadata(r.nodes, 24, r.version)
	}
	out := append(bytes.Clone(r.tree), make([]byte, 16)...)
	out = append(out, r.data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	return append(out, r.meta...)
}

func be24(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }

func text(s string) []byte { return append([]byte{0x40 | byte(len(s))}, s...) }

func metadata(nodes uint32, bits, version byte) []byte {
	out := []byte{0xe0 | 6}
	out = append(append(out, text("node_count")...), 0xc4)
	out = binary.BigEndian.AppendUint32(out, nodes)
	out = append(append(out, text("record_size")...), 0xa1, bits)
	out = append(append(out, text("ip_version")...), 0xa1, version)
	out = append(append(out, text("binary_format_major_version")...), 0xa1, 2)
	out = append(append(out, text("database_type")...), text("x")...)
	return append(append(out, text("build_epoch")...), 0xa1, 1)
}

// sa is a record {"country": {"iso_code": "SA"}}.
func sa() []byte {
	out := append([]byte{0xe1}, text("country")...)
	out = append(append(out, 0xe1), text("iso_code")...)
	return append(out, text("SA")...)
}

// pointer leads to a place in data.
func pointer(to int) []byte { return []byte{0x20 | byte(to>>8), byte(to)} }

// fan is data of so many levels of arrays, each of which holds width pointers to the
// next one: width to the power of levels values.
func fan(levels, width int) []byte {
	size := 1 + 1 + 2*width // an array of width pointers
	var out []byte
	// {"country_code": "SA", "x": → fan}
	head := append([]byte{0xe2}, text("country_code")...)
	head = append(append(head, text("SA")...), text("x")...)
	head = append(head, pointer(len(head)+2)...)
	for l := range levels {
		out = append(out, byte(width), 4) // array
		for range width {
			out = append(out, pointer(len(head)+(l+1)*size)...)
		}
	}
	return append(append(head, out...), 0xa1, 1)
}

func TestRawIsGood(t *testing.T) {
	for name, data := range map[string][]byte{"plain": sa(), "two levels of arrays": fan(2, 4)} {
		f, err := open(t, raw{data: data, nodes: 96, version: 6}.bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := f.Country(netip.MustParseAddr("8.8.8.8")); got != "SA" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestT23Malformed: files that are wrong in one way each are refused, quickly and in
// little memory.
func TestT23Malformed(t *testing.T) {
	ok := good(t)
	with := func(o mmdbwriter.Options, record mmdbtype.DataType) []byte {
		return make1(t, o, map[string]mmdbtype.DataType{"8.0.0.0/8": record, "31.0.0.0/8": city("SA")})
	}
	country := func(v mmdbtype.DataType) []byte { return with(mmdbwriter.Options{}, mmdbtype.Map{"country": v}) }
	code := func(s string) []byte { return country(mmdbtype.Map{"iso_code": mmdbtype.String(s)}) }
	r := func(data ...byte) []byte { return raw{data: data, nodes: 96, version: 6}.bytes() }
	deep := append([]byte{0xe2}, text("country_code")...)
	deep = append(append(deep, text("SA")...), text("x")...)
	for range 1000 {
		deep = append(deep, 1, 4) // an array of one
	}
	many := append([]byte{0xe2}, text("country_code")...)
	many = append(append(append(many, text("SA")...), text("x")...), 31, 4, 0xff, 0xff, 0xff)
	cycle := append([]byte{0xe2}, text("country_code")...)
	cycle = append(append(append(cycle, text("SA")...), text("x")...), pointer(0)...)
	knot := append([]byte{0xe2}, text("country_code")...)
	knot = append(append(knot, text("SA")...), text("x")...)
	knot = append(knot, pointer(len(knot))...)
	loop := raw{data: sa(), nodes: 2, version: 4, tree: append(append(be24(1), be24(18)...), append(be24(0), be24(18)...)...)}
	cases := map[string][]byte{
		"nothing":           {},
		"text":              []byte("not a database"),
		"only the marker":   []byte("\xab\xcd\xefMaxMind.com"),
		"twice":             append(bytes.Clone(ok), ok[:len(ok)-1]...),
		"more behind":       append(bytes.Clone(ok), 0),
		"tree that loops":   loop.bytes(),
		"pointer cycle":     r(cycle...),
		"pointer to itself": r(knot...),
		"pointer outward":   r(append(append([]byte{0xe1}, text("x")...), 0x3f, 0xff)...),
		"fan-out":           r(fan(5, 20)...),
		"fan-out, deep":     r(fan(8, 20)...),
		"fan-out of keys":   r(append([]byte{0xe1}, append(pointer(3), pointer(0)...)...)...),
		"deep":              r(append(deep, 0xa1, 1)...),
		"a huge array":      r(many...),
		"a huge map":        r(0xff, 0xff, 0xff, 0xff),
		"a huge text":       r(0x5f, 0xff, 0xff, 0xff),
		"unknown kind":      r(0, 5),
		"a long number":     r(append(append([]byte{0xe1}, text("x")...), 0xa3, 1, 2, 3)...),
		"a bent text":       r(append(append([]byte{0xe1}, text("x")...), 0x41, 0xff)...),
		"a name of bytes":   r(0xe1, 0x81, 'x', 0xa1, 1),
		"record beyond":     raw{data: nil, nodes: 96, version: 6}.bytes(),
		"IPv6 said of IPv4": raw{data: sa(), nodes: 24, version: 6}.bytes(),
		"IPv4 said of IPv6": raw{data: sa(), nodes: 96, version: 4}.bytes(),
		"IPv5":              raw{data: sa(), nodes: 96, version: 5}.bytes(),
		"deeper than IPv6":  raw{data: sa(), nodes: 129, version: 6}.bytes(),
		"no nodes":          raw{data: sa(), nodes: 0, version: 4}.bytes(),
		"node count":        raw{data: sa(), nodes: 96, version: 6, meta: metadata(95, 24, 6)}.bytes(),
		"huge node count":   raw{data: sa(), nodes: 96, version: 6, meta: metadata(0xffffffff, 24, 6)}.bytes(),
		"record size":       raw{data: sa(), nodes: 96, version: 6, meta: metadata(96, 25, 6)}.bytes(),
		"record size 0":     raw{data: sa(), nodes: 96, version: 6, meta: metadata(96, 0, 6)}.bytes(),
		"other size":        raw{data: sa(), nodes: 96, version: 6, meta: metadata(96, 32, 6)}.bytes(),
		"metadata fan-out":  raw{data: sa(), nodes: 96, version: 6, meta: fan(5, 20)}.bytes(),
		"long metadata":     raw{data: sa(), nodes: 96, version: 6, meta: append(metadata(96, 24, 6), make([]byte, 200<<10)...)}.bytes(),
		"country as text":   country(mmdbtype.String("SA")),
		"country as list":   country(mmdbtype.Slice{mmdbtype.String("SA")}),
		"code as number":    country(mmdbtype.Map{"iso_code": mmdbtype.Uint16(682)}),
		"code as map":       country(mmdbtype.Map{"iso_code": mmdbtype.Map{}}),
		"lower case":        code("sa"),
		"three letters":     code("SAU"),
		"digits":            code("S1"),
		"two codes":         with(mmdbwriter.Options{}, mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("SA")}, "country_code": mmdbtype.String("TR")}),
		"a record of text":  with(mmdbwriter.Options{}, mmdbtype.String("SA")),
		"another database":  make1(t, mmdbwriter.Options{}, map[string]mmdbtype.DataType{"8.0.0.0/8": mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(15169)}}),
	}
	// Twice the same member: which one counts would depend on the reader.
	double := append([]byte{0xe2}, text("country_code")...)
	double = append(append(double, text("SA")...), text("country_code")...)
	cases["member twice"] = r(append(double, text("TR")...)...)
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := open(t, data)
			if err == nil {
				t.Error("it is taken")
			} else if len(err.Error()) > 500 {
				t.Errorf("the error is too long: %.500v", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %v", took)
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
				t.Errorf("took %d bytes of memory", got)
			}
		})
	}
}

// TestT23Truncated: cut off anywhere, the file is refused.
func TestT23Truncated(t *testing.T) {
	ok := good(t)
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	for n := 0; n < len(ok); n += 1 + len(ok)/2000 {
		write(t, path, ok[:n])
		if _, err := maxmind.Open(path); err == nil {
			t.Fatalf("%d of %d bytes are taken", n, len(ok))
		}
	}
}

// TestT23Changes: a good file that replaces another is used at once; a bad one, one that
// is cut off in place and one that goes away leave the last good one in use.
func TestT23Changes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	first := good(t)
	second := make1(t, mmdbwriter.Options{}, map[string]mmdbtype.DataType{"8.0.0.0/8": city("DE")})
	write(t, path, first)
	f, err := maxmind.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for a := netip.MustParseAddr("8.0.0.0"); ; a = a.Next() {
				select {
				case <-stop:
					return
				default:
				}
				if got := f.Country(a); got != "US" && got != "DE" {
					t.Errorf("%s is in %q", a, got)
					return
				}
				runtime.Gosched()
			}
		})
	}
	expect := func(what, want string, used, fails bool) {
		t.Helper()
		got, err := f.Refresh()
		if got != used || (err != nil) != fails || (f.Err() != nil) != fails {
			t.Errorf("%s: used %v, %v", what, got, err)
		}
		if c := f.Country(netip.MustParseAddr("8.8.8.8")); c != want {
			t.Errorf("%s: %q, want %q", what, c, want)
		}
	}
	expect("nothing changed", "US", false, false)
	write(t, path, second)
	expect("replaced", "DE", true, false)
	write(t, path, []byte("rubbish"))
	expect("rubbish", "DE", false, true)
	expect("rubbish still", "DE", false, true)
	write(t, path, first)
	expect("good again", "US", true, false)
	if err := os.Truncate(path, 100); err != nil { // in place, under the open database
		t.Fatal(err)
	}
	expect("truncated in place", "US", false, true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("gone", "US", false, true)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	expect("a directory", "US", false, true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, second)
	expect("back", "DE", true, false)
	close(stop)
	readers.Wait()
}

// TestOpenLater: a file that is bad when it is opened proposes nothing, and is used when
// it is good.
func TestOpenLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	f, err := maxmind.Open(path)
	if err == nil || f.Country(netip.MustParseAddr("8.8.8.8")) != "" || !f.Built().IsZero() || f.Kind() != "" || f.Err() == nil {
		t.Errorf("a missing file: %v", err)
	}
	write(t, path, good(t))
	if used, err := f.Refresh(); !used || err != nil || f.Country(netip.MustParseAddr("8.8.8.8")) != "US" {
		t.Errorf("used %v, %v", used, err)
	}
}

// TestFollow: changes are noticed and reported once each.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	write(t, path, good(t))
	f, err := maxmind.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reports, done := make(chan error, 10), make(chan struct{})
	go func() {
		defer close(done)
		f.Follow(ctx, time.Millisecond, func(err error) { reports <- err })
	}()
	write(t, path, []byte("rubbish"))
	if err := <-reports; err == nil {
		t.Error("rubbish is taken")
	}
	write(t, path, make1(t, mmdbwriter.Options{}, map[string]mmdbtype.DataType{"8.0.0.0/8": city("DE")}))
	if err := <-reports; err != nil {
		t.Error(err)
	}
	if c := f.Country(netip.MustParseAddr("8.8.8.8")); c != "DE" {
		t.Errorf("%q", c)
	}
	cancel()
	<-done
	if len(reports) != 0 {
		t.Errorf("reported once more: %v", <-reports)
	}
}

// FuzzRead: whatever a file holds, it is refused, or every lookup answers with a code or
// nothing.
func FuzzRead(f *testing.F) {
	for _, data := range [][]byte{
		good(f), make1(f, mmdbwriter.Options{IPVersion: 4, RecordSize: 24}, map[string]mmdbtype.DataType{"8.0.0.0/8": city("US")}),
		raw{data: sa(), nodes: 96, version: 6}.bytes(), raw{data: fan(2, 4), nodes: 24, version: 4}.bytes(), raw{data: fan(8, 20), nodes: 24, version: 4}.bytes(),
	} {
		f.Add(data)
	}
	var addrs []netip.Addr
	for _, s := range []string{"8.8.8.8", "31.1.1.1", "0.0.0.0", "255.255.255.255", "::", "2a00:1000::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		country, err := maxmind.Read(data)
		if err != nil {
			return
		}
		for _, a := range addrs {
			if c := country(a); c != "" && (len(c) != 2 || strings.ToUpper(c) != c) {
				t.Errorf("%s is in %q", a, c)
			}
		}
	})
}

func BenchmarkCountry(b *testing.B) {
	f, err := open(b, good(b))
	if err != nil {
		b.Fatal(err)
	}
	a := netip.MustParseAddr("8.8.8.8")
	for b.Loop() {
		if f.Country(a) != "US" {
			b.Fatal("not the US")
		}
	}
}

package maxmind

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Bounds of a database. The largest in use (cities of the world, with names in eight
// languages) has 60 MB, 5 million nodes and 300,000 records of 100 values.
const (
	maxSize     = 512 << 20 // of a file
	maxMetadata = 128 << 10 // as the format has it
	maxRecords  = 4 << 20
	maxValues   = 4096 // of one record, those behind pointers included
)

var marker = []byte("\xab\xcd\xefMaxMind.com")

// separator is how many zero bytes stand between tree and data.
const separator = 16

// layout is where things are in a file.
type layout struct {
	nodes, bits, version int
	kind                 string // what the database calls itself
	built                time.Time
	tree, data           []byte
}

// parse reads the metadata and takes the file apart.
func parse(file []byte) (layout, error) {
	i := bytes.LastIndex(file, marker)
	if i < 0 {
		return layout{}, errors.New("it is no MaxMind database, or is cut off")
	}
	meta := file[i+len(marker):]
	if len(meta) > maxMetadata {
		return layout{}, errors.New("its metadata is too long")
	}
	var format, nodes, bits, version, kind, epoch scalar
	w := walker{section: meta, budget: maxValues}
	end, err := w.value(0, 0, &want{in: map[string]*want{
		"binary_format_major_version": {scalar: &format}, "node_count": {scalar: &nodes}, "record_size": {scalar: &bits},
		"ip_version": {scalar: &version}, "database_type": {scalar: &kind}, "build_epoch": {scalar: &epoch},
	}})
	if err != nil {
		return layout{}, fmt.Errorf("metadata: %w", err)
	}
	if end != len(meta) {
		return layout{}, errors.New("metadata: something stands behind it")
	}
	switch {
	case format.n != 2:
		return layout{}, fmt.Errorf("metadata: format %d, want 2", format.n)
	case bits.n != 24 && bits.n != 28 && bits.n != 32:
		return layout{}, fmt.Errorf("metadata: records of %d bits, want 24, 28 or 32", bits.n)
	case version.n != 4 && version.n != 6:
		return layout{}, fmt.Errorf("metadata: IP version %d, want 4 or 6", version.n)
	case nodes.n == 0 || nodes.n > uint64(i): // a node has 6 bytes and more
		return layout{}, fmt.Errorf("metadata: %d nodes do not fit into the file", nodes.n)
	}
	l := layout{nodes: int(nodes.n), bits: int(bits.n), version: int(version.n), kind: string(kind.text), built: time.Unix(int64(min(epoch.n, 1<<40)), 0)}
	size := l.nodes * l.bits / 4
	if size+separator > i {
		return layout{}, fmt.Errorf("metadata: %d nodes do not fit into the file", nodes.n)
	}
	l.tree, l.data = file[:size], file[size+separator:i]
	if !bytes.Equal(file[size:size+separator], make([]byte, separator)) {
		return layout{}, errors.New("nothing separates tree and data: the number of nodes is wrong")
	}
	return l, nil
}

// child returns one of the two records of a node.
func (l *layout) child(node int, right bool) int {
	b := l.tree[node*l.bits/4:]
	switch {
	case l.bits == 24 && !right:
		return int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	case l.bits == 24:
		return int(b[3])<<16 | int(b[4])<<8 | int(b[5])
	case l.bits == 28 && !right:
		return int(b[3]>>4)<<24 | int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	case l.bits == 28:
		return int(b[3]&15)<<24 | int(b[4])<<16 | int(b[5])<<8 | int(b[6])
	case !right:
		return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	}
	return int(b[4])<<24 | int(b[5])<<16 | int(b[6])<<8 | int(b[7])
}

// code is a country, two capitals; the zero value is none.
type code [2]byte

// verifier goes through everything that a lookup can reach, each thing once.
type verifier struct {
	layout
	heights []uint8       // of nodes, 0: not yet seen
	records map[uint]code // by offset in data
	budget  int           // of values, of all records together
}

// A node that is being looked at, and one that is too high.
const open = 255

// verify goes through the whole file and returns the countries of its records. Time
// and memory are linear in the size of the file, whatever stands in it.
func verify(file []byte) (layout, map[uint]code, error) {
	l, err := parse(file)
	if err != nil {
		return layout{}, nil, err
	}
	v := verifier{layout: l, heights: make([]uint8, l.nodes), records: map[uint]code{}, budget: 4*len(file) + maxValues}
	height, err := v.node(0, 0)
	if err != nil {
		return layout{}, nil, err
	}
	if l.version == 6 && height <= 32 {
		return layout{}, nil, errors.New("its tree is one of IPv4 addresses, and its metadata says IPv6")
	}
	for _, c := range v.records {
		if c != (code{}) {
			return l, v.records, nil
		}
	}
	return layout{}, nil, errors.New("none of its records names a country (country.iso_code or country_code): it is another kind of database")
}

// node checks what lies below a node and returns how many bits may follow there. It
// never goes deeper than an address has bits, so that a cycle ends.
func (v *verifier) node(n, depth int) (int, error) {
	longest := 128
	if v.version == 4 {
		longest = 32
	}
	switch h := v.heights[n]; {
	case h == open:
		return 0, errors.New("its tree leads back to itself")
	case h > 0:
		if depth+int(h) > longest {
			return 0, fmt.Errorf("its tree is deeper than an address of IPv%d", v.version)
		}
		return int(h), nil
	case depth >= longest:
		return 0, fmt.Errorf("its tree is deeper than an address of IPv%d", v.version)
	}
	v.heights[n] = open
	height := 0
	for _, right := range []bool{false, true} {
		to := v.child(n, right)
		switch {
		case to < v.nodes:
			h, err := v.node(to, depth+1)
			if err != nil {
				return 0, err
			}
			height = max(height, h)
		case to > v.nodes:
			if err := v.record(to - v.nodes - separator); err != nil {
				return 0, err
			}
		}
	}
	v.heights[n] = uint8(height + 1)
	return height + 1, nil
}

// record checks a record and notes its country.
func (v *verifier) record(at int) error {
	if at < 0 || at >= len(v.data) {
		return errors.New("its tree leads out of the data")
	}
	if _, seen := v.records[uint(at)]; seen {
		return nil
	}
	if len(v.records) == maxRecords {
		return fmt.Errorf("it holds more than %d records", maxRecords)
	}
	var nested, flat scalar
	w := walker{section: v.data, budget: min(maxValues, v.budget)}
	before := w.budget
	_, err := w.value(at, 0, &want{in: map[string]*want{
		"country": {in: map[string]*want{"iso_code": {scalar: &nested}}}, "country_code": {scalar: &flat},
	}})
	if err != nil {
		return fmt.Errorf("record at %d: %w", at, err)
	}
	v.budget -= before - w.budget
	c := code{}
	for _, s := range []scalar{nested, flat} {
		if !s.found || s.text != nil && len(s.text) == 0 {
			continue
		}
		if len(s.text) != 2 || !capital(s.text[0]) || !capital(s.text[1]) || c != (code{}) && c != code(s.text) {
			return fmt.Errorf("record at %d: its country is not one code of two capitals", at)
		}
		c = code(s.text)
	}
	v.records[uint(at)] = c
	return nil
}

func capital(b byte) bool { return b >= 'A' && b <= 'Z' }

package maxmind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The kinds of values of the MaxMind DB format, version 2.0.
const (
	kindPointer = 1
	kindText    = 2
	kindDouble  = 3
	kindBytes   = 4
	kindUint16  = 5
	kindUint32  = 6
	kindMap     = 7
	kindInt32   = 8
	kindUint64  = 9
	kindUint128 = 10
	kindArray   = 11
	kindBool    = 14
	kindFloat   = 15
)

// widest is how many bytes a number of a kind may have.
var widest = map[int]int{kindUint16: 2, kindUint32: 4, kindInt32: 4, kindUint64: 8, kindUint128: 16}

// maxDepth bounds how deeply values may be nested; databases in use have four levels.
const maxDepth = 16

var errShort = errors.New("a value reaches beyond the end")

// want is what a walk looks for: a scalar, or members of a map.
type want struct {
	scalar *scalar
	in     map[string]*want
}

// scalar is a text or an unsigned number that was found.
type scalar struct {
	found bool
	text  []byte
	n     uint64
}

// walker goes through values of a section, every one that can be reached, and checks
// them against the format. It follows pointers as a reader does, so that what a reader
// will have to do is bounded by budget: nested pointers can make a file of 451 bytes
// into more values than there is time for.
type walker struct {
	section []byte
	budget  int // values that may yet be looked at
}

// value goes through one value and returns where the next one begins.
func (w *walker) value(at, depth int, look *want) (next int, err error) {
	if w.budget--; w.budget < 0 {
		return 0, errors.New("a record holds too many values")
	}
	if depth > maxDepth {
		return 0, errors.New("values are nested too deeply")
	}
	kind, size, at, err := w.control(at)
	if err != nil {
		return 0, err
	}
	if kind == kindPointer {
		if kind, _, _, err := w.control(size); err != nil {
			return 0, err
		} else if kind == kindPointer {
			return 0, errors.New("a pointer leads to a pointer")
		}
		_, err := w.value(size, depth+1, look)
		return at, err
	}
	if look != nil && (look.scalar != nil) == (kind == kindMap) {
		return 0, errors.New("a value is of another kind than it must be")
	}
	switch kind {
	case kindMap:
		return w.members(at, size, depth, look)
	case kindArray:
		for range size {
			if at, err = w.value(at, depth+1, nil); err != nil {
				return 0, err
			}
		}
		return at, nil
	}
	return w.leaf(kind, size, at, look)
}

// members goes through a map of n members.
func (w *walker) members(at, n, depth int, look *want) (int, error) {
	for range n {
		var key scalar
		at2, err := w.value(at, depth+1, &want{scalar: &key})
		if err != nil {
			return 0, err
		}
		if key.text == nil {
			return 0, errors.New("the name of a member is no text")
		}
		var inner *want
		if look != nil {
			inner = look.in[string(key.text)]
		}
		if inner != nil && inner.scalar != nil && inner.scalar.found {
			return 0, fmt.Errorf("member %q stands there twice", key.text)
		}
		if at, err = w.value(at2, depth+1, inner); err != nil {
			return 0, err
		}
	}
	return at, nil
}

// leaf goes through a value that holds no others.
func (w *walker) leaf(kind, size, at int, look *want) (int, error) {
	if kind == kindBool { // its size is its value
		if look != nil || size > 1 {
			return 0, errors.New("a value is of another kind than it must be")
		}
		return at, nil
	}
	if size > len(w.section)-at {
		return 0, errShort
	}
	data := w.section[at : at+size]
	most, number := widest[kind]
	switch {
	case number && size > most, kind == kindDouble && size != 8, kind == kindFloat && size != 4:
		return 0, errors.New("a number has the wrong length")
	case kind == kindText && !utf8.Valid(data):
		return 0, errors.New("a text is not UTF-8")
	case !number && kind != kindDouble && kind != kindFloat && kind != kindText && kind != kindBytes:
		return 0, fmt.Errorf("a value is of the unknown kind %d", kind)
	}
	if look == nil {
		return at + size, nil
	}
	switch {
	case kind == kindText:
		look.scalar.found, look.scalar.text = true, data[:size:size]
		if data == nil || size == 0 {
			look.scalar.text = []byte{}
		}
	case number && kind != kindInt32 && size <= 8:
		look.scalar.found = true
		var wide [8]byte
		copy(wide[8-size:], data)
		look.scalar.n = binary.BigEndian.Uint64(wide[:])
	default:
		return 0, errors.New("a value is of another kind than it must be")
	}
	return at + size, nil
}

// control reads what stands before a value: its kind and its size, which is a pointer's
// target, and where its bytes begin.
func (w *walker) control(at int) (kind, size, next int, err error) {
	take := func(n int) (v int) {
		if err != nil || at < 0 || n > len(w.section)-at {
			err = errShort
			return 0
		}
		for _, b := range w.section[at : at+n] {
			v = v<<8 | int(b)
		}
		at += n
		return v
	}
	ctrl := take(1)
	if kind = ctrl >> 5; kind == kindPointer {
		high := ctrl & 7
		switch ctrl >> 3 & 3 {
		case 0:
			size = high<<8 | take(1)
		case 1:
			size = (high<<16 | take(2)) + 2048
		case 2:
			size = (high<<24 | take(3)) + 526336
		default:
			size = take(4)
		}
		return kind, size, at, err
	}
	if kind == 0 {
		kind = take(1) + 7
	}
	switch size = ctrl & 31; size {
	case 29:
		size = 29 + take(1)
	case 30:
		size = 285 + take(2)
	case 31:
		size = 65821 + take(3)
	}
	return kind, size, at, err
}

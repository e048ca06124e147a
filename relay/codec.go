package relay

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"

	"github.com/taskfeed/taskfeed"
)

// Every message begins with two letters, the version of its format and its kind. Both
// versions in use must understand each other while servers are replaced one by one: a
// reader reads its own version and the one before.
const (
	version       = 1
	oldestVersion = 1
)

type kind byte

const (
	kindBatch kind = 1 + iota
	kindBeacon
	kindQuestion
	kindAnswer
	kindInquiry
	kindReply

	// kindProbe is only sent to see whether it may be: nobody acts on it.
	kindProbe kind = 15
)

// maxBody bounds what the body of one message takes when it is not compressed. A
// publisher cuts messages far below; a forged one must not take the memory.
const maxBody = 16 << 20

var (
	errMalformed = errors.New("relay: the message is malformed")
	errForeign   = errors.New("relay: the message is of another program")
)

// VersionError means that a message has a format which this version does not read.
type VersionError struct{ Version int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("relay: the message has format %d and this version reads %d to %d: upgrade the cores first, then the gateways", e.Version, oldestVersion, version)
}

// encoder appends to a message.
type encoder struct{ b []byte }

func newEncoder(k kind) *encoder { return &encoder{[]byte{'T', 'F', version, byte(k)}} }

func (e *encoder) uint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) int(n int64) { e.b = binary.AppendVarint(e.b, n) }

func (e *encoder) id(c taskfeed.Cursor) { e.uint(uint64(c)) }

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) bytes(b []byte) {
	e.uint(uint64(len(b)))
	e.b = append(e.b, b...)
}

func (e *encoder) bool(yes bool) {
	if yes {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) lineage(l Lineage) {
	e.b = append(e.b, l.ID[:]...)
	e.uint(uint64(l.Epoch))
}

// body appends the rest of the message, compressed when that makes it smaller.
func (e *encoder) body(raw []byte, compress bool) []byte {
	if compress {
		packed := s2.Encode(nil, raw)
		if len(packed) < len(raw) {
			e.bool(true)
			return append(e.b, packed...)
		}
	}
	e.bool(false)
	return append(e.b, raw...)
}

// decoder reads a message. After a failure everything that it returns is zero.
type decoder struct {
	b      []byte
	failed bool
}

// open returns a decoder of what follows the header.
func open(message []byte) (kind, *decoder, error) {
	if len(message) < 4 || message[0] != 'T' || message[1] != 'F' {
		return 0, nil, errForeign
	}
	if v := int(message[2]); v < oldestVersion || v > version {
		return 0, nil, &VersionError{v}
	}
	return kind(message[3]), &decoder{b: message[4:]}, nil
}

func (d *decoder) fail() { d.b, d.failed = nil, true }

func (d *decoder) uint() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) int() int64 {
	n, size := binary.Varint(d.b)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[size:]
	return n
}

// upTo reads a number that is at most most.
func (d *decoder) upTo(most uint64) int64 {
	n := d.uint()
	if n > most {
		d.fail()
		return 0
	}
	return int64(n)
}

func (d *decoder) id() taskfeed.Cursor { return taskfeed.Cursor(d.upTo(taskfeed.MaxID)) }

// bytes returns part of the message, not a copy.
func (d *decoder) bytes() []byte { return d.take(d.upTo(uint64(len(d.b)))) }

func (d *decoder) text() string { return string(d.bytes()) }

func (d *decoder) take(n int64) []byte {
	if int64(len(d.b)) < n {
		d.fail()
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) bool() bool {
	b := d.take(1)
	if len(b) == 1 && b[0] > 1 {
		d.fail()
	}
	return len(b) == 1 && b[0] == 1
}

func (d *decoder) lineage() (l Lineage) {
	copy(l.ID[:], d.take(int64(len(l.ID))))
	l.Epoch = d.upTo(1<<63 - 1)
	return l
}

// body replaces what is left by the body, decompressed if need be.
func (d *decoder) body() {
	if !d.bool() || d.failed {
		return
	}
	if n, err := s2.DecodedLen(d.b); err != nil || n > maxBody {
		d.fail()
		return
	}
	raw, err := s2.Decode(nil, d.b)
	if err != nil {
		d.fail()
		return
	}
	d.b = raw
}

// end returns an error unless everything was read and was well formed.
func (d *decoder) end() error {
	if d.failed || len(d.b) > 0 {
		return errMalformed
	}
	return nil
}

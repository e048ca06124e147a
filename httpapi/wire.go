package httpapi

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// opcode says what a frame carries (RFC 6455 section 5.2).
type opcode byte

const (
	opContinuation opcode = 0x0
	opText         opcode = 0x1
	opBinary       opcode = 0x2
	opClose        opcode = 0x8
	opPing         opcode = 0x9
	opPong         opcode = 0xA
)

// control reports whether the opcode is that of a control frame.
func (op opcode) control() bool { return op >= opClose }

const (
	finBit         = 0x80
	rsvBits        = 0x70
	maskBit        = 0x80
	maxControl     = 125     // bytes that a control frame may carry
	maxHeader      = 10      // bytes of the longest header that a server sends
	readBufferSize = 256     // holds any header and any control frame
	readStep       = 4 << 10 // bytes of a message for which memory is taken at once
)

// closeError is a fault of the peer together with the close code that answers
// it. The reason is for the peer; it repeats nothing that the peer sent.
type closeError struct {
	code   int
	reason string
}

func (e *closeError) Error() string { return fmt.Sprintf("close %d: %s", e.code, e.reason) }

var errNotUTF8 = &closeError{closeInvalidData, reasonNotUTF8}

func violation(reason string) error { return &closeError{closeProtocolError, reason} }

// frameHeader is the header of a frame from the peer.
type frameHeader struct {
	op   opcode
	fin  bool
	size uint64
}

// frameReader reads the frames of a client and holds them to RFC 6455. Its
// errors are a *closeError, or those of the connection. It is for one goroutine.
type frameReader struct {
	br    *bufio.Reader
	mask  [4]byte
	open  bool // a message has begun and its last fragment has not come
	valid int  // bytes of that message that are known to be UTF-8
}

func newFrameReader(r io.Reader) frameReader {
	return frameReader{br: bufio.NewReaderSize(r, readBufferSize)}
}

// next reads the header of the next frame. The caller reads its payload.
func (r *frameReader) next() (frameHeader, error) {
	b, err := r.take(2)
	if err != nil {
		return frameHeader{}, err
	}
	h := frameHeader{op: opcode(b[0] & 0x0f), fin: b[0]&finBit != 0, size: uint64(b[1] &^ maskBit)}
	if err := r.check(h, b[0]&rsvBits, b[1]&maskBit != 0); err != nil {
		return frameHeader{}, err
	}
	if h.size, err = r.length(h.size); err != nil {
		return frameHeader{}, err
	}
	b, err = r.take(len(r.mask))
	copy(r.mask[:], b)
	if !h.op.control() {
		r.open = !h.fin
	}
	return h, err
}

// check refuses what a client must not send at this point.
func (r *frameReader) check(h frameHeader, rsv byte, masked bool) error {
	switch {
	case rsv != 0:
		return violation("a reserved bit is set and no extension was negotiated")
	case !masked:
		return violation("a client must mask its frames")
	case h.op.control() && h.size > maxControl:
		return violation("a control frame carries at most 125 bytes")
	case h.op.control() && !h.fin:
		return violation("a control frame must not be fragmented")
	}
	switch h.op {
	case opContinuation:
		if !r.open {
			return violation("there is no message to continue")
		}
	case opText, opBinary:
		if r.open {
			return violation("the message before this one has not ended")
		}
	case opClose, opPing, opPong:
	default:
		return violation("the opcode is reserved")
	}
	return nil
}

// length reads the longer forms of a payload's length, which must not be used
// where a shorter one would do.
func (r *frameReader) length(short uint64) (uint64, error) {
	switch short {
	case 126:
		b, err := r.take(2)
		if err != nil {
			return 0, err
		}
		if n := binary.BigEndian.Uint16(b); n >= 126 {
			return uint64(n), nil
		}
	case 127:
		b, err := r.take(8)
		if err != nil {
			return 0, err
		}
		if n := binary.BigEndian.Uint64(b); n > 0xffff {
			return n, nil
		}
	default:
		return short, nil
	}
	return 0, violation("a length must be written in its shortest form")
}

// take reads exactly n bytes, at most readBufferSize. They are valid until the
// next read.
func (r *frameReader) take(n int) ([]byte, error) {
	b, err := r.br.Peek(n)
	if err != nil {
		return nil, err
	}
	_, err = r.br.Discard(n)
	return b, err
}

// payload appends the payload of the frame that h began to the text message in
// dst, which holds the fragments before it, and returns the extended buffer. It
// refuses text that is not UTF-8 with the first byte that shows it, however the
// message was cut up. Memory grows with what arrives, not with what is announced.
func (r *frameReader) payload(dst []byte, h frameHeader) ([]byte, error) {
	if len(dst) == 0 {
		r.valid = 0
	}
	masked := 0
	for left := int(h.size); left > 0; {
		at := len(dst)
		dst = slices.Grow(dst, min(left, readStep))
		n, err := r.br.Read(dst[at : at+min(left, readStep)])
		if err != nil {
			return nil, err
		}
		dst = dst[:at+n]
		for i := range dst[at:] {
			dst[at+i] ^= r.mask[masked&3]
			masked++
		}
		if left -= n; !r.text(dst, false) {
			return nil, errNotUTF8
		}
	}
	if !r.text(dst, h.fin) {
		return nil, errNotUTF8
	}
	return dst, nil
}

// text reports whether a message may be UTF-8 as far as it has come. A code point
// that it ends in must be complete when the message is whole.
func (r *frameReader) text(message []byte, whole bool) bool {
	end := len(message)
	for i := max(r.valid, end-utf8.UTFMax+1); i < end && !whole; i++ {
		if utf8.RuneStart(message[i]) && !utf8.FullRune(message[i:]) {
			end = i
		}
	}
	ok := utf8.Valid(message[r.valid:end])
	r.valid = end
	return ok
}

// control reads the payload of a control frame. It is valid until the next read.
func (r *frameReader) control(h frameHeader) ([]byte, error) {
	payload, err := r.take(int(h.size))
	for i := range payload {
		payload[i] ^= r.mask[i&3]
	}
	return payload, err
}

// parseClose reads the payload of a close frame (RFC 6455 section 7.4). It
// returns closeNoStatus for an empty one.
func parseClose(payload []byte) (int, error) {
	if len(payload) == 0 {
		return closeNoStatus, nil
	}
	if len(payload) == 1 {
		return 0, violation("a close frame carries no payload or a code of two bytes")
	}
	code := int(binary.BigEndian.Uint16(payload))
	if !sendable(code) {
		return 0, violation("this close code must not be sent")
	}
	if !utf8.Valid(payload[2:]) {
		return 0, violation("the reason of a close frame must be UTF-8")
	}
	return code, nil
}

// sendable reports whether a close code may stand in a close frame.
func sendable(code int) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	}
	return false
}

// appendHeader appends the header of a frame from the server: final, unmasked.
func appendHeader(dst []byte, op opcode, size int) []byte {
	dst = append(dst, finBit|byte(op))
	switch {
	case size <= maxControl:
		return append(dst, byte(size))
	case size <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(size))
}

// appendClose appends a close frame; closeNoStatus makes an empty one.
func appendClose(dst []byte, code int, reason string) []byte {
	if code == closeNoStatus {
		return appendHeader(dst, opClose, 0)
	}
	dst = appendHeader(dst, opClose, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}

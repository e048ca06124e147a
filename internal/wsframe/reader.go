package wsframe

import (
	"bufio"
	"encoding/binary"
	"io"
	"slices"
	"unicode/utf8"
)

// Sender is the side of a connection whose frames a Reader reads.
type Sender byte

// Clients mask all of their frames, servers none (RFC 6455 section 5.1).
const (
	FromClient Sender = iota
	FromServer
)

const (
	readBufferSize = 128     // holds any header and any control frame
	readStep       = 4 << 10 // bytes of a message for which memory is taken at once
)

// Reader reads the frames of one peer and holds them to RFC 6455. Its errors are a
// *CloseError, or those of the connection. It is for one goroutine.
type Reader struct {
	br   *bufio.Reader
	from Sender
	// open is true from the first fragment of a message to its last.
	open  bool
	valid int // bytes of that message that are known to be UTF-8
}

// NewReader returns a reader of the frames of one side. It uses r itself where that
// is a bufio.Reader of at least its own buffer's size.
func NewReader(r io.Reader, from Sender) Reader {
	return Reader{br: bufio.NewReaderSize(r, readBufferSize), from: from}
}

// Next reads the header of the next frame. The caller then reads the payload, with
// Control or Payload.
func (r *Reader) Next() (Header, error) {
	b, err := r.take(2)
	if err != nil {
		return Header{}, err
	}
	h := Header{
		Fin:    b[0]&finBit != 0,
		RSV:    b[0] & rsvBits >> 4,
		Op:     Opcode(b[0] & 0x0f),
		Masked: b[1]&maskBit != 0,
		Size:   uint64(b[1] &^ maskBit),
	}
	if err := r.check(h); err != nil {
		return Header{}, err
	}
	if h.Size, err = r.length(h.Size); err != nil {
		return Header{}, err
	}
	if h.Masked {
		b, err = r.take(len(h.Mask))
		copy(h.Mask[:], b)
	}
	if !h.Op.IsControl() {
		r.open = !h.Fin
	}
	return h, err
}

// check refuses what the peer must not send at this point.
func (r *Reader) check(h Header) error {
	switch {
	case h.RSV != 0:
		return violation("a reserved bit is set and no extension was negotiated")
	case !h.Masked && r.from == FromClient:
		return violation("a client must mask its frames")
	case h.Masked && r.from == FromServer:
		return violation("a server must not mask its frames")
	case h.Op.IsControl() && h.Size > MaxControl:
		return violation("a control frame carries at most 125 bytes")
	case h.Op.IsControl() && !h.Fin:
		return violation("a control frame must not be fragmented")
	}
	switch h.Op {
	case OpContinuation:
		if !r.open {
			return violation("there is no message to continue")
		}
	case OpText, OpBinary:
		if r.open {
			return violation("the message before this one has not ended")
		}
	case OpClose, OpPing, OpPong:
	default:
		return violation("the opcode is reserved")
	}
	return nil
}

// length reads the longer forms of a payload's length, which must not be used
// where a shorter one would do.
func (r *Reader) length(short uint64) (uint64, error) {
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
func (r *Reader) take(n int) ([]byte, error) {
	b, err := r.br.Peek(n)
	if err != nil {
		return nil, err
	}
	_, err = r.br.Discard(n)
	return b, err
}

var errNotUTF8 = &CloseError{CloseInvalidData, "a text message must be UTF-8"}

// Payload appends the payload of the frame that h began to the text message in
// dst, which holds the fragments before it, and returns the extended buffer. It
// refuses text that is not UTF-8 with the first byte that shows it, however the
// message was cut up. Memory grows with what arrives, not with what is announced.
func (r *Reader) Payload(dst []byte, h Header) ([]byte, error) {
	if len(dst) == 0 {
		r.valid = 0
	}
	masked := 0
	for left := int(h.Size); left > 0; {
		at := len(dst)
		dst = slices.Grow(dst, min(left, readStep))
		n, err := r.br.Read(dst[at : at+min(left, readStep)])
		if err != nil {
			return nil, err
		}
		dst = dst[:at+n]
		for i := range dst[at:] {
			dst[at+i] ^= h.Mask[masked&3]
			masked++
		}
		if left -= n; !r.validSoFar(dst, false) {
			return nil, errNotUTF8
		}
	}
	if !r.validSoFar(dst, h.Fin) {
		return nil, errNotUTF8
	}
	return dst, nil
}

// validSoFar reports whether a message may be UTF-8 as far as it has come. A code
// point at its end must be complete when the message is whole.
func (r *Reader) validSoFar(message []byte, whole bool) bool {
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

// Control reads the payload of a control frame. It is valid until the next read.
func (r *Reader) Control(h Header) ([]byte, error) {
	payload, err := r.take(int(h.Size))
	for i := range payload {
		payload[i] ^= h.Mask[i&3]
	}
	return payload, err
}

// ParseClose reads the payload of a close frame (RFC 6455 section 7.4). An empty
// one has the code CloseNoStatus.
func ParseClose(payload []byte) (code int, reason string, err error) {
	if len(payload) == 0 {
		return CloseNoStatus, "", nil
	}
	if len(payload) == 1 {
		return 0, "", violation("a close frame carries no payload or a code of two bytes")
	}
	code = int(binary.BigEndian.Uint16(payload))
	if !sendable(code) {
		return 0, "", violation("this close code must not be sent")
	}
	if !utf8.Valid(payload[2:]) {
		return 0, "", violation("the reason of a close frame must be UTF-8")
	}
	return code, string(payload[2:]), nil
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

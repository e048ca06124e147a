package crowd

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// Opcodes of RFC 6455.
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
)

// cutFrame returns the first frame of the bytes and what follows it. ok is false while
// it is not whole.
func cutFrame(b []byte) (opcode byte, payload, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, b, false
	}
	size, head := uint64(b[1]), 2
	switch {
	case size == 126 && len(b) >= 4:
		size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127 && len(b) >= 10:
		size, head = binary.BigEndian.Uint64(b[2:]), 10
	case size >= 126:
		return 0, nil, b, false
	}
	if uint64(len(b)-head) < size {
		return 0, nil, b, false
	}
	end := head + int(size)
	return b[0] & 0xf, b[head:end], b[end:], true
}

// pong returns the answer to a ping, masked with zeros.
func pong(payload []byte) []byte {
	return append([]byte{0x8A, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// numberAfter returns the number that follows a prefix of the payload.
func numberAfter(payload []byte, prefix string) (n int64, ok bool) {
	rest, ok := bytes.CutPrefix(payload, []byte(prefix))
	if !ok {
		return 0, false
	}
	end := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return n, err == nil
}

// Beginnings of the frames that a client knows.
const (
	beginsEvent = `{"id":`
	beginsLive  = `{"type":"feed_live","cursor":`
	beginsReset = `{"type":"feed_reset"`
)

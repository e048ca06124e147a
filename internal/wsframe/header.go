// Package wsframe reads and writes the wire frames of WebSocket (RFC 6455), for
// the server and for the clients of tests.
//
// A [Reader] holds its peer to the RFC: reserved bits, masking, fragmentation, the
// shortest form of a length, UTF-8. What it refuses comes with the close code that
// answers it. A [Header] encodes whatever its fields say, valid or not, so that
// tests can send what a server must refuse.
//
// The package knows no extensions and does no handshake. It sets no limit on the
// size of a message: the caller sees the size in the header and decides.
package wsframe

import (
	"encoding/binary"
	"fmt"
)

// Opcode says what a frame carries (RFC 6455 section 5.2).
type Opcode byte

// The opcodes of RFC 6455; all others are reserved.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// IsControl reports whether the opcode is that of a control frame.
func (op Opcode) IsControl() bool { return op >= OpClose }

const (
	// MaxControl is the most bytes that a control frame may carry.
	MaxControl = 125
	// MaxServerHeader is the size of the longest header that a server sends: clients
	// mask their frames, servers do not.
	MaxServerHeader = 10
)

const (
	finBit  = 0x80
	rsvBits = 0x70
	maskBit = 0x80
)

// Header is the header of a frame.
type Header struct {
	Fin    bool // the last fragment of its message
	RSV    byte // the three reserved bits as a number from 0 to 7
	Op     Opcode
	Masked bool
	Mask   [4]byte // zero unless Masked
	Size   uint64  // bytes of the payload
}

// Append appends the header as it stands on the wire.
func (h Header) Append(dst []byte) []byte {
	switch {
	case h.Size <= MaxControl:
		return h.AppendWithLength(dst, 0)
	case h.Size <= 0xffff:
		return h.AppendWithLength(dst, 2)
	}
	return h.AppendWithLength(dst, 8)
}

// AppendWithLength is Append with the size in 0, 2 or 8 bytes of its own, also where
// the RFC wants a shorter form.
func (h Header) AppendWithLength(dst []byte, lengthBytes int) []byte {
	first, second := h.RSV<<4|byte(h.Op), byte(0)
	if h.Fin {
		first |= finBit
	}
	if h.Masked {
		second = maskBit
	}
	switch lengthBytes {
	case 8:
		dst = binary.BigEndian.AppendUint64(append(dst, first, second|127), h.Size)
	case 2:
		dst = binary.BigEndian.AppendUint16(append(dst, first, second|126), uint16(h.Size))
	default:
		dst = append(dst, first, second|byte(h.Size))
	}
	if h.Masked {
		dst = append(dst, h.Mask[:]...)
	}
	return dst
}

// AppendHeader appends the header of a frame that a server sends whole.
func AppendHeader(dst []byte, op Opcode, size int) []byte {
	return Header{Fin: true, Op: op, Size: uint64(size)}.Append(dst)
}

// AppendClose appends a close frame of a server; with CloseNoStatus it is empty.
func AppendClose(dst []byte, code int, reason string) []byte {
	if code == CloseNoStatus {
		return AppendHeader(dst, OpClose, 0)
	}
	dst = AppendHeader(dst, OpClose, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}

// Close codes of RFC 6455 section 7.4.1 and of its registry.
const (
	CloseProtocolError = 1002
	CloseUnsupported   = 1003
	CloseNoStatus      = 1005 // never sent: the peer's close frame has no code
	CloseAbnormal      = 1006 // never sent: the connection ended without a close frame
	CloseInvalidData   = 1007
	CloseTooBig        = 1009
	CloseInternal      = 1011
	CloseRestart       = 1012
)

// CloseError is a fault of the peer and the close frame that answers it. The
// reason repeats nothing that the peer sent.
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string { return fmt.Sprintf("close %d: %s", e.Code, e.Reason) }

func violation(reason string) error { return &CloseError{CloseProtocolError, reason} }

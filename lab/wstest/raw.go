package wstest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Opcodes of RFC 6455 section 5.2.
const (
	OpContinuation byte = 0x0
	OpText         byte = 0x1
	OpBinary       byte = 0x2
	OpClose        byte = 0x8
	OpPing         byte = 0x9
	OpPong         byte = 0xA
)

// Frame is one frame, valid or not. The zero value of a field is what a client
// normally sends, but Fin.
type Frame struct {
	Fin      bool
	RSV      byte // the three reserved bits as a number from 0 to 7
	Op       byte
	Unmasked bool
	Payload  []byte
	// Announced, when it is not zero, is written as the length instead of the
	// payload's own.
	Announced uint64
	// LengthBytes forces the length into 0, 2 or 8 extra bytes; -1 is none.
	// Zero is the shortest form.
	LengthBytes int
}

// Text and the functions after it return whole, valid frames.
func Text(s string) Frame { return Frame{Fin: true, Op: OpText, Payload: []byte(s)} }

// Ping returns a ping frame.
func Ping(payload string) Frame { return Frame{Fin: true, Op: OpPing, Payload: []byte(payload)} }

// Close returns a close frame with a code and a reason, neither of them checked.
func Close(code int, reason string) Frame {
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	return Frame{Fin: true, Op: OpClose, Payload: append(payload, reason...)}
}

// mask is the key that all frames are masked with; RFC 6455 wants a fresh one
// for each, but no server can tell.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Bytes returns the frame as it stands on the wire.
func (f Frame) Bytes() []byte {
	first := f.RSV<<4 | f.Op
	if f.Fin {
		first |= 0x80
	}
	b := f.appendLength([]byte{first})
	if f.Unmasked {
		return append(b, f.Payload...)
	}
	b[1] |= 0x80
	b = append(b, mask[:]...)
	for i, c := range f.Payload {
		b = append(b, c^mask[i&3])
	}
	return b
}

func (f Frame) appendLength(b []byte) []byte {
	n := uint64(len(f.Payload))
	if f.Announced != 0 {
		n = f.Announced
	}
	extra := f.LengthBytes
	switch {
	case extra != 0:
	case n > 0xffff:
		extra = 8
	case n > 125:
		extra = 2
	}
	switch extra {
	case 8:
		return binary.BigEndian.AppendUint64(append(b, 127), n)
	case 2:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	}
	return append(b, byte(n))
}

// Raw is a client that sends what it is told to and answers nothing by itself.
type Raw struct {
	t testing.TB
	// Conn is the TCP connection, to be closed or shut down at will.
	Conn *net.TCPConn
	br   *bufio.Reader

	closed bool // the server has sent a close frame

	// Response is the answer to the handshake.
	Response *http.Response
}

// DialRaw connects to a ws:// or http:// URL with these further headers. The
// test fails when the handshake is refused. The connection is closed when the
// test ends.
func DialRaw(t testing.TB, rawURL string, header http.Header) *Raw {
	t.Helper()
	r := Handshake(t, rawURL, HandshakeHeader(header))
	if r.Response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(r.Response.Body) // only for the message
		t.Fatalf("handshake: %s %s, want 101", r.Response.Status, body)
	}
	return r
}

// HandshakeHeader returns the headers of a good handshake, with those of extra
// in their place or beside them.
func HandshakeHeader(extra http.Header) http.Header {
	header := http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for name, values := range extra {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return header
}

// Handshake sends a GET with just these headers and returns the answer,
// whatever it is.
func Handshake(t testing.TB, rawURL string, header http.Header) *Raw {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatalf("parse url: %v", err)
	}
	r := Connect(t, u.Host)
	request := "GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\n"
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			request += name + ": " + value + "\r\n"
		}
	}
	r.SendBytes([]byte(request + "\r\n"))
	r.ReadResponse()
	return r
}

// Connect opens a TCP connection and sends nothing.
func Connect(t testing.TB, addr string) *Raw {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the test may have closed it
	return &Raw{t: t, Conn: conn.(*net.TCPConn), br: bufio.NewReader(conn)}
}

// ReadResponse reads an HTTP answer into Response.
func (r *Raw) ReadResponse() {
	r.t.Helper()
	r.bound()
	var err error
	if r.Response, err = http.ReadResponse(r.br, nil); err != nil {
		r.t.Fatalf("read response: %v", err)
	}
}

// bound lets the next read or write wait no longer than Patience.
func (r *Raw) bound() {
	r.t.Helper()
	if err := r.Conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		r.t.Fatalf("set deadline: %v", err)
	}
}

// SendBytes sends bytes as they are. The test fails when they cannot be sent.
func (r *Raw) SendBytes(b []byte) {
	r.t.Helper()
	if err := r.TryBytes(b); err != nil {
		r.t.Fatalf("send: %v", err)
	}
}

// TryBytes sends bytes as they are to a peer that may have closed already.
func (r *Raw) TryBytes(b []byte) error {
	r.t.Helper()
	r.bound()
	_, err := r.Conn.Write(b)
	return err
}

// Send sends frames in one write.
func (r *Raw) Send(frames ...Frame) {
	r.t.Helper()
	var b []byte
	for _, f := range frames {
		b = append(b, f.Bytes()...)
	}
	r.SendBytes(b)
}

// SendChopped sends frames in writes of n bytes each.
func (r *Raw) SendChopped(n int, frames ...Frame) {
	r.t.Helper()
	var b []byte
	for _, f := range frames {
		b = append(b, f.Bytes()...)
	}
	for piece := range slices.Chunk(b, n) {
		r.SendBytes(piece)
	}
}

// Read returns the next frame. The test fails when there is none, or when it is
// masked or follows a close frame, which a server must not do.
func (r *Raw) Read() Frame {
	r.t.Helper()
	f, err := r.read()
	if err != nil {
		r.t.Fatalf("read frame: %v", err)
	}
	return f
}

func (r *Raw) read() (Frame, error) {
	r.bound()
	var head [2]byte
	if _, err := io.ReadFull(r.br, head[:]); err != nil {
		return Frame{}, err
	}
	if head[1]&0x80 != 0 {
		return Frame{}, errors.New("the server masked a frame")
	}
	if r.closed {
		return Frame{}, errors.New("the server sent a frame after its close frame")
	}
	r.closed = head[0]&0x0f == OpClose && r.Response != nil // else it may be an HTTP answer
	n := uint64(head[1])
	if n > 125 {
		long := make([]byte, 8)
		part := long
		if n == 126 {
			part = long[6:]
		}
		if _, err := io.ReadFull(r.br, part); err != nil {
			return Frame{}, err
		}
		n = binary.BigEndian.Uint64(long)
	}
	f := Frame{Fin: head[0]&0x80 != 0, RSV: head[0] >> 4 & 7, Op: head[0] & 0x0f, Unmasked: true, Payload: make([]byte, n)}
	_, err := io.ReadFull(r.br, f.Payload)
	return f, err
}

// ExpectClose skips frames up to a close frame, which must have this code; 1005
// stands for none. It returns the reason.
func (r *Raw) ExpectClose(code int) string {
	r.t.Helper()
	for {
		f, err := r.read()
		if err != nil {
			r.t.Fatalf("%v instead of a close frame with code %d", err, code)
		}
		if f.Op != OpClose {
			continue
		}
		got, reason := 1005, ""
		if len(f.Payload) >= 2 {
			got, reason = int(binary.BigEndian.Uint16(f.Payload)), string(f.Payload[2:])
		}
		if got != code {
			r.t.Fatalf("close code %d (%s), want %d", got, reason, code)
		}
		return reason
	}
}

// ExpectEnd skips frames until the server has ended the connection, in order or
// by a reset. Without that the test fails after Patience.
func (r *Raw) ExpectEnd() {
	r.t.Helper()
	for {
		_, err := r.read()
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.t.Fatal("the server has not ended the connection")
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
			return
		default:
			r.t.Fatalf("read: %v, want the end of the connection", err)
		}
	}
}

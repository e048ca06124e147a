package wstest

import (
	"bufio"
	"cmp"
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

	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// Frame is one wire frame, valid or not. Except for Fin, the zero value of a field is
// what a client normally sends.
type Frame struct {
	Fin      bool
	RSV      byte // the three reserved bits as a number from 0 to 7
	Op       wsframe.Opcode
	Unmasked bool
	Payload  []byte
	// Announced, when it is not zero, is written as the length in place of the
	// payload's length.
	Announced uint64
	// LengthBytes forces the length into 2 or 8 extra bytes; -1 means 0 bytes.
	// Zero is the shortest form.
	LengthBytes int
}

// Text and the functions after it return complete, valid frames.
func Text(s string) Frame { return Frame{Fin: true, Op: wsframe.OpText, Payload: []byte(s)} }

// Ping returns a ping frame.
func Ping(payload string) Frame {
	return Frame{Fin: true, Op: wsframe.OpPing, Payload: []byte(payload)}
}

// Close returns a close frame with a code and a reason, which it does not check.
func Close(code int, reason string) Frame {
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	return Frame{Fin: true, Op: wsframe.OpClose, Payload: append(payload, reason...)}
}

// mask is the masking key of all frames. RFC 6455 requires a new one for each frame, but
// a server cannot check that.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Bytes returns the encoded frame.
func (f Frame) Bytes() []byte {
	h := wsframe.Header{Fin: f.Fin, RSV: f.RSV, Op: f.Op, Masked: !f.Unmasked, Size: cmp.Or(f.Announced, uint64(len(f.Payload)))}
	if h.Masked {
		h.Mask = mask
	}
	var b []byte
	if f.LengthBytes == 0 {
		b = h.Append(nil)
	} else {
		b = h.AppendWithLength(nil, f.LengthBytes)
	}
	for i, c := range f.Payload {
		b = append(b, c^h.Mask[i&3])
	}
	return b
}

// Raw is a client that sends only what a test tells it to, and answers nothing by
// itself.
type Raw struct {
	t testing.TB
	// Conn is the TCP connection, which a test may close or shut down.
	Conn *net.TCPConn
	br   *bufio.Reader

	frames wsframe.Reader
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

// HandshakeHeader returns the headers of a valid handshake, replaced or extended by
// those of extra.
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

// Handshake sends a GET with exactly these headers and reads the answer, whatever it is.
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
	br := bufio.NewReader(conn)
	return &Raw{t: t, Conn: conn.(*net.TCPConn), br: br, frames: wsframe.NewReader(br, wsframe.FromServer)}
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

// Read returns the next frame. The test fails when there is none, or when it is one
// that a server must not send: it breaks RFC 6455, or follows a close frame.
func (r *Raw) Read() Frame {
	r.t.Helper()
	f, err := r.read()
	if err != nil {
		r.t.Fatalf("read frame: %v", err)
	}
	return f
}

func (r *Raw) read() (Frame, error) {
	r.t.Helper()
	r.bound()
	h, err := r.frames.Next()
	if err != nil {
		return Frame{}, err
	}
	if r.closed {
		return Frame{}, errors.New("the server sent a frame after its close frame")
	}
	r.closed = h.Op == wsframe.OpClose
	f := Frame{Fin: h.Fin, Op: h.Op, Unmasked: true}
	if h.Op.IsControl() {
		payload, err := r.frames.Control(h)
		f.Payload = slices.Clone(payload)
		return f, err
	}
	f.Payload, err = r.frames.Payload(nil, h)
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
		if f.Op != wsframe.OpClose {
			continue
		}
		got, reason, err := wsframe.ParseClose(f.Payload)
		if err != nil || got != code {
			r.t.Fatalf("close code %d (%s, %v), want %d", got, reason, err, code)
		}
		return reason
	}
}

// ExpectEnd skips frames, or the rest of an HTTP answer, until the server has ended
// the connection, in order or by a reset. Without that the test fails after Patience.
func (r *Raw) ExpectEnd() {
	r.t.Helper()
	for {
		err := r.skip()
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

// skip reads a frame, or all that comes where no handshake has succeeded.
func (r *Raw) skip() error {
	r.t.Helper()
	if r.Response != nil && r.Response.StatusCode == http.StatusSwitchingProtocols {
		_, err := r.read()
		return err
	}
	r.bound()
	_, err := io.Copy(io.Discard, r.br)
	return cmp.Or(err, io.EOF)
}

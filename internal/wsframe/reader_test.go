package wsframe

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// maxMessage bounds the messages that the tests read.
const maxMessage = 64 << 10

// masked returns a frame as a client sends it.
func masked(fin bool, op Opcode, payload []byte) []byte {
	h := Header{Fin: fin, Op: op, Masked: true, Mask: [4]byte{0x37, 0xfa, 0x21, 0x3d}, Size: uint64(len(payload))}
	b := h.Append(nil)
	for i, c := range payload {
		b = append(b, c^h.Mask[i&3])
	}
	return b
}

// TestReaderReadsEveryFormOfLength reads back frames with a length of each form, as
// either side sends them.
func TestReaderReadsEveryFormOfLength(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 127, readBufferSize, 65535, 65536, 100_000} {
		payload := bytes.Repeat([]byte("0123456789abc"), size/13+1)[:size]
		for from, raw := range map[Sender][]byte{
			FromClient: masked(true, OpText, payload),
			FromServer: append(AppendHeader(nil, OpText, size), payload...),
		} {
			r := NewReader(io.MultiReader(bytes.NewReader(raw[:len(raw)/2]), bytes.NewReader(raw[len(raw)/2:])), from)
			h, err := r.Next()
			if err != nil || !h.Fin || h.Op != OpText || h.Size != uint64(size) || h.Masked != (from == FromClient) {
				t.Fatalf("size %d from %d: header %+v, %v", size, from, h, err)
			}
			if got, err := r.Payload(nil, h); err != nil || !bytes.Equal(got, payload) {
				t.Errorf("size %d from %d: payload of %d bytes, %v; want what was written", size, from, len(got), err)
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("size %d from %d: then %v, want EOF", size, from, err)
			}
		}
	}
}

func TestReaderExpectsMasksOfClientsAlone(t *testing.T) {
	t.Parallel()
	for from, raw := range map[Sender][]byte{FromServer: masked(true, OpText, nil), FromClient: AppendHeader(nil, OpText, 0)} {
		r := NewReader(bytes.NewReader(raw), from)
		if _, err := r.Next(); codeOf(err) != CloseProtocolError {
			t.Errorf("from %d: got %v, want a protocol error", from, err)
		}
	}
}

func TestCloseFrames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code   int
		reason string
	}{{1000, ""}, {4001, "the token has expired"}, {CloseNoStatus, ""}} {
		r := NewReader(bytes.NewReader(AppendClose(nil, tc.code, tc.reason)), FromServer)
		h, err := r.Next()
		if err != nil || h.Op != OpClose {
			t.Fatalf("%d: header %+v, %v; want a close frame", tc.code, h, err)
		}
		payload, err := r.Control(h)
		if err != nil {
			t.Fatalf("%d: %v", tc.code, err)
		}
		if code, reason, err := ParseClose(payload); code != tc.code || reason != tc.reason || err != nil {
			t.Errorf("got %d %q, %v; want %d %q", code, reason, err, tc.code, tc.reason)
		}
	}
}

// inbound is what a reader makes of the bytes that a client sends.
type inbound struct {
	messages []string
	controls []string
	err      error
}

// readInbound reads as the server does, up to the first fault or the end.
func readInbound(from io.Reader) (in inbound) {
	r := NewReader(from, FromClient)
	var message []byte
	for {
		h, err := r.Next()
		if err != nil {
			return inbound{in.messages, in.controls, err}
		}
		if h.Op.IsControl() {
			payload, err := r.Control(h)
			if err == nil && h.Op == OpClose {
				_, _, err = ParseClose(payload)
			}
			if err != nil {
				return inbound{in.messages, in.controls, err}
			}
			in.controls = append(in.controls, string(payload))
			continue
		}
		if h.Size > uint64(maxMessage-len(message)) {
			return inbound{in.messages, in.controls, &CloseError{CloseTooBig, "too big"}}
		}
		if message, err = r.Payload(message, h); err != nil {
			return inbound{in.messages, in.controls, err}
		}
		if h.Fin {
			in.messages = append(in.messages, string(message))
			message = nil
		}
	}
}

// FuzzInboundFrames reads any bytes, all at once and one by one: both have the same
// result, nothing panics, messages are text, and a close frame can answer a fault.
func FuzzInboundFrames(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		got, byBytes := readInbound(bytes.NewReader(b)), readInbound(iotest.OneByteReader(bytes.NewReader(b)))
		if !slices.Equal(got.messages, byBytes.messages) || !slices.Equal(got.controls, byBytes.controls) || codeOf(got.err) != codeOf(byBytes.err) {
			t.Errorf("read at once: got %+v, byte by byte: %+v; want no difference", got, byBytes)
		}
		for _, m := range got.messages {
			if !utf8.ValidString(m) || len(m) > maxMessage {
				t.Errorf("message of %d bytes %q, want text of 64 KiB at most", len(m), m)
			}
		}
		for _, payload := range got.controls {
			if len(payload) > MaxControl {
				t.Errorf("control frame of %d bytes, want at most %d", len(payload), MaxControl)
			}
		}
		if e, ok := errors.AsType[*CloseError](got.err); ok && (!sendable(e.Code) || len(e.Reason) > MaxControl-2) {
			t.Errorf("error %v cannot be sent in a close frame", e)
		} else if !ok && !errors.Is(got.err, io.EOF) && !errors.Is(got.err, io.ErrUnexpectedEOF) {
			t.Errorf("error %v, want a close error or the end", got.err)
		}
	})
}

// codeOf is the close code that answers an error of a reader, 0 when the bytes
// just end.
func codeOf(err error) int {
	if e, ok := errors.AsType[*CloseError](err); ok {
		return e.Code
	}
	return 0
}

// FuzzText proves that text is judged as it arrives just as it is as a whole,
// wherever it is cut, and is refused with the first byte that is wrong.
func FuzzText(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string, cut int) {
		cut = min(max(cut, 0), len(text))
		frames := append(masked(false, OpText, []byte(text[:cut])), masked(true, OpContinuation, []byte(text[cut:]))...)
		if got, want := len(readInbound(bytes.NewReader(frames)).messages) == 1, utf8.ValidString(text); len(text) <= maxMessage && got != want {
			t.Errorf("%q cut at %d: accepted %v, want %v", text, cut, got, want)
		}
		r := Reader{}
		for i := range len(text) {
			may := false // whether some valid text begins with this
			for _, end := range []string{"", "\x80", "\xa0", "\x90\x80", "\x80\x80", "\xa0\x80", "\x90\x80\x80", "\x80\x80\x80"} {
				may = may || utf8.ValidString(text[:i+1]+end)
			}
			if got := r.validSoFar([]byte(text[:i+1]), false); got != may {
				t.Fatalf("%q: got %v, want %v", text[:i+1], got, may)
			} else if !got {
				return
			}
		}
	})
}

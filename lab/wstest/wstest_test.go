package wstest

import (
	"bytes"
	"testing"

	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestFrameBytes(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte{0}, 0x10000)
	for _, tc := range []struct {
		name  string
		frame Frame
		want  []byte // the beginning of it
	}{
		{"masked text, RFC 6455 section 5.7", Text("Hello"), []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}},
		{"unmasked ping, RFC 6455 section 5.7", Frame{Fin: true, Op: wsframe.OpPing, Unmasked: true, Payload: []byte("Hello")},
			[]byte{0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}},
		{"length of 2 bytes", Frame{Fin: true, Op: wsframe.OpBinary, Unmasked: true, Payload: long[:256]}, []byte{0x82, 0x7e, 0x01, 0x00, 0}},
		{"length of 8 bytes", Frame{Fin: true, Op: wsframe.OpBinary, Unmasked: true, Payload: long}, []byte{0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0, 0}},
		{"fragment", Frame{Op: wsframe.OpText, Unmasked: true, Payload: []byte("a")}, []byte{0x01, 0x01, 'a'}},
		{"reserved bits", Frame{Fin: true, RSV: 5, Op: wsframe.OpText, Unmasked: true}, []byte{0xd1, 0x00}},
		{"length that is a lie", Frame{Fin: true, Op: wsframe.OpText, Unmasked: true, Announced: 1 << 63, LengthBytes: 8},
			[]byte{0x81, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0}},
		{"length longer than need be", Frame{Fin: true, Op: wsframe.OpText, Unmasked: true, Payload: []byte("a"), LengthBytes: 2},
			[]byte{0x81, 0x7e, 0, 1, 'a'}},
		{"close with a code and a reason", Close(1000, "bye"), []byte{0x88, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x03 ^ 0x37, 0xe8 ^ 0xfa, 'b' ^ 0x21, 'y' ^ 0x3d, 'e' ^ 0x37}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.frame.Bytes(); !bytes.HasPrefix(got, tc.want) {
				t.Errorf("bytes % x, want % x", got[:min(len(got), 16)], tc.want)
			}
		})
	}
}

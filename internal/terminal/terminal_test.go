package terminal_test

import (
	"bytes"
	"testing"

	"github.com/taskfeed/taskfeed/internal/terminal"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// Unusual text is written unchanged, and a character may be split between writes.
func TestWriterKeepsText(t *testing.T) {
	t.Parallel()
	const text = "zoë 用户\u3000\u00a0👩\u200d💻 می\u200cخواهم\t\x1b[31mfailed\x1b[0m \x1b[1mSTATUS\x1b[0m\n"
	var whole bytes.Buffer
	if _, err := terminal.NewWriter(&whole).Write([]byte(text)); err != nil || whole.String() != text {
		t.Errorf("got %q and %v, want %q", &whole, err, text)
	}
	var buf bytes.Buffer
	w := terminal.NewWriter(&buf)
	for _, piece := range []string{"a\x9bb", "\xc2", "\x9bc", "\xf0\x9f", "\x91", "\xa9", "\xe2\x80"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("write %q: %d, %v", piece, n, err)
		}
	}
	w.End()
	if got, want := buf.String(), `a\ufffdb\u009bc👩\ufffd\ufffd`; got != want {
		t.Errorf("in pieces: got %q, want %q", got, want)
	}
}

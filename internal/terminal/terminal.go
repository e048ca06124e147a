// Package terminal keeps control characters in data from reaching a terminal.
//
// Data can come from anybody, and a terminal executes control characters in it: they
// move the cursor, hide text or change its order. Everything that a command writes goes
// through a Writer.
package terminal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Writer escapes control characters as JSON does: \u009b. In JSON the value stays the
// same. It is safe for concurrent use.
type Writer struct {
	out io.Writer

	mu   sync.Mutex
	rest []byte // the beginning of an incomplete character
}

// NewWriter returns one that writes to out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Unwrap returns what the Writer writes to.
func (w *Writer) Unwrap() io.Writer { return w.out }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	whole := p
	if len(w.rest) > 0 {
		whole = append(w.rest, p...)
	}
	n := len(whole) - partial(whole)
	w.rest = bytes.Clone(whole[n:])
	if _, err := w.out.Write(escapeObeyed(whole[:n])); err != nil {
		return 0, err
	}
	return len(p), nil
}

// End writes the rest of an incomplete character.
func (w *Writer) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		_, _ = w.out.Write(escapeObeyed(w.rest)) // an error has been returned by the last Write
	}
}

// partial returns how many bytes at the end of p belong to an incomplete character.
func partial(p []byte) int {
	for n := 1; n <= min(len(p), utf8.UTFMax-1); n++ {
		if at := len(p) - n; utf8.RuneStart(p[at]) {
			if utf8.FullRune(p[at:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

// ownColour matches the only control sequences that pass: the colours of the commands.
var ownColour = regexp.MustCompile(`^\x1b\[(0|1|3[1-6])m`)

// escapeObeyed returns p itself if there is nothing to escape.
func escapeObeyed(p []byte) []byte {
	var b []byte
	done := 0
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRune(p[i:])
		if own := ownColour.Find(p[i:min(len(p), i+5)]); own != nil {
			i += len(own)
			continue
		}
		if Obeyed(r) || r == utf8.RuneError && size == 1 {
			b = appendEscaped(append(b, p[done:i]...), r)
			done = i + size
		}
		i += size
	}
	if done == 0 {
		return p
	}
	return append(b, p[done:]...)
}

func appendEscaped(dst []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(dst, `\u%04x`, r)
}

// Obeyed reports whether a terminal or an editor does more with the character than show
// it: controls (C0, DEL, C1), characters that reorder or hide text, and those that end
// lines in some programs. The two joiners, which Persian and emoji need, do neither.
func Obeyed(r rune) bool {
	switch {
	case r == '\n', r == '\t', r >= ' ' && r < 0x7f, r == '\u200c', r == '\u200d':
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Printable replaces every character that cannot be printed, for text on one line.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Is reports whether w writes to a terminal. A writer that wraps another has a method
// Unwrap.
func Is(w io.Writer) bool {
	if outer, ok := w.(interface{ Unwrap() io.Writer }); ok {
		return Is(outer.Unwrap())
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

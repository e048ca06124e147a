package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed/internal/terminal"
)

// obeyedTexts have characters that terminals and editors execute.
var obeyedTexts = []string{
	"\u009b31m", "\u009d0;title\u009c", "\u0090x", "\u0085", "\x1b[2J", "\x1b]0;x\a", "\x1b[8m", "\x1b[31;1m", "\x1b[38;5;1m", "\x00", "\a", "\b\b\b", "\r", "\v\f", "\x7f",
	"\u202a\u202b\u202c\u202d\u202e", "\u2066\u2067\u2068\u2069", "\u200e\u200f\u061c", "\u2028\u2029", "\ufeff", "\u200b\u2060", "\u00ad", "\ufff9\ufffb", "\U000e0041",
}

// TestBadInput103TerminalControls: control characters are escaped in every output. Once,
// events and tasks printed as JSON contained C1 controls, which terminals execute like
// escape sequences.
func TestBadInput103TerminalControls(t *testing.T) {
	t.Parallel()
	for _, text := range obeyedTexts {
		item, err := json.Marshal(map[string]string{"message": text})
		if err != nil {
			t.Fatal(err)
		}
		raw := []byte(`{"message":"` + strings.NewReplacer("\r", `\r`, "\x1b", `\u001b`, "\a", `\u0007`, "\b", `\b`, "\v\f", `\u000b\f`, "\x00", `\u0000`).Replace(text) + `"}`)
		for form, write := range map[string]func(w *terminal.Writer) error{
			"ndjson": func(w *terminal.Writer) error {
				return (&printer{out: w, output: outputNDJSON}).items([]json.RawMessage{raw})
			},
			"json": func(w *terminal.Writer) error {
				return (&printer{out: w, output: outputJSON}).items([]json.RawMessage{item})
			},
			"table": func(w *terminal.Writer) error {
				return (&printer{out: w, output: outputTable}).table([]string{"A"}, [][]string{{text}})
			},
			"tail": func(w *terminal.Writer) error {
				_, err := fmt.Fprintln(w, text)
				return err
			},
			"log, text": func(w *terminal.Writer) error {
				newLogger(w, logConfig{format: "text"}).Warn(text, text, text, "e", errors.New(text))
				return nil
			},
			"log, json": func(w *terminal.Writer) error {
				slog.New(newLogger(w, logConfig{format: "json"}).Handler()).Warn(text, text, text, "e", errors.New(text))
				return nil
			},
		} {
			var buf bytes.Buffer
			if err := write(terminal.NewWriter(&buf)); err != nil {
				t.Fatalf("%s: %v", form, err)
			}
			if got := buf.String(); strings.ContainsFunc(got, terminal.Obeyed) || !utf8.ValidString(got) {
				t.Errorf("%s of %q: got %q, want nothing that a terminal obeys", form, text, got)
			}
			var back struct{ Message string }
			if err := json.Unmarshal(buf.Bytes(), &back); form == "ndjson" && (err != nil || back.Message != text) {
				t.Errorf("%s of %q: read back as %q, %v, want the same", form, text, back.Message, err)
			}
		}
		status, stdout, stderr := try(t, nil, "tasks", "show", "--"+text)
		if status != 2 || strings.ContainsFunc(stdout+stderr, terminal.Obeyed) {
			t.Errorf("argument %q: status %d, %q %q, want 2 and nothing that a terminal obeys", text, status, stdout, stderr)
		}
	}
}

// A token in an error is not shown.
func TestErrorsHideTokens(t *testing.T) {
	t.Parallel()
	const token = "eyAiYWxnIjoiSFMyNTYifQ.eyJzdWIiOiJhIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
	status, _, stderr := try(t, nil, "tasks", "--"+token)
	if status != 2 || strings.Contains(stderr, token[:10]) || !strings.Contains(stderr, "argument 2") {
		t.Errorf("status %d, stderr %q, want 2 and no token", status, stderr)
	}
}

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
)

// FuzzFrames: whatever a server sends, line by line, the feed does not panic, passes on
// increasing ids between resets, and keeps a valid cursor.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(`{"id":1,"type":"a","timestamp":"2026-11-22T10:00:00Z"}` + "\n" + `{"type":"feed_live","cursor":7}`))
	f.Add([]byte(`{"type":"feed_reset","reason":"expired","cursor":3}` + "\npong\n{}\nnull\n[]"))
	f.Add([]byte(`{"id":9007199254740992,"type":"a"}` + "\n" + `{"type":"feed_live","cursor":-1}`))
	for _, frame := range vectorFrames(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		feed, err := New(Config{URL: "http://localhost", UserID: "alice", Token: StaticToken("x"),
			OnReset: func(context.Context, taskfeed.ResetReason, taskfeed.Cursor) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		r := &run{Feed: feed}
		last, started := taskfeed.Cursor(0), false
		r.handle = func(_ context.Context, e taskfeed.Event) error {
			if e.ID < 1 || started && e.ID <= last {
				t.Errorf("event: got id %d after %d, want a greater one", e.ID, last)
			}
			if !json.Valid(e.Data) || e.Type == "" || e.Timestamp.IsZero() && !bytes.Contains(lines, []byte("0001")) {
				t.Errorf("event: got %+v, want a whole one", e)
			}
			return nil
		}
		for line := range bytes.SplitSeq(lines, []byte("\n")) {
			err := r.take(t.Context(), line)
			if err != nil && (!errors.Is(err, ErrProtocol) || ends(err) == nil) {
				t.Errorf("take %q: got %v, want ErrProtocol", line, err)
			}
			if !inRange(r.cursor) {
				t.Errorf("cursor: got %d, want one that can be sent", r.cursor)
			}
			last, started = r.cursor, r.known
		}
	})
}

// vectorFrames returns the frames of each session in vectors.json, line by line.
func vectorFrames(f *testing.F) [][]byte {
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var vectors []struct {
		Sessions []struct{ Frames []json.RawMessage }
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		f.Fatal(err)
	}
	var list [][]byte
	for _, v := range vectors {
		for _, s := range v.Sessions {
			var lines [][]byte
			for _, frame := range s.Frames {
				lines = append(lines, frame)
			}
			list = append(list, bytes.Join(lines, []byte("\n")))
		}
	}
	return list
}

// FuzzToken: every token of the app is refused or is valid in a header.
func FuzzToken(f *testing.F) {
	for _, token := range []string{"", "a.b.c", "e30.eyJleHAiOjF9.x", "e30.eyJleHAiOjFlMzA4fQ.x", "e30.eyJleHAiOiIxIn0.x", "a b", "a\r\nb", "ü"} {
		f.Add(token)
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, token string) {
		c, err := newCredential(token, now)
		if err != nil {
			if trimmed := strings.TrimSpace(token); len(trimmed) > 8 && strings.Contains(err.Error(), trimmed) {
				t.Errorf("error: got %v, want it without the token", err)
			}
			return
		}
		if strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("token: got %q, want one that fits a header", c.token)
		}
		if c.expired(now) {
			t.Errorf("expiry: got %s, want none when it is past", c.expires)
		}
		if wait, ok := c.renewIn(now); ok && wait <= 0 {
			t.Errorf("renewal: got it in %s, want later", wait)
		}
	})
}

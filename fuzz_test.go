package taskfeed_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// FuzzCursor: what is parsed as a cursor prints as the same cursor; anything else is
// refused with an error that does not repeat it.
func FuzzCursor(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		c, err := taskfeed.ParseCursor(s)
		digits := s != "" && strings.Trim(s, "0123456789") == ""
		if err != nil {
			if taskfeed.CodeOf(err) != taskfeed.CodeBadCursor || len(s) > 16 && strings.Contains(err.Error(), s) {
				t.Errorf("%q: got %v, want bad_cursor without what was sent", s, err)
			}
			if digits && len(s) < 16 {
				t.Errorf("%q: got %v, want a cursor", s, err)
			}
			return
		}
		if !digits || c < 0 || c > taskfeed.MaxID || strings.TrimLeft(s, "0") != strings.TrimLeft(c.String(), "0") {
			t.Errorf("%q: got cursor %d, want what it says", s, c)
		}
		if again, err := taskfeed.ParseCursor(c.String()); again != c || err != nil {
			t.Errorf("%q: got %d, %v when read again, want %d", s, again, err, c)
		}
	})
}

// FuzzFrame: a parsed frame is the same after it is written and parsed again, and no
// written frame has a line end.
func FuzzFrame(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte) {
		first, err := taskfeed.ParseFrame(frame)
		if err != nil || strings.HasPrefix(string(first.Type), "feed_") {
			return
		}
		if first.Event.TaskID == "" {
			first.Event.Version = 0 // it is of a task alone
		}
		first.Event.Timestamp = first.Event.Timestamp.UTC().Truncate(time.Microsecond)
		if y := first.Event.Timestamp.Year(); y < 0 || y > 9999 {
			return // the schema keeps such times out
		}
		written := taskfeed.AppendFrame(nil, &first.Event)
		if !json.Valid(written) || !utf8.Valid(written) || strings.ContainsAny(string(written), "\r\n") {
			t.Fatalf("%q: written as %q, want one line of JSON", frame, written)
		}
		again, err := taskfeed.ParseFrame(written)
		if err != nil {
			t.Fatalf("%q: written as %q: %v", frame, written, err)
		}
		a, b := first.Event, again.Event
		if a.ID != b.ID || a.Type != b.Type || a.TaskID != b.TaskID || a.Version != b.Version || !a.Timestamp.Equal(b.Timestamp) || string(a.Data) != string(b.Data) {
			t.Errorf("%q: got %+v when read again, want %+v", frame, b, a)
		}
	})
}

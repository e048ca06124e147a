package feeds

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// TestCommentsKeepToWhatWasWritten: a comment written after an event was taken
// from the log, and before the event was written, had the event's id. A stream that
// was cut at that moment resumed after an event that the client had never got.
func TestCommentsKeepToWhatWasWritten(t *testing.T) {
	t.Parallel()
	const id taskfeed.Cursor = 1
	h, err := hub.New(oneEvent(id), hub.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h.SetHead(id)
	after := taskfeed.Cursor(0)
	sub, err := h.Subscribe(hub.SubscribeOptions{Filter: taskfeed.Filter{UserID: "alice"}, Owner: "alice", After: &after, Wake: func() {}})
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	defer sub.Close()
	w := httptest.NewRecorder()
	f := New(Deps{Log: slog.New(slog.DiscardHandler)}, Config{CommentInterval: time.Hour, WriteTimeout: time.Second})
	st := &stream{feeds: f, sub: sub, w: w, out: http.NewResponseController(deadlines{w}), silence: time.NewTimer(time.Hour)}
	defer st.silence.Stop()
	if frames, err := sub.Next(t.Context()); err != nil || len(frames) == 0 || sub.Cursor() < id {
		t.Fatalf("Next handed out %d frames up to %s (%v), want the event %s", len(frames), sub.Cursor(), err, id)
	}
	st.comment()
	if got, want := w.Body.String(), ":\n"; got != want {
		t.Errorf("before the event is written: %q, want %q", got, want)
	}
	st.setResting(true)
	st.comment()
	if got, want := w.Body.String(), fmt.Sprintf(":\n:\nid: %s\n\n", id); got != want {
		t.Errorf("when all is written: %q, want %q", got, want)
	}
}

// deadlines accepts write deadlines and ignores them.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetWriteDeadline(time.Time) error { return nil }

// TestNoEmptyMessages: some clients turn an empty line into a message without data,
// for which JSON.parse in an app fails.
func TestNoEmptyMessages(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"the beginning":   appendBeginning(nil, 15*time.Second),
		"a quiet comment": appendComment(nil, 7, 7),
	} {
		if bytes.HasPrefix(b, []byte("\n")) || bytes.Contains(b, []byte("\n\n")) || !bytes.HasSuffix(b, []byte("\n")) {
			t.Errorf("%s is %q, want whole lines and none that is empty", name, b)
		}
	}
}

// oneEvent is a log with one event, alice's.
type oneEvent taskfeed.Cursor

// After implements hub.Log.
func (e oneEvent) After(_ context.Context, _ taskfeed.Filter, after taskfeed.Cursor, _ int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	if id := taskfeed.Cursor(e); id > after {
		return []taskfeed.Event{{ID: id, UserID: "alice", Type: "hello", Data: []byte("{}")}}, id, false, nil
	}
	return nil, taskfeed.Cursor(e), false, nil
}

// Head implements hub.Log.
func (e oneEvent) Head(context.Context) (taskfeed.Cursor, error) { return taskfeed.Cursor(e), nil }

// TestAnEventsIDComesLast: @microsoft/fetch-event-source and eventsource before
// version 3 store an id as soon as they read its line. With the id before the data, a
// stream that was cut within an event resumed after it, and the app never got it.
func TestAnEventsIDComesLast(t *testing.T) {
	t.Parallel()
	var stream []byte
	for id := range taskfeed.Cursor(3) {
		f := &hub.Frame{ID: id + 1, Type: "mail", Bytes: fmt.Appendf(nil, `{"id":%d}`, id+1)}
		stream = appendEventEnd(append(appendEvent(stream, f), f.Bytes...), f)
	}
	for cut := range len(stream) {
		taken, handed := "", ""
		for line := range strings.Lines(string(stream[:cut])) {
			if id, found := strings.CutPrefix(line, "id: "); found && strings.HasSuffix(id, "\n") {
				taken = strings.TrimSpace(id)
			}
			if data, found := strings.CutPrefix(line, `data: {"id":`); found && strings.HasSuffix(data, "\n") {
				handed = strings.TrimSuffix(data, "}\n")
			}
		}
		if taken > handed {
			t.Fatalf("cut off after %q: the id is %s, and the data of %s is the last; want no id ahead of its data", stream[:cut], taken, handed)
		}
	}
}

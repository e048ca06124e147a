package httpapi

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

// TestAnEventsIDComesLast: @microsoft/fetch-event-source and eventsource before
// version 3 take an id as soon as its line is there. With the id ahead of the
// data, a stream that was cut in the middle of an event came back with the id of
// an event that the client had never been handed.
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

// TestCommentsWhileTheLogIsSlow: a stream whose handler waited for a long read of
// the log was silent meanwhile, and given up by clients that know how long a
// healthy one may be silent.
func TestCommentsWhileTheLogIsSlow(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{CommentInterval: 20 * time.Millisecond}})
	id := f.log.add("alice", "hello", `{}`)[0]
	reading, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.log.failWith(func() error {
		once.Do(func() { close(reading); <-goOn })
		return nil
	})
	c := f.stream(f.token("alice"), "after=0")
	<-reading
	before := c.Parser.Comments
	c.Until("comments come while the log is read", func() bool { return c.Parser.Comments > before+2 })
	close(goOn)
	c.ExpectEvent(id)
	c.ExpectLive(id)
}

// TestCommentsKeepToWhatWasWritten: a comment that came between an event's being
// handed out and its being written told the client the event's id. A stream that
// was cut just then came back behind an event that it had never got.
func TestCommentsKeepToWhatWasWritten(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{CommentInterval: time.Hour}})
	id := f.log.add("alice", "hello", `{}`)[0]
	after := taskfeed.Cursor(0)
	sub, err := f.hub.Subscribe(hub.SubscribeOptions{Filter: taskfeed.Filter{UserID: "alice"}, Owner: "alice", After: &after, Wake: func() {}})
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	defer sub.Close()
	w := httptest.NewRecorder()
	st := &stream{server: f.Server, sub: sub, w: w, out: http.NewResponseController(deadlines{w}), silence: time.NewTimer(time.Hour)}
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

// deadlines accepts deadlines for writing, and keeps none.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetWriteDeadline(time.Time) error { return nil }

// TestNoEmptyMessages: of an empty line those clients make a message without
// data, over which an app's JSON.parse falls.
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

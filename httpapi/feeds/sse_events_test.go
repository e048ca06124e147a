package feeds

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/ssetest"
)

// FuzzStreamedEvent proves that a client reads an event with any text as one event,
// and its frame byte for byte.
func FuzzStreamedEvent(f *testing.F) {
	for _, text := range []string{"\r", "\n", "\r\n", "a\n\nevent: feed_reset\ndata: {}\n\n", "\ufeff", "\ufeffdata: x", "\u2028\u2029\u0085", "\x00\x01\x1b", ": comment", "id: 7\n\n", "\\n\\r\\\\"} {
		f.Add(text, text, int64(7))
	}
	f.Fuzz(func(t *testing.T, text, taskID string, id int64) {
		data, err := json.Marshal(map[string]string{"text": text, text: "x"})
		if err != nil {
			t.Skip()
		}
		id = max(1, id&taskfeed.MaxID)
		e := taskfeed.Event{ID: taskfeed.Cursor(id), TaskID: taskID, Type: "mail", Version: 1, Data: data}
		frame := &hub.Frame{ID: e.ID, Type: e.Type, Bytes: taskfeed.AppendFrame(nil, &e)}
		var p ssetest.Parser
		_, _ = p.Write(appendRetry(nil, time.Second))
		_, _ = p.Write(appendEventEnd(append(appendEvent([]byte{'\n'}, frame), frame.Bytes...), frame))
		_, _ = p.Write(appendComment(nil, e.ID, 0))
		got, ok := p.Next()
		want := ssetest.Event{Type: "mail", ID: e.ID.String(), Data: string(frame.Bytes)}
		if _, more := p.Next(); !ok || more || got != want || p.LastID != want.ID {
			t.Errorf("event %q and more: %v; want %q alone", got, more, want)
		}
	})
}

package httpapi

import (
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// TestCompact: a client that asks for it gets of each task what it missed last, and all
// live events.
func TestCompact(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{first: 10, limits: hub.Config{RecentLogBytes: 1 << 20}})
	put := func(task string, kind taskfeed.Type) taskfeed.Cursor {
		return f.log.put(taskfeed.Event{UserID: "alice", TaskID: task, Type: kind, Version: 1, Data: []byte(`{"progress":1}`)})
	}
	put("a", taskfeed.TypeTaskQueued)
	started := put("a", taskfeed.TypeTaskStarted)
	put("a", taskfeed.TypeTaskProgress)
	put("b", taskfeed.TypeTaskProgress)
	last, mail, over := put("a", taskfeed.TypeTaskProgress), f.log.add("alice", "mail", `{}`)[0], put("b", taskfeed.TypeTaskCanceled)
	ws, sse := f.dial("alice", "after=10", "compact=true"), f.stream(f.token("alice"), "after=10", "compact=true")
	for _, id := range []taskfeed.Cursor{started, last, mail, over} {
		ws.ExpectEvent(id)
		sse.ExpectEvent(id)
	}
	ws.ExpectLive(over)
	sse.ExpectLive(over)
	for range 3 {
		id := put("a", taskfeed.TypeTaskProgress)
		ws.ExpectEvent(id)
		sse.ExpectEvent(id)
	}
	resp, body := f.getAs(f.token("alice"), "/v1/events/stream?compact=yes")
	f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "compact")
	expectProblem(t, wstest.Refused(t, f.feedURL("alice", "compact=1"), wstest.Options{}), 400, taskfeed.CodeBadRequest)
}

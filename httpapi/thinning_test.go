package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
)

// TestProgressInterval: a client that asks for it gets progress of a task now and then,
// the last one before anything else, and everything else at once.
func TestProgressInterval(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	step := func(task string) taskfeed.Cursor {
		return f.log.put(taskfeed.Event{UserID: "alice", TaskID: task, Type: taskfeed.TypeTaskProgress, Version: 1, Data: []byte(`{"progress":1}`)})
	}
	all, ws := f.dial("alice", "after=0"), f.dial("alice", "after=0", "progress_interval=1m")
	sse := f.stream(f.token("alice"), "after=0", "progress_interval=60000ms")
	for _, c := range []interface{ ExpectLive(taskfeed.Cursor) }{all, ws, sse} {
		c.ExpectLive(0)
	}
	first := step("a")
	ws.ExpectEvent(first)
	sse.ExpectEvent(first)
	second, third, other := step("a"), step("a"), step("b")
	end := f.log.add("alice", taskfeed.TypeTaskCompleted, `{"progress":100,"result":null}`)[0]
	for _, id := range []taskfeed.Cursor{first, second, third, other, end} {
		all.ExpectEvent(id)
	}
	for _, id := range []taskfeed.Cursor{third, other, end} {
		ws.ExpectEvent(id)
		sse.ExpectEvent(id)
	}
	back := f.dial("alice", "after=0", "progress_interval=1m")
	for _, id := range []taskfeed.Cursor{first, second, third, other, end} {
		back.ExpectEvent(id)
	}
	for _, value := range []string{"", "49ms", "61s", "500", "-1s", "x", "1s&progress_interval=1s"} {
		for _, path := range []string{"/ws/alice?", "/v1/events/stream?"} {
			resp, body := f.get(path + "token=" + f.token("alice") + "&progress_interval=" + value)
			if path == "/ws/alice?" && resp.StatusCode == http.StatusUpgradeRequired {
				continue // it is no handshake, which is found first
			}
			if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "progress_interval") {
				t.Errorf("%s%q: %d %s", path, value, resp.StatusCode, body)
			}
		}
	}
}

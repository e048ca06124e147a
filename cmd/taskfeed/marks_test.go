package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// A mark that one server writes reaches the user's connections to another, in both
// directions, and both count the same.
func TestReadMarksOfTwoServers(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	one, two := startServing(t, url), startServing(t, url)
	a, b := dialPlain(t, one, "alice", "after=0", "unread=true"), dialPlain(t, two, "alice", "after=0")
	if f := nextFrame(t, a); f.Type != taskfeed.TypeFeedLive || f.Unread == nil || f.Unread.Total != 0 {
		t.Fatalf("frame %+v, want feed_live with nothing unread", f)
	}
	if f := nextFrame(t, b); f.Type != taskfeed.TypeFeedLive {
		t.Fatalf("frame %+v, want feed_live", f)
	}
	pgtest.Exec(t, url, `SELECT taskfeed.notify('alice', 'mail', '{}') FROM generate_series(1, 5)`)
	var ids []taskfeed.Cursor
	for range 5 {
		ids = append(ids, nextFrame(t, a).Event.ID)
		nextFrame(t, b)
	}
	for i, step := range []struct {
		from, to *websocket.Conn
		at       *serving
		unread   string
	}{{a, b, two, `"total":4,"more":false,"types":{"mail":4}`}, {b, a, one, `"total":3,"more":false,"types":{"mail":3}`}} {
		if err := step.from.WriteJSON(map[string]any{"type": "read", "through": ids[i]}); err != nil {
			t.Fatalf("mark: %v", err)
		}
		if f := nextFrame(t, step.to); f.Type != taskfeed.TypeFeedRead || f.Cursor != ids[i] {
			t.Fatalf("frame %+v, want feed_read through %d", f, ids[i])
		}
		answer, text := apiOf(t, step.at, "alice", "").do(http.MethodGet, "/v1/me/unread")
		if answer.StatusCode != http.StatusOK || !strings.Contains(text, step.unread) {
			t.Errorf("unread: %d %s, want %s", answer.StatusCode, text, step.unread)
		}
	}
}

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// A client that knows no cursors, only its name, gets what it missed, also when it comes
// back to another server; an admin sees what it had when.
func TestNamedClientOfTwoServers(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	one, two := startServing(t, url), startServing(t, url)
	notify := func(n string) {
		pgtest.Exec(t, url, `SELECT taskfeed.notify('alice', 'mail', jsonb_build_object('n', i)) FROM generate_series(1, `+n+`) AS i`)
	}
	clients := func() string {
		_, text := apiOf(t, two, "admin", "admin").do(http.MethodGet, "/v1/users/alice/clients")
		return text
	}
	away := dialPlain(t, one, "alice", "client=web")
	notify("3")
	last := taskfeed.Cursor(0)
	for range 3 {
		last = nextFrame(t, away).Event.ID
	}
	_ = away.SetReadDeadline(time.Time{})
	go func() { // it answers pings while it reads
		for {
			if _, _, err := away.ReadMessage(); err != nil {
				return
			}
		}
	}()
	eventually(t, "what it got is proven", 30*time.Second, func() bool {
		return strings.Contains(clients(), `"name":"web","cursor":`+last.String()+`,"connected":true`)
	})
	_ = away.Close()
	eventually(t, "it has gone", 30*time.Second, func() bool { return strings.Contains(clients(), `"connected":false`) })
	notify("2")
	back := dialPlain(t, two, "alice", "client=web")
	for n := range 2 {
		if f := nextFrame(t, back); f.Type != "mail" || f.Event.ID <= last || !strings.Contains(string(f.Event.Data), string(rune('1'+n))) {
			t.Fatalf("frame %+v, want mail %d that it missed", f, n+1)
		}
	}
	if text := clients(); !strings.Contains(text, `"deliveries":[{"through":`+last.String()+`,"at":"20`) {
		t.Errorf("clients %s, want the delivery of %d", text, last)
	}
}

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// A user is erased while the server runs: their connection is closed, others get
// their events, and a cursor from before is as good as ever.
func TestBadInput113Forget(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	alice, bob := dialPlain(t, s, "alice"), dialPlain(t, s, "bob")
	pgtest.Exec(t, dbURL, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a', 'alice'), ('b', 'bob'), ('c', 'alice')`)
	deadline := time.Now().Add(20 * time.Second)
	for _, conn := range []*websocket.Conn{alice, bob} {
		_ = conn.SetReadDeadline(deadline)
		if _, _, err := conn.ReadMessage(); err != nil {
			t.Fatalf("read the first event: %v", err)
		}
	}
	env := []string{"DATABASE_URL=" + dbURL}
	got, stdout, stderr := try(t, env, "forget", "alice", "--yes", "--batch", "1")
	if want := "erased: 2 tasks, 2 events, 0 changes on their way\n"; got != 0 || stdout != want {
		t.Fatalf("forget: got status %d, %q, %q, want 0 and %q", got, stdout, stderr, want)
	}
	for {
		_, message, err := alice.ReadMessage()
		if websocket.IsCloseError(err, 4011) {
			break
		}
		if err != nil || strings.Contains(string(message), "task_deleted") {
			t.Fatalf("alice got %s, %v, want nothing but close code 4011", message, err)
		}
	}
	pgtest.Exec(t, dbURL, `UPDATE taskfeed.tasks SET progress = 5`)
	if _, message, err := bob.ReadMessage(); err != nil || !strings.Contains(string(message), `"task_id":"b","version":2`) {
		t.Errorf("bob got %s, %v, want the next event of his task", message, err)
	}
	a := apiOf(t, s, "alice", "")
	for _, path := range []string{"/v1/me/tasks", "/v1/me/events"} {
		if answer, body := a.do(http.MethodGet, path); answer.StatusCode != http.StatusOK || !strings.Contains(body, `"items":[]`) {
			t.Errorf("%s: got %d %s, want an empty list", path, answer.StatusCode, body)
		}
	}
	if got, stdout, _ := try(t, env, "forget", "alice", "--yes"); got != 0 || !strings.HasPrefix(stdout, "erased: 0 tasks, 0 events") {
		t.Errorf("forget again: got status %d and %q, want 0 and nothing erased", got, stdout)
	}
	for _, args := range [][]string{{"forget"}, {"forget", "alice"}, {"forget", "alice", "--yes", "--batch", "0"}} {
		if got, _, _ := try(t, env, args...); got != 2 {
			t.Errorf("%q: got status %d, want 2", args, got)
		}
	}
}

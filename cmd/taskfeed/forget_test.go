package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// forget erases a user while the server runs: the user's connection is closed, others get
// their events, and earlier cursors stay valid.
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
	if want := "erased: 2 tasks, 2 events, 0 waiting changes, 0 messages, 0 failures of forward\n"; got != 0 || stdout != want {
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
	// Nor does the server have her events in memory any more, where they were for clients
	// that come back.
	eventually(t, "the events of alice are gone from memory", 20*time.Second, func() bool {
		conn := dialPlain(t, s, "alice", "after=1") // there was an event after the first
		defer conn.Close()
		return nextFrame(t, conn).Type == taskfeed.TypeFeedLive
	})
	for _, args := range [][]string{{"forget"}, {"forget", "alice"}, {"forget", "alice", "--yes", "--batch", "0"}} {
		if got, _, _ := try(t, env, args...); got != 2 {
			t.Errorf("%q: got status %d, want 2", args, got)
		}
	}
}

// Once, the trigger of an app's foreign key ran with the privileges of the role that
// erased a user, and could read the log.
func TestBadInput150Forget(t *testing.T) {
	t.Parallel()
	adminURL := pgtest.New(t)
	appURL := stranger(t, adminURL, "bad input 150 app")
	app := fmt.Sprintf(`"bad input 150 app %d"`, os.Getpid())
	t.Cleanup(func() { cleanUp(t, adminURL, `DROP OWNED BY `+app+` CASCADE`) }) // before the role goes
	pgtest.Exec(t, adminURL, `CREATE SCHEMA own AUTHORIZATION `+app)
	pgtest.Exec(t, adminURL, `SELECT taskfeed.grant_app('`+app+`', foreign_keys => true)`)
	for _, sql := range []string{
		`CREATE TABLE own.t (id text REFERENCES taskfeed.tasks ON DELETE CASCADE)`,
		`CREATE FUNCTION own.evil() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN EXECUTE 'GRANT ALL ON taskfeed.events, taskfeed.changes TO PUBLIC'; RETURN NULL;
			EXCEPTION WHEN insufficient_privilege THEN RETURN NULL; END $$`,
		`CREATE TRIGGER e AFTER DELETE ON own.t FOR EACH ROW EXECUTE FUNCTION own.evil()`,
		`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t1', 'alice')`,
		`INSERT INTO own.t VALUES ('t1')`,
	} {
		pgtest.Exec(t, appURL, sql)
	}
	env := []string{"DATABASE_URL=" + adminURL}
	got, _, stderr := try(t, env, "forget", "alice", "--yes")
	if want := "the foreign key t_id_fkey of table own.t of the role " + app; got != 1 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "Let the app delete the tasks") {
		t.Errorf("forget: got status %d and %q, want 1 and %q", got, stderr, want)
	}
	if got, stdout, _ := try(t, env, "doctor"); got != 0 || !strings.Contains(stdout, "note: the foreign key t_id_fkey of table own.t of the role "+app) {
		t.Errorf("doctor: got status %d and %q, want 0 and a note of the foreign key", got, stdout)
	}
	pgtest.Exec(t, appURL, `DELETE FROM taskfeed.tasks WHERE user_id = 'alice'`)
	if got, stdout, stderr := try(t, env, "forget", "alice", "--yes"); got != 0 || !strings.HasPrefix(stdout, "erased: 0 tasks, ") {
		t.Errorf("forget after the app: got status %d, %q, %q, want 0", got, stdout, stderr)
	}
	if got, stdout, _ := try(t, env, "doctor"); got != 0 || !strings.Contains(stdout, "ok: ") {
		t.Errorf("doctor after it: got status %d and %q, want 0", got, stdout)
	}
}

package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// nextFrame reads a text frame and parses it.
func nextFrame(t *testing.T, conn *websocket.Conn) taskfeed.Frame {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, b, err := conn.ReadMessage()
	if err != nil {
		t.Fatalf("read a frame: %v", err)
	}
	f, err := taskfeed.ParseFrame(b)
	if err != nil {
		t.Fatalf("parse %s: %v", b, err)
	}
	return f
}

func dialPlain(t *testing.T, s *serving, user string, params ...string) *websocket.Conn {
	t.Helper()
	url := "ws" + strings.TrimPrefix(s.base, "http") + "/ws/" + user + "?" + strings.Join(append(params, "token="+testToken(t, user)), "&")
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestServe(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t) // serve migrates it
	s := startServing(t, url)

	t.Run("a change in SQL reaches its owner and nobody else", func(t *testing.T) {
		alice, bob := dialPlain(t, s, "alice"), dialPlain(t, s, "bob")
		pgtest.Exec(t, url, "INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a1', 'alice'), ('b1', 'bob')")
		for user, conn := range map[string]*websocket.Conn{"a1": alice, "b1": bob} {
			if f := nextFrame(t, conn); f.Type != taskfeed.TypeTaskQueued || f.Event.TaskID != user {
				t.Errorf("got %s of task %q, want task_queued of %q", f.Type, f.Event.TaskID, user)
			}
		}
		pgtest.Exec(t, url, "UPDATE taskfeed.tasks SET status = 'completed', result = '{\"count\": 5}' WHERE id = 'a1'")
		f := nextFrame(t, alice)
		if got, want := string(f.Event.Data), `{"progress":0,"result":{"count":5}}`; f.Type != taskfeed.TypeTaskCompleted || got != want {
			t.Errorf("got %s %s, want task_completed %s", f.Type, got, want)
		}
	})
	t.Run("a token never gets into the log", func(t *testing.T) {
		dialPlain(t, s, "carol")
		if log, token := s.stderr.String(), testToken(t, "carol"); strings.Contains(log, token[:40]) || strings.Contains(log, testSecret) {
			t.Errorf("the log shows a secret:\n%s", log)
		}
	})
	t.Run("SIGTERM closes every connection with 1012 and ends with status 0", func(t *testing.T) {
		conns := make([]*websocket.Conn, 5)
		for i := range conns {
			conns[i] = dialPlain(t, s, fmt.Sprint("user-", i))
		}
		s.Signal(syscall.SIGTERM)
		for i, conn := range conns {
			_ = conn.SetReadDeadline(time.Now().Add(15 * time.Second))
			if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
				t.Errorf("connection %d ended with %v, want close code 1012", i, err)
			}
		}
		if got := s.wait(t, 15*time.Second); got != 0 {
			t.Errorf("exit status %d, want 0", got)
		}
	})
}

func TestServeRefusesAnOldSchema(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=" + pgtest.Empty(t), "TASKFEED_JWT_SECRET=" + testSecret, "PORT=0", "TASKFEED_MIGRATE=false"}
	p := start(t, env, "serve")
	if got := p.wait(t, 20*time.Second); got != 1 {
		t.Errorf("exit status %d, want 1", got)
	}
	if got := p.stderr.String(); !strings.Contains(got, "the database has schema version 0, this binary knows") {
		t.Errorf("stderr %q does not name the two versions", got)
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	s := startServing(t, pgtest.New(t))
	port := s.base[strings.LastIndex(s.base, ":")+1:]
	if got := start(t, []string{"PORT=" + port}, "healthcheck").wait(t, 10*time.Second); got != 0 {
		t.Errorf("healthcheck of a live server: exit status %d, want 0", got)
	}
	if got := start(t, []string{"PORT=" + freePort(t)}, "healthcheck").wait(t, 10*time.Second); got != 1 {
		t.Errorf("healthcheck of no server: exit status %d, want 1", got)
	}
	if status, body := get(t, s.base+"/healthz"); status != http.StatusOK || !strings.Contains(body, `"version":"`) {
		t.Errorf("/healthz answers %d %s, want 200 and the version", status, body)
	}
}

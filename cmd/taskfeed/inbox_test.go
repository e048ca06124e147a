package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// A user sends a message about a task, the command lists it, and the app receives it.
func TestInbox(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL, "TASKFEED_INBOX=on", "TASKFEED_INBOX_TOPICS=cancel, answer")
	pgtest.Exec(t, dbURL, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t1', 'alice'), ('t2', 'bob')`)
	token, err := auth.Issue(auth.Config{Secret: []byte(testSecret)}, "alice", "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	send := func(body string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/v1/me/messages", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	const first = `{"ref":"a","topic":"cancel","task_id":"t1","data":{"why":"slow"}}`
	for range 2 {
		if got, want := send(first), `{"ref":"a","id":1}`+"\n"; got != want {
			t.Errorf("got the answer %s, want %s", got, want)
		}
	}
	if got := send(`{"ref":"b","topic":"cancel","task_id":"t2"}`); !strings.Contains(got, `"code":"not_found"`) {
		t.Errorf("about another's task: got %s, want not_found", got)
	}
	if got := send(`{"ref":"c","topic":"restart"}`); !strings.Contains(got, `"code":"topic_not_allowed"`) {
		t.Errorf("another topic: got %s, want topic_not_allowed", got)
	}
	env := []string{"TASKFEED_URL=" + s.base, "TASKFEED_JWT_SECRET=" + testSecret, "NO_COLOR=1"}
	list := func() string {
		r := runCLI(t, env, "inbox", "--task", "t1")
		r.expect(t, 0, "")
		return moments.ReplaceAllString(r.stdout, "T                       ")
	}
	want := "TIME                      ID  USER   TOPIC   TASK  STATE  DATA\n" +
		"T                         1   alice  cancel  t1    waits  why=\"slow\"\n"
	if got := list(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	conn := pgtest.Connect(t, dbURL)
	var user, task string
	if err := conn.QueryRow(t.Context(), `SELECT user_id, task_id FROM taskfeed.receive('cancel')`).Scan(&user, &task); err != nil || user != "alice" || task != "t1" {
		t.Errorf("received a message of %s about %s, %v, want that of alice about t1", user, task, err)
	}
	if got := list(); !strings.Contains(got, " received\n") || strings.Contains(got, "slow") {
		t.Errorf("once received: got\n%s\nwant its state, without its data", got)
	}
	runCLI(t, env, "inbox", "--mine").expect(t, 2, "only admins")
}

func TestInboxSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ env, want string }{
		{"TASKFEED_INBOX=yes", "TASKFEED_INBOX: must be one of on, off"},
		{"TASKFEED_INBOX=on", "TASKFEED_INBOX_TOPICS: it is missing"},
		{"TASKFEED_INBOX=on TASKFEED_INBOX_TOPICS=cancel,a b", "TASKFEED_INBOX_TOPICS: a b is no topic"},
		{"TASKFEED_INBOX_PER_USER=0", "TASKFEED_INBOX_PER_USER: must be a whole number from 1 up"},
	} {
		env := []string{"DATABASE_URL=postgres://127.0.0.1:1/x", "TASKFEED_JWT_SECRET=" + testSecret}
		first, rest, more := strings.Cut(tt.env, " ")
		if env = append(env, first); more {
			env = append(env, rest)
		}
		runCLI(t, env, "serve").expect(t, 2, tt.want)
	}
}

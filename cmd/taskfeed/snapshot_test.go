package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// view is what alice's page shows: her tasks by id, each as status, progress and
// version.
type view map[string]taskfeed.Task

// show adds the tasks of a page.
func (v view) show(tasks []taskfeed.Task) {
	for _, task := range tasks {
		v[task.ID] = taskfeed.Task{ID: task.ID, Status: task.Status, Progress: task.Progress, Message: task.Message, Version: task.Version}
	}
}

// apply follows the rule of history.TaskPage.
func (v view) apply(t *testing.T, e *taskfeed.Event) {
	t.Helper()
	task, known := v[e.TaskID]
	if known && e.Version <= task.Version {
		return
	}
	fields := struct {
		Progress int
		Message  string
	}{}
	if err := json.Unmarshal(e.Data, &fields); err != nil {
		t.Fatalf("data of event %d: %v", e.ID, err)
	}
	status := map[taskfeed.Type]taskfeed.Status{taskfeed.TypeTaskQueued: "queued", taskfeed.TypeTaskStarted: "running",
		taskfeed.TypeTaskCompleted: "completed", taskfeed.TypeTaskFailed: "failed", taskfeed.TypeTaskCanceled: "canceled"}[e.Type]
	switch {
	case e.Type == taskfeed.TypeTaskDeleted:
		delete(v, e.TaskID)
		return
	case e.Type == taskfeed.TypeTaskProgress && !known:
		return
	case e.Type == taskfeed.TypeTaskProgress:
		status = task.Status
	}
	v[e.TaskID] = taskfeed.Task{ID: e.TaskID, Status: status, Progress: fields.Progress, Message: fields.Message, Version: e.Version}
}

// churn changes tasks of alice and bob in every way until ctx is done, and counts the
// commits. Each call uses its own ids.
func churn(ctx context.Context, conn *pgx.Conn, worker int, commits *atomic.Int64) error {
	statements := []string{
		"INSERT INTO taskfeed.tasks (id, user_id, status, progress) VALUES ($1, 'alice', 'running', 1) ON CONFLICT (id) DO NOTHING",
		"UPDATE taskfeed.tasks SET progress = (progress + 1) % 101, message = 'at ' || progress WHERE id = $1",
		"UPDATE taskfeed.tasks SET progress = (progress + 1) % 101, message = null WHERE id = $1",
		"UPDATE taskfeed.tasks SET status = CASE status WHEN 'running' THEN 'completed' ELSE 'running' END WHERE id = $1",
		"UPDATE taskfeed.tasks SET user_id = CASE user_id WHEN 'alice' THEN 'bob' ELSE 'alice' END WHERE id = $1",
		"DELETE FROM taskfeed.tasks WHERE id = $1",
	}
	weights := []int{3, 8, 3, 4, 2, 1}
	var bag []string
	for i, statement := range statements {
		bag = append(bag, slices.Repeat([]string{statement}, weights[i])...)
	}
	for ctx.Err() == nil {
		err := pgx.BeginFunc(context.Background(), conn, func(tx pgx.Tx) error {
			for range 1 + rand.N(3) {
				id := fmt.Sprintf("task-%d-%d", worker, rand.N(12))
				if _, err := tx.Exec(context.Background(), bag[rand.N(len(bag))], id); err != nil {
					return err
				}
			}
			if rand.N(8) == 0 {
				return errRollBack
			}
			return nil
		})
		if err != nil && err != errRollBack {
			return err
		}
		if err == nil {
			commits.Add(1)
		}
	}
	return nil
}

var errRollBack = fmt.Errorf("rolled back on purpose")

// TestSnapshotAndTail proves the promise of /v1/me/tasks: its pages of tasks, and then
// the feed after its cursor, give exactly the content of the table, whatever is written
// meanwhile.
func TestSnapshotAndTail(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL, "TASKFEED_MAX_CONNECTIONS_PER_USER=off")
	alice := apiOf(t, s, "alice", "")

	ctx, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	var commits atomic.Int64
	written := func(more int64) {
		t.Helper()
		target := commits.Load() + more
		eventually(t, "the app writes", 30*time.Second, func() bool { return commits.Load() >= target })
	}
	defer writers.Wait()
	defer stop()
	for worker := range 3 {
		conn := pgtest.Connect(t, dbURL)
		writers.Go(func() {
			if err := churn(ctx, conn, worker, &commits); err != nil {
				t.Errorf("the app's write failed: %v", err)
			}
		})
	}
	type viewer struct {
		view  view
		first taskfeed.Cursor
		conn  *websocket.Conn
	}
	written(100)
	var viewers []viewer
	for i := range 12 {
		v := viewer{view: make(view)}
		query := url.Values{"limit": {fmt.Sprint(3 + i)}, "sort": {[]string{"created", "-created"}[i%2]}}
		for {
			var page tasksPage
			alice.get("/v1/me/tasks?"+query.Encode(), &page)
			v.view.show(page.Items)
			if page.Cursor != nil {
				v.first = *page.Cursor
			}
			if page.Next == "" {
				break
			}
			query.Set("after", page.Next)
		}
		v.conn = dialAfter(t, s, alice.token, v.first)
		viewers = append(viewers, v)
	}
	written(200)
	stop()
	writers.Wait()
	settle(t, dbURL)

	var end eventsPage
	alice.get("/v1/me/events?limit=1", &end)
	want := tableOf(t, dbURL)
	applied := 0
	for i, v := range viewers {
		for at := v.first; at < end.Items[0].ID; {
			f := checkedFrame(t, v.conn)
			if f.Type == taskfeed.TypeFeedLive {
				continue
			}
			if f.Event.ID <= at {
				t.Fatalf("viewer %d: event %d after %d", i, f.Event.ID, at)
			}
			at = f.Event.ID
			v.view.apply(t, &f.Event)
			applied++
		}
		if !maps.EqualFunc(v.view, want, func(a, b taskfeed.Task) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("viewer %d, from cursor %d on, shows\n%v\nwant what the table holds\n%v", i, v.first, v.view, want)
		}
	}
	if applied < 500 || len(want) == 0 {
		t.Errorf("%d events and %d tasks: too few to prove anything", applied, len(want))
	}
}

func dialAfter(t *testing.T, s *serving, token string, after taskfeed.Cursor) *websocket.Conn {
	t.Helper()
	address := "ws" + strings.TrimPrefix(s.base, "http") + "/ws/alice?after=" + after.String()
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), address, map[string][]string{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the test may have failed
	return conn
}

// checkedFrame reads a frame and checks it against its schema.
func checkedFrame(t *testing.T, conn *websocket.Conn) taskfeed.Frame {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	_, b, err := conn.ReadMessage()
	if err != nil {
		t.Fatalf("read a frame: %v", err)
	}
	theContract(t).CheckFrame(t, b)
	f, err := taskfeed.ParseFrame(b)
	if err != nil {
		t.Fatalf("parse %s: %v", b, err)
	}
	return f
}

// tableOf returns alice's tasks from the table.
func tableOf(t *testing.T, dbURL string) view {
	t.Helper()
	rows, err := pgtest.Connect(t, dbURL).Query(t.Context(),
		"SELECT id, status, progress, coalesce(message, ''), version FROM taskfeed.tasks WHERE user_id = 'alice'")
	if err != nil {
		t.Fatalf("read the table: %v", err)
	}
	v := make(view)
	var task taskfeed.Task
	if _, err := pgx.ForEachRow(rows, []any{&task.ID, &task.Status, &task.Progress, &task.Message, &task.Version}, func() error {
		v[task.ID] = task
		return nil
	}); err != nil {
		t.Fatalf("read the table: %v", err)
	}
	return v
}

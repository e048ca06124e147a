package history_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store/history"
)

// mirror is a client that shows the tasks of a snapshot and applies events.
type mirror struct {
	filter  taskfeed.Filter
	cursor  taskfeed.Cursor
	tasks   map[string]taskfeed.Task
	applied int
	dropped int // by the rule of versions
}

// newMirror reads a snapshot, page by page.
func newMirror(t lister, s *history.Reader, f taskfeed.Filter, sort history.Sort, limit int, between func()) *mirror {
	t.Helper()
	m := &mirror{filter: f, cursor: -1, tasks: map[string]taskfeed.Task{}}
	allPages(t, limit, between, func(after string) ([]taskfeed.Task, string, error) {
		page, err := s.ListTasks(t.Context(), history.TaskQuery{UserID: f.UserID, Sort: sort, After: after, Limit: limit})
		if after == "" {
			m.cursor = page.Cursor
		}
		m.show(page.Items)
		return page.Items, page.Next, err
	})
	return m
}

// show takes over the tasks of a page.
func (m *mirror) show(tasks []taskfeed.Task) {
	for _, task := range tasks {
		if m.tasks[task.ID].Version <= task.Version {
			m.tasks[task.ID] = shown(task)
		}
	}
}

// shown leaves out the fields that events do not have.
func shown(t taskfeed.Task) taskfeed.Task {
	return taskfeed.Task{ID: t.ID, UserID: t.UserID, Kind: t.Kind, Status: t.Status, Progress: t.Progress,
		Message: t.Message, Result: t.Result, Error: t.Error, Version: t.Version}
}

// apply follows the rule: a version greater than the one shown counts, and a
// deletion makes the client forget.
func (m *mirror) apply(e *taskfeed.Event) error {
	was, known := m.tasks[e.TaskID]
	if known && e.Version <= was.Version {
		m.dropped++
		return nil
	}
	m.applied++
	var data struct {
		Kind     string
		Progress int
		Message  string
		Result   json.RawMessage
		Error    string
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return err
	}
	if string(data.Result) == "null" { // completed without one
		data.Result = nil
	}
	switch e.Type {
	case taskfeed.TypeTaskDeleted:
		delete(m.tasks, e.TaskID)
	case taskfeed.TypeTaskProgress:
		if known {
			was.Progress, was.Message, was.Version = data.Progress, data.Message, e.Version
			m.tasks[e.TaskID] = was
		}
	default:
		status := taskfeed.Status(strings.TrimPrefix(string(e.Type), "task_"))
		if e.Type == taskfeed.TypeTaskStarted {
			status = taskfeed.StatusRunning
		}
		m.tasks[e.TaskID] = taskfeed.Task{ID: e.TaskID, UserID: e.UserID, Kind: data.Kind, Status: status, Progress: data.Progress,
			Message: data.Message, Result: data.Result, Error: data.Error, Version: e.Version}
	}
	return nil
}

// follow applies the events after the cursor and compares with the table.
func (m *mirror) follow(t *testing.T, log []taskfeed.Event, table []taskfeed.Task) {
	t.Helper()
	for _, e := range log {
		if e.ID <= m.cursor || e.TaskID == "" || !m.filter.Match(&e) {
			continue
		}
		if err := m.apply(&e); err != nil {
			t.Fatalf("apply event %d: %v", e.ID, err)
		}
	}
	want := map[string]taskfeed.Task{}
	for _, task := range table {
		if m.filter.All || task.UserID == m.filter.UserID {
			want[task.ID] = shown(task)
		}
	}
	for id := range maps.Keys(m.tasks) {
		if _, ok := want[id]; !ok {
			want[id] = taskfeed.Task{}
		}
	}
	for id, task := range want {
		if got, want := fmt.Sprintf("%+v", m.tasks[id]), fmt.Sprintf("%+v", task); got != want {
			t.Fatalf("after cursor %d, %d events applied and %d dropped, filter %+v, task %s:\ngot  %s\nwant %s", m.cursor, m.applied, m.dropped, m.filter, id, got, want)
		}
	}
}

// table reads all tasks.
func table(t *testing.T, s *history.Reader) []taskfeed.Task {
	t.Helper()
	return listTasks(t, s, history.TaskQuery{Limit: 500}, func() {})
}

var everything = taskfeed.Filter{All: true}

// TestSnapshotCursor goes through what can happen between a snapshot and its cursor:
// before the snapshot some changes have been moved into the log and some have not.
func TestSnapshotCursor(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO taskfeed.tasks (id, user_id, kind, message) VALUES ('x', 'alice', 'old', 'old')"
	for _, c := range []struct {
		name                  string
		moved, waiting, later []string
		dropped               int // of the events after the cursor
	}{
		{name: "an empty log"},
		{name: "all is in the log", moved: []string{insert}, later: []string{"UPDATE taskfeed.tasks SET progress = 5"}},
		{name: "changes that the snapshot shows come later",
			moved: []string{insert}, waiting: []string{"UPDATE taskfeed.tasks SET progress = 5", "UPDATE taskfeed.tasks SET status = 'running'"}, dropped: 2},
		{name: "the log is empty", waiting: []string{insert, "UPDATE taskfeed.tasks SET message = NULL"},
			later: []string{"UPDATE taskfeed.tasks SET status = 'failed', error = 'disk full'"}, dropped: 2},
		{name: "deleted before the snapshot",
			moved: []string{insert}, waiting: []string{"UPDATE taskfeed.tasks SET progress = 5", "DELETE FROM taskfeed.tasks"}},
		{name: "the owner changes", moved: []string{insert}, waiting: []string{"UPDATE taskfeed.tasks SET user_id = 'bob'"},
			later: []string{"UPDATE taskfeed.tasks SET user_id = 'alice', result = '{\"n\": 1}'"}, dropped: 2},
		{name: "an id is used again, the former task had more versions",
			moved: []string{insert}, waiting: []string{"UPDATE taskfeed.tasks SET progress = 1", "UPDATE taskfeed.tasks SET progress = 2",
				"DELETE FROM taskfeed.tasks", "INSERT INTO taskfeed.tasks (id, user_id) VALUES ('x', 'alice')"}},
		{name: "an id is used again, the present task has more versions",
			moved: []string{insert}, waiting: []string{"DELETE FROM taskfeed.tasks", "INSERT INTO taskfeed.tasks (id, user_id) VALUES ('x', 'alice')",
				"UPDATE taskfeed.tasks SET progress = 1", "UPDATE taskfeed.tasks SET progress = 2"}, dropped: 4},
		{name: "an id is used again twice", moved: []string{insert}, waiting: []string{"UPDATE taskfeed.tasks SET status = 'running'", "DELETE FROM taskfeed.tasks",
			"INSERT INTO taskfeed.tasks (id, user_id) VALUES ('x', 'bob')", "UPDATE taskfeed.tasks SET kind = 'mail'", "UPDATE taskfeed.tasks SET progress = 9",
			"DELETE FROM taskfeed.tasks", insert, "UPDATE taskfeed.tasks SET progress = 3"}, later: []string{"UPDATE taskfeed.tasks SET progress = 4"}, dropped: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			run := func(statements []string) {
				for _, sql := range statements {
					exec(t, f.app, sql)
				}
			}
			run(c.moved)
			moveAll(t, f.session)
			run(c.waiting)
			m := newMirror(t, f.history, everything, history.SortCreated, 10, func() {})
			run(c.later)
			moveAll(t, f.session)
			m.follow(t, readLog(t, f.store, everything), table(t, f.history))
			if m.dropped != c.dropped {
				t.Errorf("events dropped: got %d, want %d", m.dropped, c.dropped)
			}
		})
	}
}

// TestSnapshotCursorIsNotBehindRetention: a cursor of an emptied log would
// otherwise be gone as soon as it is used.
func TestSnapshotCursorIsNotBehindRetention(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, "UPDATE taskfeed.log_state SET expired_through = 77")
	page, err := f.history.ListTasks(t.Context(), history.TaskQuery{Limit: 1})
	if err != nil || page.Cursor != 77 {
		t.Errorf("cursor: got %d, error %v, want 77", page.Cursor, err)
	}
}

// TestSnapshotCursorOfOneSnapshot commits a change and its event after the tasks
// were read and before the cursor is: a cursor of that later moment would step
// over a change that the tasks do not show.
func TestSnapshotCursorOfOneSnapshot(t *testing.T) {
	t.Parallel()
	f := setup(t)
	add(t, f.app, "x")
	moveAll(t, f.session)
	other := pgtest.Connect(t, f.url)
	exec(t, other, "BEGIN; LOCK TABLE taskfeed.log_state")
	var page history.TaskPage
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		if page, err = f.history.ListTasks(t.Context(), history.TaskQuery{Limit: 10}); err != nil {
			t.Errorf("list tasks: %v", err)
		}
	})
	eventually(t, "reading the tasks, and waiting to read the cursor", func() bool {
		return value[bool](t, f.app, "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'taskfeed.log_state'::regclass AND NOT granted)")
	})
	exec(t, f.app, "UPDATE taskfeed.tasks SET status = 'running'")
	moveAll(t, f.session)
	exec(t, other, "COMMIT")
	wg.Wait()
	m := &mirror{filter: everything, cursor: page.Cursor, tasks: map[string]taskfeed.Task{}}
	m.show(page.Items)
	m.follow(t, readLog(t, f.store, everything), table(t, f.history))
	if m.cursor != 1 || m.applied != 1 {
		t.Errorf("got cursor %d and %d events applied after it, want 1 and 1", m.cursor, m.applied)
	}
}

// TestSnapshotCursorBesideAMove: ids that a move has drawn and not yet committed
// are after the cursor.
func TestSnapshotCursorBesideAMove(t *testing.T) {
	t.Parallel()
	f := setup(t)
	add(t, f.app, "x")
	moveAll(t, f.session)
	exec(t, f.app, `BEGIN; INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
		VALUES (nextval('taskfeed.event_id'), 'alice', 'x', 'task_deleted', 2, '{}', now())`)
	m := newMirror(t, f.history, everything, "", 10, func() {})
	exec(t, f.app, "COMMIT")
	if m.cursor != 1 {
		t.Errorf("cursor: got %d, want 1, the last event that can be seen", m.cursor)
	}
}

// TestSnapshotCursorUnderLoad takes snapshots of one and of several pages while
// writers insert, update, hand over, delete and insert again, and the log lags
// behind. Whatever a client then misses or gets twice, it ends with the table.
func TestSnapshotCursorUnderLoad(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers, sequencer sync.WaitGroup
	for w := range 3 {
		conn, r := pgtest.Connect(t, f.url), rand.New(rand.NewPCG(uint64(w), 7))
		writers.Go(func() {
			for range 250 {
				if err := writeSomething(t.Context(), conn, r); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	moves := make(chan struct{}, 1)
	sequencer.Go(func() {
		for ctx.Err() == nil {
			if _, err := f.session.Move(t.Context()); err != nil {
				t.Errorf("move: %v", err)
				return
			}
			select {
			case <-moves: // now and then, so that changes wait
			case <-ctx.Done():
			}
		}
	})
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	mirrors := takeSnapshots(t, f.history, done, moves)
	stop()
	sequencer.Wait()
	moveAll(t, f.session)
	log, tasks := readLog(t, f.store, everything), table(t, f.history)
	applied, dropped := 0, 0
	for _, m := range mirrors {
		m.follow(t, log, tasks)
		applied, dropped = applied+m.applied, dropped+m.dropped
	}
	t.Logf("%d snapshots, %d events, %d tasks left: %d applied, %d dropped", len(mirrors), len(log), len(tasks), applied, dropped)
	if applied == 0 || dropped == 0 {
		t.Errorf("events applied %d and dropped %d, want some of both, or this proves nothing", applied, dropped)
	}
}

// takeSnapshots takes them until the writers are done, and lets the sequencer
// move between pages.
func takeSnapshots(t *testing.T, s *history.Reader, done <-chan struct{}, moves chan<- struct{}) (mirrors []*mirror) {
	t.Helper()
	r := rand.New(rand.NewPCG(8, 9))
	nudge := func() {
		select {
		case moves <- struct{}{}:
		default:
		}
	}
	for {
		select {
		case <-done:
			return mirrors
		default:
		}
		filter := pick(r, everything, taskfeed.Filter{UserID: "alice"}, taskfeed.Filter{UserID: "bob"})
		mirrors = append(mirrors, newMirror(t, s, filter, pick(r, history.SortCreated, history.SortCreatedDesc), pick(r, 2, 5, 100), nudge))
		nudge()
	}
}

// writeSomething runs a transaction of one to four statements; one in five is
// rolled back. Ids ascend within a transaction, so that writers do not deadlock.
func writeSomething(ctx context.Context, conn *pgx.Conn, r *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	ids := make([]string, 1+r.IntN(4))
	for i := range ids {
		ids[i] = fmt.Sprintf("x%02d", r.IntN(16))
	}
	for _, id := range slices.Sorted(slices.Values(ids)) {
		sql := pick(r,
			`INSERT INTO taskfeed.tasks (id, user_id, status, message) VALUES (@id, @user, @status, @text) ON CONFLICT DO NOTHING`,
			`INSERT INTO taskfeed.tasks (id, user_id, status, kind, result) VALUES (@id, @user, @status, @text, '{"n": 1}') ON CONFLICT DO NOTHING`,
			`UPDATE taskfeed.tasks SET progress = @n WHERE id = @id`,
			`UPDATE taskfeed.tasks SET progress = @n, message = NULL WHERE id = @id`,
			`UPDATE taskfeed.tasks SET message = @text WHERE id = @id`,
			`UPDATE taskfeed.tasks SET status = @status WHERE id = @id`,
			`UPDATE taskfeed.tasks SET status = 'completed', result = to_jsonb(@n::int) WHERE id = @id`,
			`UPDATE taskfeed.tasks SET status = 'failed', error = @text, result = NULL WHERE id = @id`,
			`UPDATE taskfeed.tasks SET user_id = @user, kind = NULL WHERE id = @id`,
			`DELETE FROM taskfeed.tasks WHERE id = @id`)
		args := pgx.NamedArgs{"id": id, "user": pick(r, "alice", "bob"), "status": string(pick(r, taskfeed.Statuses...)),
			"text": fmt.Sprint("text ", r.IntN(5)), "n": r.IntN(101)}
		if _, err := tx.Exec(ctx, sql, args); err != nil {
			_ = tx.Rollback(ctx) // the first error says it all
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if r.IntN(5) == 0 {
		return tx.Rollback(ctx)
	}
	return tx.Commit(ctx)
}

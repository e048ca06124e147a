package history_test

import (
	"context"
	"flag"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

var update = flag.Bool("update", false, "write the golden files again")

// sqlGolden makes a history for which the planner has to choose. The user busy and
// the task long have more events than a page by time sorts, alice and short have
// few. The commit is synchronous: else VACUUM could not mark its pages as all-visible,
// and plans would depend on when it runs.
const sqlGolden = `
SET session_replication_role = replica; SET synchronous_commit = on; SET default_statistics_target = 1000;
INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress, message, created_at, updated_at)
SELECT 't' || i, CASE i % 100 WHEN 0 THEN 'alice' ELSE 'u' || i % 1000 END, (ARRAY['render', 'encode', 'mail'])[1 + i % 3],
    (ARRAY['completed', 'failed', 'running', 'queued', 'completed'])[1 + i / 3 % 5],
    i % 101, 'message ' || i, now() - (20000 - i) * interval '1 minute', now() - (20000 - i) * interval '59 seconds'
FROM generate_series(0, 19999) AS i;
INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
SELECT i,
    CASE WHEN i % 100 = 0 THEN NULL WHEN i % 2 = 0 THEN 'busy' WHEN i % 1000 = 1 THEN 'alice' ELSE 'u' || i % 1000 END,
    CASE WHEN i % 100 = 0 THEN NULL WHEN i % 2 = 0 THEN 'long' WHEN i % 1000 = 1 THEN 'short' ELSE 't' || i % 20000 END,
    (ARRAY['task_progress', 'task_progress', 'task_queued', 'task_started', 'task_completed'])[1 + i % 5],
    i, '{"progress": 40}', now() - (120000 - i) * interval '1 second'
FROM generate_series(1, 120000) AS i`

// TestStatements shows every statement that the history sends, with its plan: a
// change of either is a change of a golden file.
func TestStatements(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	for _, sql := range []string{sqlGolden, "VACUUM ANALYZE taskfeed.tasks", "VACUUM ANALYZE taskfeed.events"} {
		exec(t, conn, sql, pgx.QueryExecModeSimpleProtocol)
	}
	r, recorded := traced(t, openStore(t, store.Config{URL: url}))
	for name, c := range goldenReads(value[time.Time](t, conn, "SELECT now()")) {
		recorded.Take()
		if err := c.read(t.Context(), r); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		plans.Golden(t, conn, filepath.Join("testdata", "sql", name+".sql"), c.title, recorded.Take(), *update)
	}
}

// goldenRead is what makes a reader send the statements of one file.
type goldenRead struct {
	title string
	read  func(ctx context.Context, r *history.Reader) error
}

func goldenReads(now time.Time) map[string]goldenRead {
	reads := goldenTasks(now)
	for name, q := range goldenEvents(now) {
		reads["events_"+name] = q
	}
	reads["timeline"] = goldenRead{"The timeline of a task: its summary, and a page of its events.", func(ctx context.Context, r *history.Reader) error {
		_, err := r.TaskEvents(ctx, "short", "", 50)
		return err
	}}
	reads["timeline_user"] = goldenRead{"The timeline of a task as its owner sees it.", func(ctx context.Context, r *history.Reader) error {
		_, err := r.UserTaskEvents(ctx, []string{"alice"}, "short", "", 50)
		return err
	}}
	reads["task"] = goldenRead{"One task, and one that has to be the user's own.", func(ctx context.Context, r *history.Reader) error {
		if _, err := r.FindTask(ctx, "t7"); err != nil {
			return err
		}
		_, err := r.FindUserTask(ctx, []string{"u7"}, "t7")
		return err
	}}
	reads["task_text"] = goldenRead{"A piece of a large field.", func(ctx context.Context, r *history.Reader) error {
		task := history.WholeTask{Task: taskfeed.Task{ID: "t7", UserID: "u7"}}
		for range r.TaskText(ctx, &task, history.LargeField{Name: "result"}) {
			break // the text is another, so there is none
		}
		return nil
	}}
	reads["stats"] = goldenRead{"Statistics: the counts of tasks, the events of the last hour, the oldest running task.", func(ctx context.Context, r *history.Reader) error {
		_, err := r.Stats(ctx)
		return err
	}}
	reads["stalled"] = goldenRead{"Tasks that run without a change.", func(ctx context.Context, r *history.Reader) error {
		_, err := r.StalledTasks(ctx, time.Hour)
		return err
	}}
	for name, f := range map[string]taskfeed.Filter{"unread": {UserID: "alice"}, "unread_groups": {UserID: "alice", Feeds: []string{"busy", "u7"}}} {
		reads[name] = goldenRead{"What is unread beyond a mark: " + name + ".", func(ctx context.Context, r *history.Reader) error {
			_, err := r.Unread(ctx, "alice", f, 119_000)
			return err
		}}
	}
	return reads
}

func goldenTasks(now time.Time) map[string]goldenRead {
	some := []taskfeed.Status{taskfeed.StatusQueued, taskfeed.StatusRunning}
	day := history.TimeRange{From: now.AddDate(0, 0, -2), To: now.AddDate(0, 0, -1)}
	reads := make(map[string]goldenRead)
	for name, q := range map[string]history.TaskQuery{
		"all": {}, "user": {UserID: "alice"}, "statuses": {Statuses: some}, "user_statuses": {UserID: "alice", Statuses: some},
		"oldest_first": {Sort: history.SortCreated}, "narrowed": {Kind: "mail", Text: "99", Created: day, Updated: day},
		"groups": {UserID: "alice", Feeds: []string{"busy"}}, "updated_groups": {UserID: "alice", Feeds: []string{"busy"}, Sort: history.SortUpdatedDesc},
		"updated_all": {Sort: history.SortUpdatedDesc}, "updated_user": {UserID: "alice", Sort: history.SortUpdatedDesc},
		"updated_statuses": {Statuses: some, Sort: history.SortUpdatedDesc}, "updated_oldest_first": {Sort: history.SortUpdated},
	} {
		q.Limit = 50
		reads["tasks_"+name] = goldenRead{"A page of a list of tasks: " + name + ".", func(ctx context.Context, r *history.Reader) error {
			_, err := r.ListTasks(ctx, q)
			return err
		}}
	}
	return reads
}

func goldenEvents(now time.Time) map[string]goldenRead {
	queued := []taskfeed.Type{taskfeed.TypeTaskQueued}
	hour := history.TimeRange{From: now.Add(-2 * time.Hour), To: now.Add(-time.Hour)}
	reads := make(map[string]goldenRead)
	for name, q := range map[string]history.EventQuery{
		"all": {}, "user": {UserID: "alice"}, "user_broadcasts": {UserID: "alice", IncludeBroadcast: true}, "task": {TaskID: "short"},
		"task_user": {TaskID: "short", UserID: "alice"}, "oldest_first": {Sort: history.SortID},
		"groups": {UserID: "alice", Feeds: []string{"busy"}, IncludeBroadcast: true}, "types_groups": {UserID: "alice", Feeds: []string{"busy"}, Types: queued},
		"task_groups": {TaskID: "short", UserID: "alice", Feeds: []string{"busy"}}, "time_groups_many": {UserID: "alice", Feeds: []string{"busy"}, Time: hour},
		"types": {Types: queued}, "types_user_broadcasts": {UserID: "alice", IncludeBroadcast: true, Types: queued}, "types_task": {TaskID: "short", Types: queued},
		"time": {Time: hour}, "time_oldest_first": {Time: hour, Sort: history.SortID}, "time_types": {Time: hour, Types: queued},
		"time_user_few": {UserID: "alice", IncludeBroadcast: true, Time: hour}, "time_user_many": {UserID: "busy", IncludeBroadcast: true, Time: hour},
		"time_task_few": {TaskID: "short", Time: hour}, "time_task_many": {TaskID: "long", UserID: "busy", Time: hour, Types: queued},
	} {
		q.Limit = 50
		reads[name] = goldenRead{"A page of a list of events: " + name + ".", func(ctx context.Context, r *history.Reader) error {
			_, err := r.ListEvents(ctx, q)
			return err
		}}
	}
	return reads
}

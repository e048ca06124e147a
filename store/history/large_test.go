package history_test

import (
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// largePartitions is how many partitions a large log has.
const largePartitions = 4

// What a large log holds besides users u0 to u999 and tasks t0 to t99999: one
// user, one task with 1,000 events and one status that come in its oldest part
// alone. A planner that takes rows for evenly spread looks for them at the wrong
// end.
const (
	oldUser = "has left"
	oldTask = "long ago"
)

const sqlLargeTasks = `
INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress, message, created_at, updated_at)
SELECT 't' || i,
    CASE WHEN i < 20000 AND i % 2 = 0 THEN 'has left' ELSE 'u' || i % 1000 END,
    (ARRAY['render', 'encode', 'mail'])[1 + i % 3],
    CASE WHEN i < 10000 AND i % 2 = 1 THEN 'canceled' ELSE (ARRAY['completed', 'failed', 'running', 'queued', 'completed'])[1 + i / 3 % 5] END,
    i % 101, 'message ' || i, now() - (100000 - i) * interval '20 seconds', now() - (100000 - i) * interval '19 seconds'
FROM generate_series(0, 99999) AS i`

// Indexes are made afterwards, by ATTACH.
const sqlLargePartition = `
CREATE TABLE taskfeed.events_{k} (LIKE taskfeed.events INCLUDING DEFAULTS);
INSERT INTO taskfeed.events_{k} (id, user_id, task_id, type, version, data, created_at)
SELECT {k} * 10000000::bigint + i,
    CASE WHEN i % 100 = 0 THEN NULL WHEN {k} = 0 AND i % 5 = 1 THEN 'has left' ELSE 'u' || i % 1000 END,
    CASE WHEN i % 100 = 0 THEN NULL WHEN {k} = 0 AND i % 100 = 7 AND i < 100000 THEN 'long ago' ELSE 't' || (i * 7919::bigint) % 100000 END,
    (ARRAY['task_progress', 'task_progress', 'task_progress', 'task_queued', 'task_started', 'task_completed'])[1 + i % 6],
    i % 100, '{"progress": 40, "message": "rendering"}', now() - (({partitions} - {k}) * {n} - i) * interval '100 milliseconds'
FROM generate_series(1, {n}) AS i;
ALTER TABLE taskfeed.events ATTACH PARTITION taskfeed.events_{k} FOR VALUES FROM ({from}) TO ({to})`

// fillLarge makes 100,000 tasks and a log of n events in several partitions, with
// statistics as autovacuum would have them.
func fillLarge(t testing.TB, conn *pgx.Conn, n int) {
	t.Helper()
	statements := []string{"SET session_replication_role = replica; SET synchronous_commit = on; SET maintenance_work_mem = '128MB'",
		sqlLargeTasks, "DROP TABLE taskfeed.events_0"}
	for k := range largePartitions {
		from := fmt.Sprint(k * partitionWidth)
		if k == 0 {
			from = "MINVALUE"
		}
		statements = append(statements, strings.NewReplacer("{k}", fmt.Sprint(k), "{n}", fmt.Sprint(n/largePartitions), "{partitions}", fmt.Sprint(largePartitions),
			"{from}", from, "{to}", fmt.Sprint((k+1)*partitionWidth)).Replace(sqlLargePartition))
	}
	for _, sql := range append(statements, "VACUUM ANALYZE taskfeed.events", "VACUUM ANALYZE taskfeed.tasks") {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

var bigTable = regexp.MustCompile(`^(tasks|events_[0-9]+)$`)

// wantIndexed fails when a plan reads a whole big table, or more rows of them
// than it should to find what it shows.
func wantIndexed(t *testing.T, conn *pgx.Conn, s plans.Statement, most float64, mayScan string) {
	t.Helper()
	rows, how := 0.0, ""
	s.Explain(t, conn).Visit(func(n *plans.Node) {
		if !bigTable.MatchString(n.Table) || n.Table == mayScan {
			return
		}
		if n.Type == "Seq Scan" {
			t.Errorf("%s is read as a whole by %s", n.Table, s.SQL)
		}
		rows += (n.Rows + n.RemovedFilter + n.RemovedCheck) * n.Loops
		how += fmt.Sprintf("\n%s %s on %s: %v rows, %v removed", n.Type, n.Index, n.Table, n.Rows, n.RemovedFilter+n.RemovedCheck)
	})
	if rows > most {
		t.Errorf("%v rows of big tables are read, want at most %v, by %s with %v%s", rows, most, s.SQL, s.Args, how)
	}
}

// TestLargeHistory runs every query of the history on a log of a million events
// and looks at how Postgres went about it.
func TestLargeHistory(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	fillLarge(t, conn, 1_000_000)
	s, recorded := traced(t, openStore(t, store.Config{URL: url}))
	now := value[time.Time](t, conn, "SELECT now()")

	t.Run("tasks", func(t *testing.T) {
		for _, c := range largeTaskQueries(now) {
			c.q.Limit = 50
			page, err := s.ListTasks(t.Context(), c.q)
			if err == nil && page.Next != "" {
				c.q.After = page.Next
				_, err = s.ListTasks(t.Context(), c.q)
			}
			if err != nil || len(page.Items) == 0 {
				t.Errorf("%+v: got %d tasks, error %v, want some", c.q, len(page.Items), err)
			}
			for _, statement := range recorded.Take() {
				wantIndexed(t, conn, statement, c.most, "")
			}
		}
	})
	t.Run("events", func(t *testing.T) {
		for _, c := range largeEventQueries(now) {
			c.q.Limit = 50
			page, err := s.ListEvents(t.Context(), c.q)
			if err == nil && page.Next != "" {
				c.q.After = page.Next
				_, err = s.ListEvents(t.Context(), c.q)
			}
			if err != nil || len(page.Items) == 0 {
				t.Errorf("%+v: got %d events, error %v, want some", c.q, len(page.Items), err)
			}
			for _, statement := range recorded.Take() {
				wantIndexed(t, conn, statement, c.most, "")
			}
		}
	})
	t.Run("timeline", func(t *testing.T) {
		page, err := s.TaskEvents(t.Context(), oldTask, "", 500)
		if err != nil || len(page.Items) != 500 || page.Summary.Events != 1000 {
			t.Fatalf("got %d events, summary %+v, error %v, want 500 of 1000", len(page.Items), page.Summary, err)
		}
		for _, statement := range recorded.Take() {
			wantIndexed(t, conn, statement, 1100, "")
		}
	})
	t.Run("stats", func(t *testing.T) {
		stats, err := s.Stats(t.Context())
		if err != nil || stats.OldestRunning == nil {
			t.Fatalf("got %+v, error %v, want all there is", stats, err)
		}
		if stalled, err := s.StalledTasks(t.Context(), time.Hour); err != nil || len(stalled) != 50 {
			t.Fatalf("got %d stalled tasks, error %v, want 50", len(stalled), err)
		}
		for _, statement := range recorded.Take() {
			if strings.Contains(statement.SQL, "GROUP BY status, kind") {
				wantIndexed(t, conn, statement, 0, "tasks")
			} else {
				wantIndexed(t, conn, statement, 3600*10+1000, "") // what the log has of an hour
			}
		}
	})
	t.Run("a deep page costs what the first does", func(t *testing.T) {
		first, deep := pageBlocks(t, s, recorded, conn)
		if deep > first+first/2 {
			t.Errorf("blocks looked at: got %d for a deep page, want at most 1.5 times the first page's %d", deep, first)
		}
	})
}

type largeTaskQuery struct {
	q    history.TaskQuery
	most float64 // rows of big tables that one page may read
}

func largeTaskQueries(now time.Time) []largeTaskQuery {
	day := history.TimeRange{From: now.AddDate(0, 0, -2), To: now.AddDate(0, 0, -1)}
	running, canceled := []taskfeed.Status{"running"}, []taskfeed.Status{"canceled"}
	asc, updated, updatedAsc := history.SortCreated, history.SortUpdatedDesc, history.SortUpdated
	const hour = 3600/19 + 1 // tasks changed in one hour
	return []largeTaskQuery{
		{history.TaskQuery{}, 60},
		{history.TaskQuery{Sort: asc}, 60},
		{history.TaskQuery{UserID: "u7"}, 60},
		{history.TaskQuery{UserID: oldUser}, 60},
		{history.TaskQuery{UserID: "u7", Statuses: running}, 150}, // the user's
		{history.TaskQuery{Statuses: running}, 60},
		{history.TaskQuery{Statuses: canceled}, 60},
		{history.TaskQuery{Statuses: []taskfeed.Status{"queued", "canceled", "failed"}, Sort: asc}, 160},
		{history.TaskQuery{Statuses: running, Created: day}, 60},
		{history.TaskQuery{Created: day}, 60},
		{history.TaskQuery{Kind: "mail"}, 200},
		{history.TaskQuery{Text: "MESSAGE 9999"}, 100_000}, // finds 11
		{history.TaskQuery{Sort: updated}, 3 * hour},
		{history.TaskQuery{Sort: updatedAsc}, 3 * hour},
		{history.TaskQuery{Sort: updated, Statuses: running}, 3 * hour},
		{history.TaskQuery{Sort: updated, Statuses: canceled}, 3 * hour},
		{history.TaskQuery{Sort: updated, UserID: "u7"}, 250},
		{history.TaskQuery{Sort: updated, Updated: day}, 3 * hour},
		{history.TaskQuery{Updated: history.TimeRange{From: now.Add(-time.Hour)}}, 3 * hour},
	}
}

type largeEventQuery struct {
	q    history.EventQuery
	most float64
}

func largeEventQueries(now time.Time) []largeEventQuery {
	hour := history.TimeRange{From: now.Add(-9 * time.Hour), To: now.Add(-8 * time.Hour)}
	const ofUser, ofHour = 1200, 36_500
	const ofOwners = 10 * 52 // oldTask's, each with a page
	return []largeEventQuery{
		{history.EventQuery{}, 60},
		{history.EventQuery{Sort: history.SortID}, 60},
		{history.EventQuery{UserID: "u7"}, 60},
		{history.EventQuery{UserID: oldUser}, 60},
		{history.EventQuery{UserID: "u7", IncludeBroadcast: true}, 120},
		{history.EventQuery{UserID: oldUser, IncludeBroadcast: true}, 120},
		{history.EventQuery{TaskID: "t7"}, 60},
		{history.EventQuery{TaskID: oldTask}, ofOwners},
		{history.EventQuery{TaskID: oldTask, UserID: "u7"}, 60},
		{history.EventQuery{TaskID: oldTask, Types: []taskfeed.Type{taskfeed.TypeTaskQueued}}, 1020},
		{history.EventQuery{Types: []taskfeed.Type{taskfeed.TypeTaskStarted}}, 400},
		{history.EventQuery{Time: hour}, 60},
		{history.EventQuery{Time: history.TimeRange{From: now.Add(-time.Hour)}, Sort: history.SortID}, 60},
		{history.EventQuery{Time: hour, UserID: "u7"}, ofUser + ofHour},
		{history.EventQuery{Time: hour, UserID: "u7", IncludeBroadcast: true}, ofUser + 2*ofHour},
		{history.EventQuery{Time: history.TimeRange{To: now}, TaskID: oldTask}, 10_000},
	}
}

// pageBlocks returns how many blocks the first page of all events takes, and one
// after 20,000 of them.
func pageBlocks(t *testing.T, s *history.Reader, recorded *plans.Recorder, conn *pgx.Conn) (first, deep int) {
	t.Helper()
	q := history.EventQuery{Limit: history.MaxPageLimit}
	for range 20_000 / history.MaxPageLimit {
		page, err := s.ListEvents(t.Context(), q)
		if err != nil {
			t.Fatalf("list events: %v", err)
		}
		q.After = page.Next
	}
	all := recorded.Take()
	return all[0].Explain(t, conn).Blocks(), all[len(all)-1].Explain(t, conn).Blocks()
}

// TestExportMemory exports more than it may keep. It does not run beside other
// tests, whose memory it would count.
func TestExportMemory(t *testing.T) {
	url := pgtest.New(t)
	s := open(t, store.Config{URL: url})
	const events, each, most = 100_000, 1000, 32 << 20
	exec(t, pgtest.Connect(t, url), `
		INSERT INTO taskfeed.events (id, user_id, type, data, created_at)
		SELECT i, 'alice', 'notice', jsonb_build_object('text', repeat('x', $2)), now()
		FROM generate_series(1, $1::int) AS i`, events, each)
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, n, bytes, peak := live(), 0, 0, uint64(0)
	for e, err := range s.ExportEvents(t.Context(), history.EventQuery{}) {
		if err != nil {
			t.Fatalf("export after %d events: %v", n, err)
		}
		if n, bytes = n+1, bytes+len(e.Data); n%10_000 == 1 {
			peak = max(peak, live())
		}
	}
	if n != events || bytes < 2*most {
		t.Fatalf("export: got %d events of %d bytes, want %d of more than %d", n, bytes, events, 2*most)
	}
	if peak > before+most {
		t.Errorf("memory: got %d bytes more than before, want at most %d", peak-before, most)
	}
}

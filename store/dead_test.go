package store_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// oldSnapshot opens a transaction that keeps all rows that are deleted from now on.
func oldSnapshot(t *testing.T, f *fixture) *pgx.Conn {
	t.Helper()
	conn := pgtest.Connect(t, f.url)
	exec(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	exec(t, conn, "SELECT FROM taskfeed.tasks")
	return conn
}

// moveMany captures and moves n changes.
func moveMany(t *testing.T, f *fixture, n int) {
	t.Helper()
	const each = 500
	for range n / each {
		exec(t, f.app, `INSERT INTO taskfeed.changes (user_id, task_id, type, data)
			SELECT 'alice', 't' || i, 'task_progress', '{"progress": 5}' FROM generate_series(1, $1::int) AS i`, each)
		moveAll(t, f.session)
	}
	f.session.NoteNow()
	move(t, f.session)
}

// Only the tables in which we delete or update rows.
const sqlBlocksRead = `
SELECT coalesce(sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)), 0)::int
FROM pg_statio_user_tables
WHERE schemaname = 'taskfeed'
  AND relname IN ('changes', 'looks', 'commands', 'log_state', 'events_default')`

// blocksRead returns how many blocks of our tables are read by work, with a fixture of
// its own on the same database. Backends report what they read when they end, so f is
// closed first.
func blocksRead(t *testing.T, f *fixture, work func(*fixture)) int {
	t.Helper()
	const sqlAlone = `SELECT NOT EXISTS (SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND application_name <> 'watcher' AND backend_xmin IS NULL AND backend_type = 'client backend')`
	watcher := pgtest.Connect(t, f.url)
	exec(t, watcher, "SET application_name = 'watcher'")
	closed := func(f *fixture) {
		f.session.Close()
		f.store.Close()
		_ = f.app.Close(t.Context())
		eventually(t, "the end of the sessions", func() bool { return value[bool](t, watcher, sqlAlone) })
	}
	closed(f)
	before := value[int](t, watcher, sqlBlocksRead)
	own := setupAt(t, f.url)
	work(own)
	closed(own)
	exec(t, watcher, "SELECT pg_stat_clear_snapshot()")
	return value[int](t, watcher, sqlBlocksRead) - before
}

// While a dump or an idle session holds an old snapshot, changes that were moved stay
// in the table as dead rows. Looks, figures and readiness once read all of them: with
// 24 million no server was ready and no new leader finished its first look. Ten times
// as many dead rows cost nothing more.
func TestDeadChangesCostNothing(t *testing.T) {
	t.Parallel()
	const few, slack = 1500, 40 // an index may grow by a level
	lead := func(t *testing.T, f *fixture) {
		takeOver(t, f.session, 0)
		move(t, f.session)
	}
	cases := map[string]func(*testing.T, *fixture){
		"a new leader's first look": lead,
		"a leader's looks": func(t *testing.T, f *fixture) {
			lead(t, f)
			for i := range 20 {
				add(t, f.app, fmt.Sprint(pid(f.session), "-", i))
				move(t, f.session)
			}
		},
		"a backlog": func(t *testing.T, f *fixture) {
			lead(t, f)
			addMany(t, f.app, fmt.Sprint(pid(f.session)), 20)
			moveBacklog(t, f.session)
		},
		"partitions": func(t *testing.T, f *fixture) {
			takeOver(t, f.session, 0)
			if err := f.session.Maintain(t.Context(), 0); err != nil {
				t.Fatalf("maintain: %v", err)
			}
		},
		"figures": func(t *testing.T, f *fixture) {
			if got := figures(t, f.store).BufferDepth; got != 0 {
				t.Errorf("depth: got %d, want 0", got)
			}
		},
		"readiness": func(t *testing.T, f *fixture) { capturing(t, f.store) },
	}
	for name, work := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			oldSnapshot(t, f)
			measure := func(n int) int {
				f := setupAt(t, f.url)
				takeOver(t, f.session, 0)
				moveMany(t, f, n)
				return blocksRead(t, f, func(f *fixture) { work(t, f) })
			}
			blocksRead(t, f, func(*fixture) {})
			with, got := measure(few), measure(9*few)
			watcher := pgtest.Connect(t, f.url)
			if dead := value[int](t, watcher, "SELECT pg_relation_size('taskfeed.changes')::int / 8192"); dead < 4*slack {
				t.Fatalf("the table has %d blocks, want so many that this test means something", dead)
			}
			if got > with+slack {
				t.Errorf("blocks read: %d among %d dead changes, %d among %d; want no more", with, few, got, 10*few)
			}
		})
	}
}

// Deleted commands stay in the index under an old snapshot. Neither a server that looks
// for commands nor an admin who adds one reads all of them.
func TestDeadCommandsCostNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	oldSnapshot(t, f)
	const bound = 100
	work := func(f *fixture) {
		st := f.store
		command(t, st, taskfeed.CommandDisconnectUser, "alice")
		last := lastCommand(t, st)
		if _, arguments := commandsAfter(t, st, last-1); len(arguments) != 1 {
			t.Errorf("commands after the one before: got %q, want alice", arguments)
		}
		if _, arguments := commandsAfter(t, st, last+store.KeepCommands); len(arguments) == 0 {
			t.Error("commands for a server that is ahead: got none, want those that are kept")
		}
	}
	exec(t, f.app, `INSERT INTO taskfeed.commands (kind, argument, created_at)
		SELECT 'disconnect_user', 'bob', now() - interval '2 hours' FROM generate_series(1, 20000)`)
	exec(t, f.app, "DELETE FROM taskfeed.commands")
	exec(t, f.app, "SELECT setval('taskfeed.commands_id_seq', $1)", 20_000+store.KeepCommands)
	exec(t, f.app, `INSERT INTO taskfeed.commands (kind, argument) VALUES ('disconnect_user', 'carol')`)
	if got := blocksRead(t, f, work); got > bound {
		t.Errorf("blocks read among 20,000 dead commands: got %d, want at most %d", got, bound)
	}
}

// The stored snapshot of looks is replaced about once a second. That costs the same
// however many of its former rows an old snapshot keeps.
func TestDeadNotesCostNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	takeOver(t, f.session, 0)
	oldSnapshot(t, f)
	const notes, bound = 300, 60
	for i := range notes {
		add(t, f.app, fmt.Sprint("t", i))
		move(t, f.session)
		f.session.NoteNow()
	}
	move(t, f.session)
	if n := value[int](t, f.app, "SELECT count(*)::int FROM taskfeed.looks"); n != 1 {
		t.Errorf("rows that say how far looks have come: got %d, want 1", n)
	}
	got := blocksRead(t, f, func(f *fixture) {
		takeOver(t, f.session, 0)
		add(t, f.app, "one more")
		move(t, f.session)
		f.session.NoteNow()
		move(t, f.session)
	})
	if got > bound {
		t.Errorf("blocks read among %d dead notes: got %d, want at most %d", notes, got, bound)
	}
}

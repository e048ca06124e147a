package store_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// begin starts a transaction of the app on a connection of its own. It is rolled
// back when the test ends.
func (f *fixture) begin(t *testing.T) *pgx.Conn {
	t.Helper()
	conn := pgtest.Connect(t, f.url)
	exec(t, conn, "BEGIN")
	return conn
}

// A move appends an event for each change that was committed, and nothing else.
func TestMove(t *testing.T) {
	t.Parallel()

	t.Run("an event is its change, numbered", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, kind) VALUES ('a', 'alice', 'video')`)
		exec(t, f.app, `UPDATE taskfeed.tasks SET status = 'running' WHERE id = 'a'`)
		exec(t, f.app, `SELECT taskfeed.broadcast('news', '{"text":"hi"}')`)
		m := move(t, f.session)
		if m.Count != 3 || m.Last != 3 || m.More || m.Partial() {
			t.Fatalf("moved: got %d events to %d, more %t, partial %t; want 3 to 3, false, false", m.Count, m.Last, m.More, m.Partial())
		}
		var got []string
		for _, e := range m.Events {
			if e.Timestamp.IsZero() {
				t.Errorf("event %d has no timestamp", e.ID)
			}
			got = append(got, fmt.Sprintf("%d %s %s %s/%d %s", e.ID, e.UserID, e.Type, e.TaskID, e.Version, e.Data))
		}
		wantEqual(t, "events", got, []string{
			`1 alice task_queued a/1 {"kind": "video", "progress": 0}`,
			`2 alice task_started a/2 {"kind": "video", "progress": 0}`,
			`3  news /0 {"text": "hi"}`,
		})
		log := readLog(t, f.store)
		wantEqual(t, "log", versions(log), versions(m.Events))
		if m = move(t, f.session); m.Count != 0 || m.Last != 0 || m.More {
			t.Errorf("second move: got %+v, want nothing", m)
		}
	})

	t.Run("a rollback leaves nothing", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		tx := f.begin(t)
		add(t, tx, "kept")
		exec(t, tx, "SAVEPOINT s")
		add(t, tx, "undone")
		exec(t, tx, "ROLLBACK TO s")
		add(t, tx, "kept too")
		exec(t, tx, "COMMIT")
		gone := f.begin(t)
		add(t, gone, "never")
		exec(t, gone, "ROLLBACK")
		wantEqual(t, "moved", tasks(move(t, f.session).Events), []string{"kept", "kept too"})
	})
}

// Whichever transaction commits first, no change is skipped and those of one row keep
// their order.
func TestMoveOrder(t *testing.T) {
	t.Parallel()

	t.Run("a late commit is not skipped", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		late := f.begin(t) // takes the lower id and does not commit
		add(t, late, "first")
		add(t, f.app, "second")
		wantEqual(t, "before the commit", tasks(move(t, f.session).Events), []string{"second"})
		exec(t, late, "COMMIT")
		wantEqual(t, "after the commit", tasks(move(t, f.session).Events), []string{"first"})
	})

	t.Run("two changes of one row keep their order though the older transaction wrote last", func(t *testing.T) {
		t.Parallel()
		for _, limit := range []int{1, 1000} { // with 1, the batch limit falls between them
			f := setup(t)
			f.session.SetPages(limit, 10, 100)
			add(t, f.app, "task")
			moveAll(t, f.session)
			older := f.begin(t)
			exec(t, older, "SELECT pg_current_xact_id()") // the lower xid
			exec(t, f.app, "UPDATE taskfeed.tasks SET progress = 1 WHERE id = 'task'")
			exec(t, older, "UPDATE taskfeed.tasks SET progress = 2 WHERE id = 'task'")
			exec(t, older, "COMMIT")
			var byXid []int64
			rows, _ := f.app.Query(t.Context(), "SELECT version FROM taskfeed.changes ORDER BY xid, id")
			byXid, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			if err != nil || !slices.Equal(byXid, []int64{3, 2}) {
				t.Fatalf("versions by (xid, id): got %v (%v), want the inversion 3, 2 that this test is about", byXid, err)
			}
			moveAll(t, f.session)
			wantEqual(t, fmt.Sprintf("log, %d changes a page", limit), versions(readLog(t, f.store)), []string{"task/1", "task/2", "task/3"})
		}
	})

	t.Run("a prepared transaction delays nobody and is not lost", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		pgtest.Exec(t, url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET taskfeed.notify = off', current_database()); END $$")
		f := setupAt(t, url)
		if f.session.DoorbellInUse() {
			t.Error("doorbell: in use, want it off by the database's setting")
		}
		name := "p" + fmt.Sprint(pid(f.session))
		prepared := f.begin(t)
		add(t, prepared, "prepared")
		exec(t, prepared, "PREPARE TRANSACTION '"+name+"'")
		t.Cleanup(func() { _, _ = prepared.Exec(context.Background(), "ROLLBACK PREPARED '"+name+"'") })
		for i := range 3 {
			add(t, f.app, fmt.Sprint("other", i))
			wantEqual(t, "moved", tasks(move(t, f.session).Events), []string{fmt.Sprint("other", i)})
		}
		exec(t, f.app, "COMMIT PREPARED '"+name+"'")
		wantEqual(t, "after COMMIT PREPARED", tasks(move(t, f.session).Events), []string{"prepared"})
	})
}

// A move ends before its data is large.
func TestMovePages(t *testing.T) {
	t.Parallel()

	t.Run("large data is moved and handed on in pages", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		f.session.SetPageBytes(300_000, 1<<20)
		exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, status, result)
			SELECT i, 'alice', 'completed', to_jsonb((SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3500 + i)))
			FROM generate_series(1, 7) AS i`)
		var got []string
		for {
			m := move(t, f.session)
			got = append(got, tasks(m.Events)...)
			if m.Partial() {
				t.Errorf("a move of %d events hands on %d, want all", m.Count, len(m.Events))
			}
			if !m.More {
				break
			}
			if m.Count > 3 {
				t.Errorf("a move took %d changes of 112 KB each, want no more than 300 KB and one", m.Count)
			}
		}
		wantEqual(t, "moved", got, []string{"1", "2", "3", "4", "5", "6", "7"})
		wantEqual(t, "log", tasks(readLog(t, f.store)), got)
	})

	t.Run("compressed data counts for what it was", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, message)
			SELECT i, 'alice', repeat('x', 200000) FROM generate_series(1, 100) AS i`)
		m := move(t, f.session)
		size := 0
		for _, e := range m.Events {
			size += len(e.Data)
		}
		if !m.More || size > 6<<20 {
			t.Errorf("a move hands on %d KB in %d events, more %t; want far less than the 20 MB there are", size>>10, m.Count, m.More)
		}
	})
}

// The log may be altered and rebuilt between moves.
func TestMoveWhileTheLogIsAltered(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i, ddl := range []string{
		"ALTER TABLE taskfeed.events ADD COLUMN extra int", "VACUUM FULL taskfeed.events_0", "REINDEX TABLE taskfeed.events",
		"ALTER TABLE taskfeed.events DROP COLUMN extra", "ANALYZE taskfeed.events", "CREATE INDEX ON taskfeed.events (created_at)",
	} {
		add(t, f.app, fmt.Sprint("t", i+1))
		move(t, f.session)
		wantEqual(t, "log before "+ddl, tasks(readLog(t, f.store)), names("t", i+1))
		exec(t, f.app, ddl)
		wantEqual(t, "log after "+ddl, tasks(readLog(t, f.store)), names("t", i+1))
	}
}

// A move rings when it moved something and somebody follows, and only then.
func TestMoveRingsFollowers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	follower := openSession(t, f.store)
	ear := pgtest.Connect(t, f.url)
	exec(t, ear, "LISTEN taskfeed_log")
	exec(t, ear, "LISTEN marker")
	heard := func(want, when string) { // the marker comes after whatever rang before it
		t.Helper()
		exec(t, f.app, "NOTIFY marker")
		var got []string
		for !slices.Contains(got, "marker") {
			n, err := ear.WaitForNotification(t.Context())
			if err != nil {
				t.Fatalf("wait for a notification: %v", err)
			}
			got = append(got, n.Channel)
		}
		wantEqual(t, when, got, strings.Fields(want))
	}
	if err := follower.Follow(t.Context()); err != nil {
		t.Fatalf("follow: %v", err)
	}
	add(t, f.app, "a")
	move(t, f.session)
	heard("taskfeed_log marker", "after a move")
	move(t, f.session)
	heard("marker", "after a move of nothing")
	addMany(t, f.app, "backlog", 3)
	moveBacklog(t, f.session)
	heard("taskfeed_log marker", "after a page of a backlog")
	if rang, err := follower.Wait(t.Context(), patience); err != nil || !rang {
		t.Errorf("the follower: rang %t (%v), want true", rang, err)
	}
	if err := follower.Unfollow(t.Context()); err != nil {
		t.Fatalf("unfollow: %v", err)
	}
	add(t, f.app, "b")
	move(t, f.session)
	heard("marker", "after a move that nobody follows")
}

func TestMoveIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 2 { // the first move prepares its statements
		add(t, f.app, fmt.Sprint("warm", pid(f.session)))
		exec(t, f.app, "DELETE FROM taskfeed.tasks")
		move(t, f.session)
	}
	var trace bytes.Buffer
	frontend := f.session.Conn().PgConn().Frontend()
	frontend.Trace(&trace, pgproto3.TracerOptions{SuppressTimestamps: true})
	defer frontend.Untrace()
	add(t, f.app, "a")
	if m := move(t, f.session); m.Count != 1 {
		t.Fatalf("moved %d, want 1", m.Count)
	}
	var turns []string
	for line := range strings.Lines(trace.String()) {
		fields := strings.Fields(line)
		turns = append(turns, fields[0]+" "+fields[1])
	}
	turns = slices.Compact(turns)
	wantEqual(t, "messages", turns, []string{
		"F Bind", "F Execute", "F Sync",
		"B BindComplete", "B DataRow", "B CommandComplete", "B ReadyForQuery"})
}

// A server that dies, or loses its session, in the middle of a move.
func TestMoveInterrupted(t *testing.T) {
	t.Parallel()
	interrupt := map[string]func(t *testing.T, f *fixture, cancel func()){
		"its backend is terminated": func(t *testing.T, f *fixture, _ func()) {
			exec(t, f.app, "SELECT pg_terminate_backend($1)", pid(f.session))
		},
		"its context is cancelled": func(_ *testing.T, _ *fixture, cancel func()) { cancel() },
	}
	for name, interrupt := range interrupt {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			addMany(t, f.app, "t", 10)
			blocker := f.begin(t)
			exec(t, blocker, "LOCK TABLE taskfeed.events")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			backend := pid(f.session)
			moved := make(chan error, 1)
			go func() {
				_, err := f.session.Move(ctx)
				moved <- err
			}()
			eventually(t, "the move waiting for the lock", func() bool { return waiting(t, f.app, backend) })
			interrupt(t, f, cancel)
			if err := <-moved; err == nil {
				t.Fatal("the interrupted move returned no error")
			}
			if f.session.Alive() {
				t.Error("the session is alive, want it dead")
			}
			exec(t, blocker, "ROLLBACK")
			next := openSession(t, f.store)
			eventually(t, "the end of the old backend", func() bool {
				return !value[bool](t, f.app, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", backend)
			})
			m := move(t, next)
			if got := len(readLog(t, f.store)); got != 10 || m.Count != 10 {
				t.Errorf("the next session moved %d and the log has %d events, want 10 and 10", m.Count, got)
			}
		})
	}

	t.Run("a lock is not free", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		add(t, f.app, "a")
		blocker := f.begin(t)
		exec(t, blocker, "LOCK TABLE taskfeed.events")
		_, err := f.session.Move(t.Context()) // gives up after 2 s
		wantCode(t, err, taskfeed.CodeUnavailable)
		if !f.session.Alive() {
			t.Fatal("the session is dead, want it alive: one statement failed")
		}
		exec(t, blocker, "ROLLBACK")
		wantEqual(t, "moved after that", tasks(move(t, f.session).Events), []string{"a"})
	})
}

func TestMoveCommitsDurably(t *testing.T) {
	t.Parallel()

	t.Run("whatever the database's default", func(t *testing.T) {
		t.Parallel()
		for given, want := range map[string]string{"off": "on", "local": "on", "on": "on", "remote_apply": "remote_apply"} {
			url := pgtest.New(t)
			pgtest.Exec(t, url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = "+given+"', current_database()); END $$")
			s := openSession(t, openStore(t, store.Config{URL: url}))
			if got := value[string](t, s.Conn(), "SHOW synchronous_commit"); got != want {
				t.Errorf("synchronous_commit of a session in a database that has it %s: got %s, want %s", given, got, want)
			}
		}
	})
}

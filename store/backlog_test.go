package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

func names(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i+1))
	}
	return all
}

func TestMoveBacklog(t *testing.T) {
	t.Parallel()

	t.Run("all of it moves in order, page by page", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		f.session.SetPages(2, 10, 1000)
		addMany(t, f.app, "t", 25)
		if m := move(t, f.session); m.Count != 2 || !m.More {
			t.Fatalf("a move took %d, more %t; want 2 and more", m.Count, m.More)
		}
		var counts []int
		var lasts []taskfeed.Cursor
		for _, m := range moveBacklog(t, f.session) {
			counts, lasts = append(counts, m.Count), append(lasts, m.Last)
			if len(m.Events) > 0 || !m.Partial() {
				t.Errorf("a page hands on %d events, want them read from the log", len(m.Events))
			}
		}
		wantEqual(t, "pages", counts, []int{10, 10, 3})
		wantEqual(t, "last ids", lasts, []taskfeed.Cursor{12, 22, 25})
		wantEqual(t, "log", tasks(readLog(t, f.store)), names("t", 25))
	})

	t.Run("a page ends before its data is too large for one transaction", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		f.session.SetPageBytes(1, 10_000)
		exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, message)
			SELECT 't' || i, 'alice', repeat('x', CASE WHEN i = 5 THEN 100000 ELSE 1500 END) FROM generate_series(1, 10) AS i`)
		var counts []int
		for _, m := range moveBacklog(t, f.session) {
			counts = append(counts, m.Count)
		}
		wantEqual(t, "pages", counts, []int{4, 1, 5}) // the large one by itself
		wantEqual(t, "log", tasks(readLog(t, f.store)), names("t", 10))
	})

	t.Run("more than is sorted at once is left to the next call", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		f.session.SetPages(1, 5, 12)
		addMany(t, f.app, "t", 20)
		moveBacklog(t, f.session)
		wantEqual(t, "log after one call", tasks(readLog(t, f.store)), names("t", 12))
		moveBacklog(t, f.session)
		wantEqual(t, "log after two", tasks(readLog(t, f.store)), names("t", 20))
	})

	t.Run("nothing to move is no page", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		if pages := moveBacklog(t, f.session); len(pages) > 0 {
			t.Errorf("pages: got %v, want none", pages)
		}
	})
}

// Changes that become visible between the pages of a backlog are left to the next move.
func TestMoveBacklogMeanwhile(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.session.SetPages(10, 2, 100)
	late := f.begin(t)
	add(t, late, "late") // the lowest id of all
	addMany(t, f.app, "t", 4)
	done := false
	err := f.session.MoveBacklog(t.Context(), func(taskfeed.Moved) error {
		if !done {
			done = true
			exec(t, late, "COMMIT")
			add(t, f.app, "new")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("move the backlog: %v", err)
	}
	wantEqual(t, "log of the backlog", tasks(readLog(t, f.store)), names("t", 4))
	m := move(t, f.session)
	wantEqual(t, "next move", tasks(m.Events), []string{"late", "new"})
}

// The session may be used to read between the pages of a backlog.
func TestMoveBacklogWithReads(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.session.SetPages(1, 3, 100)
	addMany(t, f.app, "t", 7)
	var read []taskfeed.Event
	err := f.session.MoveBacklog(t.Context(), func(m taskfeed.Moved) error {
		page, _, _, err := f.session.After(t.Context(), taskfeed.Filter{All: true}, m.Last-taskfeed.Cursor(m.Count), 100)
		read = append(read, page...)
		return err
	})
	if err != nil {
		t.Fatalf("move the backlog: %v", err)
	}
	wantEqual(t, "read", tasks(read), names("t", 7))
}

// A backlog that was interrupted continues where it stopped.
func TestMoveBacklogInterrupted(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	cases := map[string]struct {
		interrupt func(t *testing.T, f *fixture) error
		dead      bool // the session is, afterwards
		unnoticed bool // it may be: rows that somebody may still see keep their places
	}{
		"the caller gives up": {interrupt: func(*testing.T, *fixture) error { return stop }},
		"the table is vacuumed in full": {unnoticed: true, interrupt: func(t *testing.T, f *fixture) error {
			exec(t, f.app, "VACUUM FULL taskfeed.changes")
			return nil
		}},
		"the table is rewritten": {interrupt: func(t *testing.T, f *fixture) error {
			exec(t, f.app, "ALTER TABLE taskfeed.changes SET UNLOGGED") // copies what is visible
			exec(t, f.app, "ALTER TABLE taskfeed.changes SET LOGGED")
			return nil
		}},
		"somebody deletes what was found": {interrupt: func(t *testing.T, f *fixture) error {
			exec(t, f.app, "UPDATE taskfeed.changes SET type = type") // moves the rows, as a delete and an insert
			return nil
		}},
		"the backend is terminated": {dead: true, interrupt: func(t *testing.T, f *fixture) error {
			exec(t, f.app, "SELECT pg_terminate_backend($1)", pid(f.session))
			return nil
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.session.SetPages(1, 10, 1000)
			addMany(t, f.app, "t", 35)
			pages := 0
			err := f.session.MoveBacklog(t.Context(), func(taskfeed.Moved) error {
				if pages++; pages == 2 {
					return c.interrupt(t, f)
				}
				return nil
			})
			if err == nil && !c.unnoticed {
				t.Fatal("the interrupted backlog returned no error")
			}
			if err != nil {
				wantEqual(t, "log after two pages", tasks(readLog(t, f.store)), names("t", 20))
			}
			if f.session.Alive() == c.dead {
				t.Errorf("session alive: %t, want %t", !c.dead, c.dead)
			}
			if c.dead {
				f.session = openSession(t, f.store)
			}
			moveBacklog(t, f.session)
			moveAll(t, f.session)
			wantEqual(t, "log in the end", tasks(readLog(t, f.store)), names("t", 35))
		})
	}
}

// The work for a backlog is linear in its size: the table is read once, and each page
// reads its own rows.
func TestMoveBacklogIsLinear(t *testing.T) {
	t.Parallel()
	const size, page = 4000, 50
	f := setup(t)
	f.session.SetPages(1, page, 10*size)
	addMany(t, f.app, "t", size)
	if got := len(moveBacklog(t, f.session)); got != size/page {
		t.Fatalf("pages: got %d, want %d", got, size/page)
	}
	f.session.Close() // the backend reports what it read as it ends
	watcher := pgtest.Connect(t, f.url)
	read := func() int {
		return value[int](t, watcher, `SELECT seq_tup_read + coalesce(idx_tup_fetch, 0)
			FROM pg_stat_user_tables WHERE relid = 'taskfeed.changes'::regclass`)
	}
	eventually(t, "the statistics of the session", func() bool {
		return value[int](t, watcher, "SELECT n_tup_del FROM pg_stat_user_tables WHERE relid = 'taskfeed.changes'::regclass") == size
	})
	if got := read(); got > 2*size {
		t.Errorf("rows of changes read by scans: %d for a backlog of %d, want each once", got, size)
	}
	if got := readLog(t, f.store); len(got) != size || !slices.Equal(tasks(got), names("t", size)) {
		t.Errorf("the log has %d events, want %d in order", len(got), size)
	}
}

// With a low temp_file_limit no large backlog could be sorted: it was moved only as
// fast as the failures allowed, and readiness was 503 meanwhile.
func TestBacklogWithoutRoomOnDisk(t *testing.T) {
	t.Parallel()
	databaseURL := pgtest.New(t)
	pgtest.Exec(t, databaseURL, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET temp_file_limit = 64', current_database());
		EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$`)
	f := setupAt(t, databaseURL)
	exec(t, f.app, "SET temp_file_limit = -1")
	addMany(t, f.app, "t", 12_000)
	total, calls := 0, 0
	for total < 12_000 && calls < 5 {
		calls++
		for _, m := range moveBacklog(t, f.session) {
			total += m.Count
		}
	}
	if total != 12_000 || calls != 3 {
		t.Errorf("bad input 157: moved %d in %d calls, want 12,000 in 3: what fits in memory each time", total, calls)
	}
	wantEqual(t, "the end of the log", value[[]string](t, f.app, `SELECT array_agg(task_id ORDER BY id) FROM taskfeed.events WHERE id > 11998`), []string{"t11999", "t12000"})
}

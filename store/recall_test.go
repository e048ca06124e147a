package store_test

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// nextLeader ends the session, as in a crash, and leads with another one.
func nextLeader(t *testing.T, f *fixture) {
	t.Helper()
	f.session.Close()
	f.session = openSession(t, f.store)
	takeOver(t, f.session, 0)
}

// noteLook moves all changes and stores the snapshot of the look.
func noteLook(t *testing.T, f *fixture) {
	t.Helper()
	moveAll(t, f.session)
	f.session.NoteNow()
	move(t, f.session)
	if f.session.Seen() == store.SeenNothing {
		t.Fatal("a complete look left no snapshot")
	}
}

// A new leader continues where the last one ended, and misses no transaction that was
// in progress then or came since.
func TestNextLeaderGoesOn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	takeOver(t, f.session, 0)
	long, prepared, gone := f.begin(t), f.begin(t), f.begin(t)
	add(t, long, "long")
	add(t, prepared, "prepared")
	exec(t, prepared, "PREPARE TRANSACTION 'next leader'")
	add(t, gone, "rolled back")
	add(t, f.app, "before")
	noteLook(t, f)
	noted := value[string](t, f.app, "SELECT snapshot::text FROM taskfeed.looks")

	add(t, f.app, "after")
	move(t, f.session) // nobody writes this one down
	add(t, f.app, "in between")
	exec(t, gone, "ROLLBACK")
	nextLeader(t, f)
	if got := f.session.Seen(); got != noted {
		t.Fatalf("the new leader has seen %s, want the snapshot that was written down, %s", got, noted)
	}
	wantEqual(t, "the first look", tasks(move(t, f.session).Events), []string{"in between"})
	exec(t, long, "COMMIT")
	nextLeader(t, f)
	wantEqual(t, "after the long transaction", tasks(move(t, f.session).Events), []string{"long"})
	noteLook(t, f)
	nextLeader(t, f)
	exec(t, f.app, "COMMIT PREPARED 'next leader'")
	wantEqual(t, "after the prepared one", tasks(move(t, f.session).Events), []string{"prepared"})
}

// The order of changes outlives a leader that stops in the middle of a backlog.
func TestNextLeaderInABacklog(t *testing.T) {
	t.Parallel()
	f := setup(t)
	takeOver(t, f.session, 0)
	add(t, f.app, "first")
	noteLook(t, f)
	late := f.begin(t)
	add(t, late, "late")
	addMany(t, f.app, "t", 30)
	f.session.SetPages(4, 10, 20)
	move(t, f.session)
	moveBacklog(t, f.session) // 20 of the rest
	exec(t, late, "COMMIT")
	nextLeader(t, f)
	moveBacklog(t, f.session)
	want := append([]string{"first"}, names("t", 24)...)
	want = append(append(want, "late"), names("t", 30)[24:]...) // it has the lowest id of the rest
	wantEqual(t, "log", tasks(readLog(t, f.store)), want)
}

// copyTables does what a dump that is loaded does: it carries rows, and where the
// sequences stand, and nothing else.
func copyTables(t *testing.T, from, to *pgx.Conn) {
	t.Helper()
	exec(t, to, "TRUNCATE taskfeed.log_state, taskfeed.looks, taskfeed.changes")
	for _, table := range []string{"log_state", "looks", "events", "changes"} {
		columns := value[string](t, from, `SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
			WHERE attrelid = ('taskfeed.' || $1)::regclass AND attnum > 0 AND NOT attisdropped`, table)
		var rows bytes.Buffer
		if _, err := from.PgConn().CopyTo(t.Context(), &rows, "COPY (SELECT "+columns+" FROM taskfeed."+table+") TO STDOUT"); err != nil {
			t.Fatalf("dump %s: %v", table, err)
		}
		if _, err := to.PgConn().CopyFrom(t.Context(), &rows, "COPY taskfeed."+table+" ("+columns+") FROM STDIN"); err != nil {
			t.Fatalf("load %s: %v", table, err)
		}
	}
	for _, sequence := range []string{"event_id", "changes_id_seq", "looks_id_seq"} {
		exec(t, to, "SELECT setval('taskfeed."+sequence+"', $1)", value[int64](t, from, "SELECT last_value FROM taskfeed."+sequence))
	}
}

// burn uses up transaction ids.
func burn(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	exec(t, conn, "DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
}

// A dump is loaded into a cluster whose transaction numbers are lower or higher: there
// the snapshot of the last look names other transactions, or none. The first look reads
// everything and misses nothing, also in another database of the same cluster.
func TestLooksOfAnotherCluster(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ same, younger, older bool }{
		"a cluster of lower numbers":  {younger: true},
		"a cluster of higher numbers": {older: true},
		"the same cluster":            {same: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			takeOver(t, f.session, 0)
			if c.younger {
				burn(t, f.app)
			}
			long := f.begin(t)
			add(t, long, "under way")
			add(t, f.app, "moved")
			noteLook(t, f)
			exec(t, long, "COMMIT")
			add(t, f.app, "not moved")

			var url string
			if c.same {
				url = pgtest.New(t)
			} else {
				url = migrated(t, pgtest.Server(t, devpg.Config{}))
			}
			g := setupAt(t, url)
			if c.older {
				burn(t, g.app)
			}
			early := g.begin(t)
			copyTables(t, f.app, g.app)
			add(t, early, "written at once")
			add(t, g.app, "new")
			takeOver(t, g.session, 0)
			if got := g.session.Seen(); got != store.SeenNothing && !c.same { // there the numbers are those of the same transactions
				t.Errorf("the new leader has seen %s, want nothing", got)
			}
			if got := figures(t, g.store).BufferDepth; got != 3 {
				t.Errorf("depth: got %d, want the 3 that wait", got)
			}
			moveAll(t, g.session)
			exec(t, early, "COMMIT")
			moveAll(t, g.session)
			wantEqual(t, "log", tasks(readLog(t, g.store)), []string{"moved", "under way", "not moved", "new", "written at once"})
			noteLook(t, g)
			nextLeader(t, g)
			if got := g.session.Seen(); got == store.SeenNothing {
				t.Error("the leader after that has seen nothing, want it to go on")
			}
		})
	}
}

// A promoted standby has the transaction numbers of its primary: its first look is as
// small as any.
func TestLooksAfterPromotion(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, devpg.Config{Settings: map[string]string{"wal_level": "replica", "restore_command": "false"}})
	f := setupAt(t, migrated(t, server))
	takeOver(t, f.session, 0)
	add(t, f.app, "moved")
	noteLook(t, f)
	noted := value[string](t, f.app, "SELECT snapshot::text FROM taskfeed.looks")
	add(t, f.app, "not moved")
	promote(t, server)
	f.app = pgtest.Connect(t, f.url)
	eventually(t, "the end of recovery", func() bool { return !value[bool](t, f.app, "SELECT pg_is_in_recovery()") })
	f.session = openSession(t, f.store)
	if !takeOver(t, f.session, 0) {
		t.Error("ids did not jump after the timeline changed")
	}
	if got := f.session.Seen(); got != noted {
		t.Errorf("the new leader has seen %s, want the snapshot that was written down, %s", got, noted)
	}
	add(t, f.app, "new")
	wantEqual(t, "the first look", tasks(move(t, f.session).Events), []string{"not moved", "new"})
}

// Changes that were loaded by hand, with numbers of old transactions, are found in the
// end, in a table of any size, a few blocks at a time.
func TestSearchFindsWhatLooksPassOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	takeOver(t, f.session, 0)
	oldSnapshot(t, f)
	const blocks = store.SearchBlocks + store.SearchBlocks/2
	for i := 0; value[int](t, f.app, "SELECT pg_relation_size('taskfeed.changes')::int / 8192") < blocks; i++ {
		exec(t, f.app, `INSERT INTO taskfeed.changes (user_id, type, data)
			SELECT 'alice', 'note', jsonb_build_object('x', repeat('x', 500)) FROM generate_series(1, 2000)`)
		moveBacklog(t, f.session)
	}
	noteLook(t, f)
	exec(t, f.app, "INSERT INTO taskfeed.changes (xid, user_id, task_id, type, data) VALUES ('3', 'alice', 'passed over', 'note', '{}')")
	if m := move(t, f.session); m.Count > 0 {
		t.Fatalf("a look took %d changes, want it to pass over the one with an old number", m.Count)
	}
	var found []string
	for range 3 {
		f.session.SearchNow()
		found = append(found, tasks(move(t, f.session).Events)...)
	}
	wantEqual(t, "found", found, []string{"passed over"})
}

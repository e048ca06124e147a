package store_test

import (
	"context"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

func takeOver(t *testing.T, s *store.Session, seen taskfeed.Cursor) bool {
	t.Helper()
	jumped, err := s.TakeOver(t.Context(), seen)
	if err != nil {
		t.Fatalf("take over: %v", err)
	}
	return jumped
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		since string // what happened since an earlier leader wrote event 1
		seen  taskfeed.Cursor
		next  taskfeed.Cursor // id of the next event
	}{
		"the same cluster":              {seen: 1, next: 2},
		"a server that saw nothing yet": {seen: 0, next: 2},
		"another timeline": {
			since: "UPDATE taskfeed.log_state SET timeline = timeline + 1", seen: 1, next: 1 + store.JumpBy + 1},
		"another cluster": {
			since: "UPDATE taskfeed.log_state SET system_identifier = system_identifier - 1", seen: 1, next: 1 + store.JumpBy + 1},
		"events were seen that this log does not have": {seen: 500, next: 500 + store.JumpBy + 1},
		"both": {
			since: "UPDATE taskfeed.log_state SET timeline = timeline + 1", seen: 500, next: 500 + store.JumpBy + 1},
		"another timeline of a log that is far beyond": {
			since: "UPDATE taskfeed.log_state SET timeline = timeline + 1; SELECT setval('taskfeed.event_id', 7000)", seen: 3, next: 7000 + store.JumpBy + 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			if takeOver(t, f.session, 0) {
				t.Fatal("ids jumped at the very first takeover, want none")
			}
			add(t, f.app, "a")
			move(t, f.session)
			if c.since != "" {
				pgtest.Exec(t, f.url, c.since)
			}
			if got, want := takeOver(t, f.session, c.seen), c.next != 2; got != want {
				t.Errorf("jumped: got %t, want %t", got, want)
			}
			add(t, f.app, "b")
			if m := move(t, f.session); m.Last != c.next {
				t.Errorf("next id: got %d, want %d", m.Last, c.next)
			}
			if takeOver(t, f.session, c.next) {
				t.Error("ids jumped again, want once")
			}
		})
	}
}

// The next leader does not wait for ever for one that is in the middle of TakeOver, and
// a read-only database is an error.
func TestTakeOverRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.session.Conn(), "SET default_transaction_read_only = on")
	_, err := f.session.TakeOver(t.Context(), 0)
	wantCode(t, err, taskfeed.CodeUnavailable)
	if !mention(err, "read-only") || !f.session.Alive() {
		t.Errorf("error %v, session alive %t; want one that says read-only, and true", err, f.session.Alive())
	}
	exec(t, f.session.Conn(), "SET default_transaction_read_only = off")
	takeOver(t, f.session, 0)
}

// A standby that was behind is promoted: its timeline is new, and no id that the
// old server gave to an event is used again.
func nameOf(t *testing.T, s *store.Session) string {
	t.Helper()
	name, err := s.Name(t.Context())
	if err != nil {
		t.Fatalf("name the database: %v", err)
	}
	return name
}

func TestTakeOverAfterPromotion(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, devpg.Config{Settings: map[string]string{"wal_level": "replica", "restore_command": "false"}})
	url := migrated(t, server)
	st := openStore(t, store.Config{URL: url})
	app := pgtest.Connect(t, url)
	s := openSession(t, st)
	takeOver(t, s, 0)
	add(t, app, "a")
	seen := move(t, s).Last
	before, again := nameOf(t, s), nameOf(t, openSession(t, st))
	if before == "" || before != again {
		t.Errorf("the database is named %q and %q, want the same", before, again)
	}

	promote(t, server)
	app = pgtest.Connect(t, url)
	eventually(t, "the end of recovery", func() bool { return !value[bool](t, app, "SELECT pg_is_in_recovery()") })
	s = openSession(t, st)
	if after := nameOf(t, s); after == before {
		t.Errorf("the database is still named %q after the timeline changed", after)
	}
	if !takeOver(t, s, 0) {
		t.Error("ids did not jump after the timeline changed")
	}
	add(t, app, "b")
	if m := move(t, s); m.Last <= seen+store.JumpBy-1 {
		t.Errorf("next id: got %d, want one beyond %d", m.Last, seen+store.JumpBy)
	}
}

// Changes that an app commits asynchronously are on disk when they have been moved,
// because clients may see them.
func TestMoveFlushesWhatTheAppDidNot(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, devpg.Config{Settings: map[string]string{"synchronous_commit": "off", "wal_writer_delay": "10s"}})
	url := migrated(t, server)
	st := openStore(t, store.Config{URL: url})
	app := pgtest.Connect(t, url)
	s := openSession(t, st)
	addMany(t, app, "warm", 3)
	moveAll(t, s)
	for i := range 20 {
		addMany(t, app, string(rune('a'+i)), 2)
		if i < 19 {
			move(t, s)
		}
	}
	m := move(t, s)
	if err := server.Restart(context.WithoutCancel(t.Context()), devpg.Immediate); err != nil {
		t.Fatalf("restart: %v", err)
	}
	log := readLog(t, st)
	if len(log) != 43 || log[42].ID != m.Last {
		t.Errorf("after a crash the log has %d events, want the 43 that were moved", len(log))
	}
	app = pgtest.Connect(t, url)
	if n := value[int](t, app, "SELECT count(*)::int FROM taskfeed.tasks"); n != 43 {
		t.Errorf("after a crash there are %d tasks, want the 43 whose events were moved", n)
	}
}

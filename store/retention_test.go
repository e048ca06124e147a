package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

const width = taskfeed.Cursor(store.PartitionWidth)

func maintain(t *testing.T, f *fixture, retention time.Duration) {
	t.Helper()
	if err := f.session.Maintain(t.Context(), retention); err != nil {
		t.Fatalf("maintain: %v", err)
	}
}

// partitions lists the partitions of the log by name, the default one last.
func partitions(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, _ := conn.Query(t.Context(), "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'taskfeed.events'::regclass ORDER BY length(inhrelid::regclass::text), 1")
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("list partitions: %v", err)
	}
	return names
}

func events(ks ...int) []string {
	var all []string
	for _, k := range ks {
		all = append(all, fmt.Sprint("taskfeed.events_", k))
	}
	return append(all, "taskfeed.events_default")
}

// setHead makes id the last one drawn.
func setHead(t *testing.T, conn *pgx.Conn, id taskfeed.Cursor) {
	t.Helper()
	exec(t, conn, "SELECT setval('taskfeed.event_id', $1)", int64(id))
}

// age makes all events up to an id so old.
func age(t *testing.T, conn *pgx.Conn, through taskfeed.Cursor, old time.Duration) {
	t.Helper()
	exec(t, conn, "UPDATE taskfeed.events SET created_at = now() - $2::interval WHERE id <= $1", int64(through), old)
}

func TestMaintainMakesPartitionsAhead(t *testing.T) {
	t.Parallel()

	t.Run("one ahead of the head, once", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		for range 2 {
			maintain(t, f, 0)
			wantEqual(t, "partitions", partitions(t, f.app), events(0, 1))
		}
		setHead(t, f.app, width-1) // the next id is the first of partition 1
		maintain(t, f, 0)
		wantEqual(t, "partitions at the edge", partitions(t, f.app), events(0, 1, 2))
		add(t, f.app, "a")
		add(t, f.app, "b")
		if m := move(t, f.session); m.Last != width+1 {
			t.Errorf("last id: got %d, want %d", m.Last, width+1)
		}
		if n := value[int](t, f.app, "SELECT count(*)::int FROM ONLY taskfeed.events_1"); n != 2 {
			t.Errorf("events in partition 1: got %d, want 2", n)
		}
	})

	t.Run("a new partition is as the others", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		maintain(t, f, 0)
		const shape = `SELECT string_agg(regexp_replace(pg_get_indexdef(indexrelid), 'events_[0-9]+', 'P', 'g'), E'\n' ORDER BY indkey::text)
			|| (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1::regclass AND attnotnull AND attnum > 0)
			FROM pg_index WHERE indrelid = $1::regclass`
		if got, want := value[string](t, f.app, shape, "taskfeed.events_1"), value[string](t, f.app, shape, "taskfeed.events_0"); got != want {
			t.Errorf("indexes and constraints of a new partition:\n%s\nwant\n%s", got, want)
		}
		if got := value[string](t, f.app, "SELECT obj_description('taskfeed.events_1'::regclass)"); got == "" {
			t.Error("a new partition has no comment")
		}
	})

	t.Run("what waits in the default partition moves over", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		setHead(t, f.app, 3*width-2)
		addMany(t, f.app, "t", 5) // the last of partition 2, and four of partition 3
		moveAll(t, f.session)
		setHead(t, f.app, 7*width+5)
		addMany(t, f.app, "u", 2)
		moveAll(t, f.session)
		want := readLog(t, f.store)
		if n := value[int](t, f.app, "SELECT count(*)::int FROM taskfeed.events_default"); n != 7 {
			t.Fatalf("events in the default partition: got %d, want 7", n)
		}
		for range 2 { // each call takes the first partition that is missed, besides those at the head
			maintain(t, f, 0)
		}
		wantEqual(t, "partitions", partitions(t, f.app), events(0, 2, 3, 7, 8))
		if n := value[int](t, f.app, "SELECT count(*)::int FROM taskfeed.events_default"); n != 0 {
			t.Errorf("events left in the default partition: got %d, want 0", n)
		}
		got := readLog(t, f.store)
		wantEqual(t, "log", versions(got), versions(want))
		wantEqual(t, "ids", ids(got), ids(want))
	})
}

func TestMaintainDropsWhatExpired(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour

	t.Run("whole partitions, oldest first, and remembers how far", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		fillPartitions(t, f, 5, 10)
		wantEqual(t, "partitions before", partitions(t, f.app), events(0, 1, 2, 3, 4, 5))
		age(t, f.app, width+10, 40*day)  // partitions 0 and 1
		age(t, f.app, 2*width+9, 31*day) // all but the last event of partition 2; also 0 and 1, which stay old enough
		exec(t, f.app, "UPDATE taskfeed.events SET created_at = now() - interval '40 days' WHERE id > $1 AND id <= $1 + 5", int64(3*width))
		maintain(t, f, 30*day)
		wantEqual(t, "partitions after", partitions(t, f.app), events(2, 3, 4, 5))
		if got := value[int64](t, f.app, "SELECT expired_through FROM taskfeed.log_state"); got != int64(width+10) {
			t.Errorf("expired through: got %d, want %d", got, width+10)
		}
		for after, want := range map[taskfeed.Cursor]taskfeed.Code{0: "", width + 9: taskfeed.CodeGone, width + 10: "", 2 * width: ""} {
			_, _, _, err := f.store.After(t.Context(), taskfeed.Filter{All: true}, after, 10)
			if got := taskfeed.CodeOf(err); got != want {
				t.Errorf("after %d: code %q, want %q", after, got, want)
			}
		}
		if got := ids(readLog(t, f.store))[0]; got != 2*width+1 {
			t.Errorf("first event kept: got %d, want %d", got, 2*width+1)
		}
	})

	t.Run("never the current one, and an id never comes back", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		addMany(t, f.app, "t", 3)
		moveAll(t, f.session)
		age(t, f.app, 3, 90*day)
		maintain(t, f, 30*day) // begins partition 1, for the first event is too old for one partition's share
		wantEqual(t, "partitions", partitions(t, f.app), events(0, 1))
		maintain(t, f, 30*day)
		wantEqual(t, "partitions in the end", partitions(t, f.app), events(1, 2))
		if got, err := f.store.LastID(t.Context()); err != nil || got != 3 {
			t.Errorf("last id of an empty log: got %d (%v), want 3", got, err)
		}
		add(t, f.app, "new")
		m := move(t, f.session)
		wantEqual(t, "next id", []taskfeed.Cursor{m.Last}, []taskfeed.Cursor{width})
		wantEqual(t, "log", ids(readLog(t, f.store)), []taskfeed.Cursor{width})
		maintain(t, f, 30*day)
		wantEqual(t, "partitions with a young event", partitions(t, f.app), events(1, 2))
	})

	t.Run("nothing without a retention", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		fillPartitions(t, f, 3, 2)
		age(t, f.app, 3*width, 5000*day)
		for range 3 {
			maintain(t, f, 0)
		}
		wantEqual(t, "partitions", partitions(t, f.app), events(0, 1, 2, 3))
	})

	t.Run("an empty one below the head goes too", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		maintain(t, f, 0)
		setHead(t, f.app, 2*width+5)
		maintain(t, f, 0)
		maintain(t, f, day)
		wantEqual(t, "partitions", partitions(t, f.app), events(2, 3))
		if got := value[int64](t, f.app, "SELECT expired_through FROM taskfeed.log_state"); got != 0 {
			t.Errorf("expired through: got %d, want 0: no event was dropped", got)
		}
	})
}

func TestMaintainRotates(t *testing.T) {
	t.Parallel()
	f := setup(t)
	addMany(t, f.app, "t", 3)
	moveAll(t, f.session)
	next := func() taskfeed.Cursor {
		t.Helper()
		maintain(t, f, 30*24*time.Hour)
		add(t, f.app, fmt.Sprint("next", time.Now().UnixNano()))
		return move(t, f.session).Last
	}
	if got := next(); got != 4 {
		t.Errorf("next id: got %d, want 4: the partition is young", got)
	}
	age(t, f.app, 1, 23*time.Hour)
	if got := next(); got != 5 {
		t.Errorf("next id: got %d, want 5: the partition is younger than a thirtieth of the retention", got)
	}
	age(t, f.app, 1, 25*time.Hour)
	if got := next(); got != width {
		t.Errorf("next id: got %d, want %d, the first of the next partition", got, width)
	}
	if got := next(); got != width+1 {
		t.Errorf("next id: got %d, want %d: the new partition is young", got, width+1)
	}
	wantEqual(t, "partitions", partitions(t, f.app), events(0, 1, 2))
}

// When a lock is not free, Maintain soon returns an error, and sessions that queue
// behind it do not wait long.
func TestMaintainGivesUpOnLocks(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, f *fixture){
		"to make": func(t *testing.T, f *fixture) { setHead(t, f.app, 2*width+5) },
		"to drop": func(t *testing.T, f *fixture) { age(t, f.app, 2*width, time.Hour) },
		"to move in": func(t *testing.T, f *fixture) {
			setHead(t, f.app, 9*width)
			addMany(t, f.app, "t", 2)
			moveAll(t, f.session)
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			fillPartitions(t, f, 2, 5)
			prepare(t, f)
			before, log := partitions(t, f.app), ids(readLog(t, f.store))
			reader := f.begin(t)
			exec(t, reader, "SELECT FROM taskfeed.events")
			wantCode(t, f.session.Maintain(t.Context(), time.Minute), taskfeed.CodeUnavailable)
			if !f.session.Alive() {
				t.Fatal("the session is dead, want it alive")
			}
			exec(t, pgtest.Connect(t, f.url), "SET lock_timeout = '1ms'; SELECT FROM taskfeed.events; INSERT INTO taskfeed.tasks (user_id) VALUES ('bob')")
			wantEqual(t, "partitions while the lock is held", partitions(t, f.app), before)
			wantEqual(t, "log while the lock is held", ids(readLog(t, f.store)), log)
			if m := move(t, f.session); m.Count != 1 {
				t.Errorf("moved %d, want 1: moves go on", m.Count)
			}
			exec(t, reader, "COMMIT")
			maintain(t, f, time.Minute)
			if after := partitions(t, f.app); slices.Equal(after, before) {
				t.Errorf("partitions after the lock was freed: %v as before", after)
			}
		})
	}
}

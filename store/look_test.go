package store_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/store"
)

// While a transaction with many changes stays open for long, everybody else's changes
// arrive as usual, and a look reads no more than without it.
func TestLongTransaction(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const others, manyMoves, bound = 5000, 150, 20
	long := f.begin(t)
	addMany(t, long, "long", others)

	f.session.SetPages(1000, 1000, 100_000)
	for i := range manyMoves { // dead rows pile up behind the long transaction
		exec(t, f.app, "INSERT INTO taskfeed.tasks (id, user_id) SELECT $1 || '-' || i, 'alice' FROM generate_series(1, 20) AS i", fmt.Sprint(i))
		if m := move(t, f.session); m.Count != 20 || m.More {
			t.Fatalf("move %d took %d changes, more %t; want the 20 that were committed", i, m.Count, m.More)
		}
	}
	add(t, f.app, "one more")
	plan, err := f.session.ExplainLook(t.Context(), f.session.Seen())
	look := plans.Parse(t, plan, err)
	plan, err = f.session.ExplainLook(t.Context(), store.SeenNothing)
	full := plans.Parse(t, plan, err)
	if full.Blocks() < 3*bound {
		t.Fatalf("a full look reads %d buffers, want so many that this test means something", full.Blocks())
	}
	if got := look.Blocks(); got > bound {
		t.Errorf("a bounded look reads %d buffers, want at most %d; a full one reads %d", got, bound, full.Blocks())
	}
	look.Visit(func(n *plans.Node) {
		if n.Table == "changes" && n.Rows*n.Loops > 25 {
			t.Errorf("%s of %s returns %v rows for one change", n.Type, n.Table, n.Rows*n.Loops)
		}
	})
	wantEqual(t, "moved", tasks(move(t, f.session).Events), []string{"one more"})

	exec(t, long, "COMMIT")
	moved := 0
	for range 10 {
		m := move(t, f.session)
		if moved += m.Count; !m.More {
			break
		}
	}
	if moved != others {
		t.Errorf("after the long transaction %d changes moved, want its %d", moved, others)
	}
}

// The plans of a move do not depend on statistics.
func TestMovePlans(t *testing.T) {
	t.Parallel()
	empty := func(t *testing.T, f *fixture) { exec(t, f.app, "ANALYZE taskfeed.changes") }
	huge := func(t *testing.T, f *fixture) {
		addMany(t, f.app, "t", 5000)
		exec(t, f.app, "ANALYZE taskfeed.changes")
		moveBacklog(t, f.session)
		exec(t, f.app, "VACUUM taskfeed.changes")
	}
	for name, prepare := range map[string]func(*testing.T, *fixture){
		"never analyzed": func(*testing.T, *fixture) {}, "analyzed when empty": empty, "analyzed when huge": huge} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			prepare(t, f)
			move(t, f.session)
			addMany(t, f.app, "u", 300)
			plan, err := f.session.ExplainMove(t.Context(), 100)
			p := plans.Parse(t, plan, err)
			if p.Scans("Seq Scan") > 0 {
				t.Errorf("the move scans a whole table: %s", plan)
			}
			p.Visit(func(n *plans.Node) {
				if n.Table == "changes" && n.Rows*n.Loops > 300 {
					t.Errorf("%s of changes returns %v rows, want at most the 300 there are", n.Type, n.Rows*n.Loops)
				}
			})
			moveAll(t, f.session)
			if got := len(readLog(t, f.store)); got < 300 {
				t.Errorf("the log has %d events, want the 300", got)
			}
		})
	}
}

// Each page of a backlog reads its own rows, by their ctid.
func TestMoveBacklogPlan(t *testing.T) {
	t.Parallel()
	f := setup(t)
	addMany(t, f.app, "t", 2000)
	rows, _ := f.app.Query(t.Context(), "SELECT ctid, id FROM taskfeed.changes ORDER BY id LIMIT 100")
	var places []pgtype.TID
	var ids []int64
	var place pgtype.TID
	var id int64
	if _, err := pgx.ForEachRow(rows, []any{&place, &id}, func() error {
		places, ids = append(places, place), append(ids, id)
		return nil
	}); err != nil {
		t.Fatalf("read changes: %v", err)
	}
	both, err := f.session.ExplainMoveBacklog(t.Context(), places, ids)
	for _, plan := range both {
		p := plans.Parse(t, plan, err)
		if p.Scans("Tid Scan") != 1 || p.Scans("Seq Scan") > 0 {
			t.Errorf("a page of a backlog does not go by place alone: %s", plan)
		}
		p.Visit(func(n *plans.Node) {
			if n.Table == "changes" && n.Rows*n.Loops > 100 {
				t.Errorf("%s of changes returns %v rows for a page of 100", n.Type, n.Rows*n.Loops)
			}
		})
	}
}

// Replays walk the indexes of the partitions that they need, for any filter.
func TestAfterPlans(t *testing.T) {
	t.Parallel()
	f := setup(t)
	fillPartitions(t, f, 4, 20_000)
	const width = taskfeed.Cursor(store.PartitionWidth)
	cases := map[string]struct {
		filter     taskfeed.Filter
		after      taskfeed.Cursor
		partitions int // that hold events after it, the default one too
	}{
		"a user from the start":    {taskfeed.Filter{UserID: "user7"}, 1, 5},
		"a user of few events":     {taskfeed.Filter{UserID: "rare"}, 1, 5},
		"a user near the head":     {taskfeed.Filter{UserID: "user7"}, 3*width + 19_000, 2},
		"a user of whom is none":   {taskfeed.Filter{UserID: "nobody"}, 1, 5},
		"everybody":                {taskfeed.Filter{All: true}, 1, 5},
		"everybody near the head":  {taskfeed.Filter{All: true}, 3*width + 19_000, 2},
		"one task of everybody":    {taskfeed.Filter{All: true, TaskID: "task11"}, 1, 5},
		"one task of a user's own": {taskfeed.Filter{UserID: "user7", TaskID: "task7"}, 1, 5},
	}
	sessions := map[string]*pgx.Conn{"the pool's planner": pgtest.Connect(t, f.url), "a session's": f.session.Conn()}
	for name, c := range cases {
		for planner, conn := range sessions {
			const limit = 50
			plan, err := store.ExplainAfter(t.Context(), conn, c.filter, c.after, limit)
			p := plans.Parse(t, plan, err)
			rows := 0.0
			p.Visit(func(n *plans.Node) {
				if n.Type == "Seq Scan" && n.Loops > 0 && n.Table != "events_default" && n.Table != "events_4" {
					t.Errorf("%s, %s: scans all of %s", name, planner, n.Table)
				}
				if n.Table != "" {
					rows += n.Rows * n.Loops
				}
			})
			// Each branch (own, broadcasts) may look one row ahead in each partition.
			if most := float64(2 * (limit + 2*c.partitions)); rows > most {
				t.Errorf("%s, %s: reads %v rows for a page of %d, want at most %v", name, planner, rows, limit, most)
			}
			if p.Blocks() > 1500 {
				t.Errorf("%s, %s: reads %d buffers", name, planner, p.Blocks())
			}
		}
	}
}

// A log that grew since its statistics were taken is read page by page too. Replays
// once read everything that a client had missed, or the whole log, for each page.
func TestAfterPlansWithoutStatistics(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, `
		INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
		SELECT i, CASE WHEN i % 2 = 0 THEN 'alice' ELSE 'bob' END, 'task' || i % 2, 'task_progress', 1, '{"progress": 5}', now()
		FROM generate_series(1, 20000) AS i`)
	const limit = 50
	for _, filter := range []taskfeed.Filter{
		{UserID: "alice"},
		{UserID: "alice", TaskID: "task0"},
		{UserID: "alice", Types: []taskfeed.Type{taskfeed.TypeTaskProgress}},
		{UserID: "nobody"},
		{All: true},
		{All: true, TaskID: "task0"},
	} {
		plan, err := store.ExplainAfter(t.Context(), f.app, filter, 1, limit)
		p := plans.Parse(t, plan, err)
		rows := 0.0
		p.Visit(func(n *plans.Node) {
			if n.Table != "" {
				rows += n.Rows * n.Loops
			}
		})
		if rows > 2*limit || p.Blocks() > 100 {
			t.Errorf("%+v: reads %v rows and %d buffers for a page of %d, want at most %d and 100", filter, rows, p.Blocks(), limit, 2*limit)
		}
	}
}

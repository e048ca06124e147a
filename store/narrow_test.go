package store_test

import (
	"context"
	"slices"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/store"
)

// sqlLongFeed makes a log of 100,000 broadcasts, a task of alice's with 20,000
// events, and few of what is looked for.
const sqlLongFeed = `
	INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
	SELECT i, CASE WHEN i % 6 = 0 THEN 'alice' END, CASE WHEN i % 6 = 0 THEN 'secret' END,
	    CASE WHEN i IN (7, 60001, 119999) THEN 'rare' WHEN i % 6 = 0 THEN 'task_progress' ELSE 'common' END, i, '{}', now()
	FROM generate_series(1, 120000) AS i;
	INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at) VALUES (120001, 'bob', 'own', 'rare', 1, '{}', now());
	SELECT setval('taskfeed.event_id', 120001)`

// Twenty connections that asked for a type without events each read a log of a million
// broadcasts in one turn, and the replays of everybody waited. A read of a narrowed
// feed passes a bounded number of events, and still finds all that match.
func TestNarrowedReplay(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, sqlLongFeed)
	exec(t, f.app, `VACUUM ANALYZE taskfeed.events`)
	for name, c := range map[string]struct {
		filter taskfeed.Filter
		want   []taskfeed.Cursor
		reads  int // at most
	}{
		"no such type":                    {taskfeed.Filter{UserID: "bob", Types: []taskfeed.Type{"nothing"}}, nil, 22},
		"a rare type":                     {taskfeed.Filter{UserID: "bob", Types: []taskfeed.Type{"rare", "nothing"}}, []taskfeed.Cursor{7, 60001, 119999, 120001}, 22},
		"no such type of all":             {taskfeed.Filter{All: true, Types: []taskfeed.Type{"nothing"}}, nil, 26},
		"a task that does not exist":      {taskfeed.Filter{UserID: "bob", TaskID: "none"}, nil, 1},
		"another's task":                  {taskfeed.Filter{UserID: "bob", TaskID: "secret"}, nil, 1},
		"the own task":                    {taskfeed.Filter{UserID: "bob", TaskID: "own"}, []taskfeed.Cursor{120001}, 1},
		"a rare type of the own task":     {taskfeed.Filter{UserID: "bob", TaskID: "own", Types: []taskfeed.Type{"rare"}}, []taskfeed.Cursor{120001}, 1},
		"no such type of another's task":  {taskfeed.Filter{All: true, TaskID: "secret", Types: []taskfeed.Type{"nothing"}}, nil, 5},
		"a user of whom there is nothing": {taskfeed.Filter{UserID: "carol", Types: []taskfeed.Type{"rare"}}, []taskfeed.Cursor{7, 60001, 119999}, 22},
	} {
		t.Run(name, func(t *testing.T) {
			var got []taskfeed.Cursor
			reads, most := 0, 0
			for after, more := taskfeed.Cursor(1), true; more; reads++ {
				most = max(most, blocksOf(t, f, c.filter, after))
				events, through, again, err := f.store.After(t.Context(), c.filter, after, 100)
				if err != nil || again && through <= after {
					t.Fatalf("after %d: through %d, more %t, %v; want progress", after, through, again, err)
				}
				for _, e := range events {
					got = append(got, e.ID)
				}
				after, more = through, again
			}
			if !slices.Equal(got, c.want) || reads > c.reads {
				t.Errorf("found %v in %d reads, want %v in %d at most", got, reads, c.want, c.reads)
			}
			// Two walks, each once to measure and once to look, a page of the table at least for 50 events, those of the task being
			// among six times as many; and some ways down an index.
			bound := 4*store.MaxScan/50 + 10
			if c.filter.TaskID != "" {
				bound *= 2
			}
			if most > bound {
				t.Errorf("one read looks at %d blocks, want at most %d", most, bound)
			}
		})
	}
}

// blocksOf returns how many blocks one read of the feed looks at.
func blocksOf(t *testing.T, f *fixture, filter taskfeed.Filter, after taskfeed.Cursor) int {
	t.Helper()
	sum := 0
	for _, explain := range []func(context.Context) ([]byte, error){
		func(ctx context.Context) ([]byte, error) { return store.ExplainReach(ctx, f.app, filter, after) },
		func(ctx context.Context) ([]byte, error) {
			return store.ExplainAfter(ctx, f.app, filter, after, 100)
		},
	} {
		sum += leastBlocks(func() int {
			text, err := explain(t.Context())
			return plans.Parse(t, text, err).Blocks()
		})
	}
	return sum
}

// leastBlocks measures three times. A statement that runs right after an ANALYZE, which
// autovacuum may do at any time, looks at blocks of catalogs too.
func leastBlocks(measure func() int) int { return min(measure(), measure(), measure()) }

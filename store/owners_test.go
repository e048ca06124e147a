package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/plans"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// sqlOwned gives the task secret so many events more, nearly all of them alice's;
// bob and carol had it for a moment, and bob has a task of his own.
const sqlOwned = `
	INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
	SELECT last + i, CASE i % 1000 WHEN 7 THEN 'carol' WHEN 9 THEN 'dora' ELSE 'alice' END, 'secret',
	    CASE WHEN i % 10 = 0 THEN 'task_queued' ELSE 'task_progress' END, i, '{}', now()
	FROM generate_series(1, {n}) AS i, (SELECT coalesce(max(id), 0) AS last FROM taskfeed.events) AS log;
	INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
	SELECT last + i, 'bob', 'own', 'task_progress', i, '{}', now()
	FROM generate_series(1, 300) AS i, (SELECT max(id) AS last FROM taskfeed.events) AS log
	WHERE NOT EXISTS (SELECT FROM taskfeed.events WHERE user_id = 'bob')`

func addOwned(t *testing.T, conn *pgx.Conn, n int) {
	t.Helper()
	exec(t, conn, strings.ReplaceAll(sqlOwned, "{n}", strconv.Itoa(n)))
	exec(t, conn, "VACUUM ANALYZE taskfeed.events")
}

// readsOfTask are all ways to read a page of a task as one user or, without a user, as
// an admin.
func readsOfTask(userID, taskID string) map[string]func(*testing.T, *history.Reader) error {
	list := func(q history.EventQuery) func(*testing.T, *history.Reader) error {
		q.UserID, q.TaskID, q.Limit = userID, taskID, 50
		return func(t *testing.T, s *history.Reader) error {
			_, err := s.ListEvents(t.Context(), q)
			return err
		}
	}
	ofTime := list(history.EventQuery{Time: history.TimeRange{From: time.Unix(0, 0)}})
	if userID == "" { // sorts what all owners have, up to a bound
		ofTime = func(*testing.T, *history.Reader) error { return nil }
	}
	return map[string]func(*testing.T, *history.Reader) error{
		"a list of a time":       ofTime,
		"a list":                 list(history.EventQuery{}),
		"a list from the oldest": list(history.EventQuery{Sort: history.SortID}),
		"a list of one type":     list(history.EventQuery{Types: []taskfeed.Type{taskfeed.TypeTaskQueued}}),
		"an export": func(t *testing.T, s *history.Reader) error {
			for _, err := range s.ExportEvents(t.Context(), history.EventQuery{UserID: userID, TaskID: taskID}) {
				return err // of the first page
			}
			return nil
		},
		"a timeline": func(t *testing.T, s *history.Reader) error {
			if userID == "" { // also sums all up
				return nil
			}
			_, err := s.UserTaskEvents(t.Context(), []string{userID}, taskID, "", 50)
			if e, ok := errors.AsType[*taskfeed.Error](err); ok && e.Code == taskfeed.CodeNotFound {
				return nil
			}
			return err
		},
	}
}

// blocksOfReads returns how many blocks each way to read a task looks at.
func blocksOfReads(t *testing.T, f *fixture, recorded *plans.Recorder, s *history.Reader, userID, taskID string) map[string]int {
	t.Helper()
	blocksOf(t, f, taskfeed.Filter{UserID: userID, All: userID == "", TaskID: taskID, Types: []taskfeed.Type{"warm"}}, 1) // reads catalogs too
	blocks := map[string]int{}
	for name, read := range readsOfTask(userID, taskID) {
		recorded.Take()
		if err := read(t, s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, statement := range recorded.Take() {
			blocks[name] += leastBlocks(func() int { return statement.Explain(t, f.app).Blocks() })
		}
	}
	filter := taskfeed.Filter{UserID: userID, All: userID == "", TaskID: taskID}
	blocks["a feed"] = blocksOf(t, f, filter, 1)
	filter.Types = []taskfeed.Type{taskfeed.TypeTaskQueued}
	blocks["a feed of one type"] = blocksOf(t, f, filter, 1)
	return blocks
}

// The time of a read showed whether another user's task had many events, because they
// were all passed to find none of the reader's own.
func TestStrangersRead(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s, recorded := f.traced(t)
	addOwned(t, f.app, 2000)
	few := blocksOfReads(t, f, recorded, s, "bob", "secret")
	addOwned(t, f.app, 18_000)
	many := blocksOfReads(t, f, recorded, s, "bob", "secret")
	none := blocksOfReads(t, f, recorded, s, "bob", "none")
	const aPath = 6 // down an index or two, which may have grown by a level
	for name := range none {
		if few[name] > none[name]+aPath || many[name] > none[name]+aPath {
			t.Errorf("%s of another's task looks at %d blocks, at %d when it has ten times the events, want about the %d of a task that does not exist",
				name, few[name], many[name], none[name])
		}
	}
}

// An admin's page of a task reads along each of its owners no more than the page needs.
func TestOwnersInTurn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s, recorded := f.traced(t)
	addOwned(t, f.app, 2000)
	few := blocksOfReads(t, f, recorded, s, "", "secret")
	addOwned(t, f.app, 18_000)
	many := blocksOfReads(t, f, recorded, s, "", "secret")
	for name := range few {
		if most := few[name] + few[name]/2 + 100; many[name] > most && name != "a feed of one type" {
			t.Errorf("%s looks at %d blocks, want at most %d: ten times the events took %d", name, few[name], most, many[name])
		}
	}
}

// The events of all owners of a task are one feed, complete and in order, wherever its
// pages end.
func TestFeedOfManyOwners(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, fmt.Sprintf("CREATE TABLE taskfeed.events_1 PARTITION OF taskfeed.events FOR VALUES FROM (%d) TO (%d)", store.PartitionWidth, 2*store.PartitionWidth))
	exec(t, f.app, fmt.Sprintf(`
		INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
		SELECT %d + i, (ARRAY['alice', 'bob', NULL, '', 'ümit', repeat('u', 255)])[1 + i * i %% 6], CASE WHEN i %% 7 < 5 THEN 'shared' ELSE 'other' END,
		    CASE WHEN i %% 5 = 0 THEN 'rare' ELSE 'common' END, i, '{}', now()
		FROM generate_series(1, 400) AS i;
		SELECT setval('taskfeed.event_id', %d)`, store.PartitionWidth-200, store.PartitionWidth+200))
	for name, filter := range map[string]taskfeed.Filter{
		"all":       {All: true, TaskID: "shared"},
		"rare ones": {All: true, TaskID: "shared", Types: []taskfeed.Type{"rare"}},
		"one user":  {UserID: "bob", TaskID: "shared"},
		"a few":     {UserID: "ümit", TaskID: "shared", Types: []taskfeed.Type{"rare", "none"}},
	} {
		rows, _ := f.app.Query(t.Context(), `
			SELECT id
			FROM taskfeed.events
			WHERE task_id = 'shared'
			  AND ($1 OR user_id = $2 OR user_id IS NULL)
			  AND (cardinality($3::text[]) = 0 OR type = ANY ($3::text[]))
			ORDER BY id`, filter.All, filter.UserID, append([]taskfeed.Type{}, filter.Types...))
		want, err := pgx.CollectRows(rows, pgx.RowTo[taskfeed.Cursor])
		if err != nil || len(want) < 10 {
			t.Fatalf("%s: select %d ids: %v", name, len(want), err)
		}
		for _, limit := range []int{1, 7, 1000} {
			if got := ids(readFeed(t, f.store, filter, limit)); !slices.Equal(got, want) {
				t.Errorf("%s, %d a page:\ngot  %v\nwant %v", name, limit, got, want)
			}
		}
	}
}

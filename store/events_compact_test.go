package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/taskfeed/taskfeed"
)

// readCompact reads a feed to its end, page by page, and returns the ids.
func readCompact(t *testing.T, f *fixture, filter taskfeed.Filter, after taskfeed.Cursor, limit int) (ids []taskfeed.Cursor, pages int) {
	t.Helper()
	filter.Compact = true
	for {
		page, through, more, err := f.store.After(t.Context(), filter, after, limit)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		pages++
		for _, e := range page {
			if e.ID <= after || len(ids) > 0 && e.ID <= ids[len(ids)-1] {
				t.Fatalf("event %d comes after %v, from %d on", e.ID, ids, after)
			}
			ids = append(ids, e.ID)
		}
		if !more {
			return ids, pages
		}
		if through <= after {
			t.Fatalf("a page after %d is complete up to %d", after, through)
		}
		after = through
	}
}

// needed returns the ids of those events that the filter selects and that matter: after
// which no event of the same task comes that weighs as much.
func needed(log []taskfeed.Event, filter taskfeed.Filter, after taskfeed.Cursor) (ids []taskfeed.Cursor) {
	seen := make(map[string]int)
	for _, e := range slices.Backward(log) {
		if e.ID <= after || !filter.Match(&e) {
			continue
		}
		key, weight := e.UserID+"\n"+e.TaskID, e.Type.Weight()
		if weight > 0 && e.TaskID != "" {
			if weight <= seen[key] {
				continue
			}
			seen[key] = weight
		}
		ids = append(ids, e.ID)
	}
	slices.Reverse(ids)
	return ids
}

// A compact page has of each task its last state, and what came after it of progress and
// of standstill; what is no task's is complete.
func TestCompactPages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	random := rand.New(rand.NewPCG(1, 2))
	kinds := append(slices.Clone(taskfeed.TaskTypes), taskfeed.TypeTaskProgress, taskfeed.TypeTaskProgress, "mail")
	for range 600 {
		kind, task := kinds[random.IntN(len(kinds))], fmt.Sprint("t", random.IntN(12))
		var user, taskID any = []string{"alice", "bob", "team"}[random.IntN(3)], task
		if kind == "mail" {
			taskID = nil
			if random.IntN(3) == 0 {
				user = nil
			}
		}
		exec(t, f.app, `INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at) VALUES (nextval('taskfeed.event_id'), $1, $2, $3, CASE WHEN $2::text IS NOT NULL THEN 1 END, '{}', now())`, user, taskID, string(kind))
	}
	log := readLog(t, f.store)
	for name, filter := range map[string]taskfeed.Filter{
		"user": {UserID: "alice"}, "types": {UserID: "alice", Types: []taskfeed.Type{taskfeed.TypeTaskStarted, taskfeed.TypeTaskProgress, "mail"}},
		"groups": {UserID: "alice", Feeds: []string{"team"}}, "task": {UserID: "bob", TaskID: "t3"}, "all": {All: true}, "all of a task": {All: true, TaskID: "t3"},
		"groups and a task": {UserID: "alice", Feeds: []string{"bob"}, TaskID: "t5"}, "nobody": {UserID: "carol", Types: []taskfeed.Type{"nothing"}},
	} {
		for _, after := range []taskfeed.Cursor{0, 300} {
			want := needed(log, filter, after)
			for _, limit := range []int{2000, 7} {
				if got, _ := readCompact(t, f, filter, after, limit); !slices.Equal(got, want) {
					t.Errorf("%s after %d, %d at a time: got %v, want %v", name, after, limit, got, want)
				}
			}
		}
	}
}

// Two hundred times as many events as are needed are one page, and more than a page passes
// are several, each complete.
func TestLongCompactReplay(t *testing.T) {
	t.Parallel()
	f := setup(t)
	fill := func(n int) {
		exec(t, f.app, `INSERT INTO taskfeed.events (id, user_id, task_id, type, version, data, created_at)
			SELECT nextval('taskfeed.event_id'), 'alice', 't' || i % 50, CASE WHEN i % 97 = 0 THEN 'task_started' ELSE 'task_progress' END, i, '{"progress": 5}', now()
			FROM generate_series(1, $1::int) AS i`, n)
	}
	fill(10_000)
	ids, pages := readCompact(t, f, taskfeed.Filter{UserID: "alice"}, 0, 2000)
	if want := needed(readLog(t, f.store), taskfeed.Filter{UserID: "alice"}, 0); pages != 1 || len(ids) > 100 || !slices.Equal(ids, want) {
		t.Errorf("%d events in %d pages, want the %d that matter in one", len(ids), pages, len(want))
	}
	fill(35_000)
	ids, pages = readCompact(t, f, taskfeed.Filter{UserID: "alice"}, 0, 2000)
	want := needed(readLog(t, f.store), taskfeed.Filter{UserID: "alice"}, 0)
	if pages != 3 || len(ids) > 300 || slices.ContainsFunc(want, func(id taskfeed.Cursor) bool { return !slices.Contains(ids, id) }) {
		t.Errorf("%d events in %d pages, want at most 100 in each of three, and all %d that matter", len(ids), pages, len(want))
	}
}

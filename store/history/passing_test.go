package history_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/history"
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

// A list of a type without events read the whole log for one page, and twenty of them
// at a time scanned it twenty times. A page passes a bounded number of events; all
// pages together have what a plain SELECT finds.
func TestListsThatFindLittle(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, sqlLongFeed)
	exec(t, f.app, "VACUUM ANALYZE taskfeed.events")
	s, recorded := traced(t, f.store)
	const scan, limit = 5000, 50
	s.SetScan(scan)
	nothing, rare := []taskfeed.Type{"nothing"}, []taskfeed.Type{"rare", "nothing"}
	now := value[time.Time](t, f.app, "SELECT now()")
	ever := history.TimeRange{To: now.Add(time.Hour)}
	never := history.TimeRange{From: now.Add(time.Hour)}
	for name, c := range map[string]struct {
		q     history.EventQuery
		pages int // at most
		rows  int // of one statement, in times of scan
	}{
		"no such type":                 {history.EventQuery{Types: nothing}, 26, 1},
		"a rare type":                  {history.EventQuery{Types: rare}, 26, 1},
		"a rare type from the oldest":  {history.EventQuery{Types: rare, Sort: history.SortID}, 26, 1},
		"no such type of a user":       {history.EventQuery{UserID: "alice", Types: nothing}, 6, 1},
		"a rare type and broadcasts":   {history.EventQuery{UserID: "bob", IncludeBroadcast: true, Types: rare}, 22, 2},
		"no such type of a task":       {history.EventQuery{TaskID: "secret", Types: nothing}, 6, 1},
		"another's task":               {history.EventQuery{TaskID: "secret", UserID: "bob", Types: rare}, 1, 0},
		"another's task of a time":     {history.EventQuery{TaskID: "secret", UserID: "bob", Time: ever}, 1, 0},
		"a rare type of a time":        {history.EventQuery{Types: rare, Time: ever}, 26, 1},
		"a time without any":           {history.EventQuery{Time: never}, 1, 0},
		"a user who has much, by time": {history.EventQuery{UserID: "alice", Types: rare, Time: ever}, 26, 1},
		"a user who has little":        {history.EventQuery{UserID: "bob", Types: rare, Time: ever}, 1, 0},
		"a task that has much":         {history.EventQuery{TaskID: "secret", Types: nothing, Time: ever, Sort: history.SortID}, 26, 1},
		"broadcasts, by time":          {history.EventQuery{UserID: "bob", IncludeBroadcast: true, Types: rare, Time: ever}, 26, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.Limit = limit
			pages := 0
			got := eventIDs(listEvents(t, s, c.q, func() { pages++ }))
			if want := selected(t, f.app, c.q); !slices.Equal(got, want) || pages >= c.pages {
				t.Errorf("got %v in %d pages, want %v in %d at most", got, pages+1, want, c.pages)
			}
			for _, statement := range recorded.Take() {
				wantIndexed(t, f.app, statement, float64(c.rows*scan+4*limit), "")
			}
		})
	}
	t.Run("an export goes on over pages without any", func(t *testing.T) {
		q := history.EventQuery{Types: rare}
		if got, want := eventIDs(exported(t, s.ExportEvents(t.Context(), q))), selected(t, f.app, q); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// selected returns what q selects, in its order, by one plain SELECT.
func selected(t *testing.T, conn *pgx.Conn, q history.EventQuery) []taskfeed.Cursor {
	t.Helper()
	types := []string{}
	for _, k := range q.Types {
		types = append(types, string(k))
	}
	to := q.Time.To
	if to.IsZero() {
		to = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	rows, _ := conn.Query(t.Context(), `
		SELECT id
		FROM taskfeed.events
		WHERE (@user_id = '' OR user_id = @user_id OR @broadcasts AND user_id IS NULL)
		  AND (@task_id = '' OR task_id = @task_id)
		  AND (cardinality(@types::text[]) = 0 OR type = ANY (@types::text[]))
		  AND created_at >= @from
		  AND created_at < @to
		ORDER BY id`, pgx.NamedArgs{"user_id": q.UserID, "broadcasts": q.IncludeBroadcast, "task_id": q.TaskID, "types": types, "from": q.Time.From, "to": to})
	ids, err := pgx.CollectRows(rows, pgx.RowTo[taskfeed.Cursor])
	if err != nil {
		t.Fatalf("select: %v", err)
	}
	if q.Sort != history.SortID {
		slices.Reverse(ids)
	}
	return ids
}

package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
	"github.com/taskfeed/taskfeed/store/internal/walk"
)

// A compact page leaves out events of tasks that a later event of the page's range
// outweighs, see taskfeed.Filter. The range is long, because what it leaves out costs
// little: the walks read the narrow columns, and only what is left is fetched. What comes
// after the range is not looked at, so a page may end with events that the next outweighs.

const (
	// compactScan is how many events the walks of a compact page pass together.
	compactScan = 20_000
	// leastCompactScan is the least that one of many walks passes.
	leastCompactScan = 500
)

// compactStatement returns the statement of a compact page. Its rows end with how many
// events there were to choose from, up to the limit, and with up to where the page is
// complete, 0 for to the end. There is at least one row; with id 0 it is no event. With
// BETWEEN in place of "=" the order counts, which only the primary key has.
func compactStatement(f taskfeed.Filter) string {
	perWalk := "\n        GROUP BY user_id" // each walk has one user or group, or the broadcasts
	if f.All && f.TaskID == "" {
		perWalk = ""
	}
	types := ""
	if len(f.Types) > 0 {
		types = "\n      AND type = ANY (@types::text[])"
	}
	return `
WITH passed AS MATERIALIZED (
` + walk.Indent(1, walksOf(f, "id, user_id, task_id, type", func(walk.Walk) string { return "LIMIT @scan" }, "id > @after")) + `
), complete AS (
    SELECT coalesce(min(last), 0) AS through
    FROM (
        SELECT max(id) AS last
        FROM passed` + perWalk + `
        HAVING count(*) >= @scan) AS ends
), wanted AS MATERIALIZED (
    SELECT id, user_id, task_id, type
    FROM passed
    WHERE (id <= (SELECT through FROM complete) OR (SELECT through FROM complete) = 0)` + types + `
), last AS (
    SELECT max(id) FILTER (WHERE type = ANY (@states::text[])) AS state,
           max(id) FILTER (WHERE type = ANY (@progress::text[])) AS progress,
           max(id) FILTER (WHERE type = ANY (@stalled::text[])) AS stalled
    FROM wanted
    WHERE task_id IS NOT NULL
    GROUP BY user_id, task_id
), picked AS (
    SELECT id
    FROM wanted
    WHERE task_id IS NULL
       OR type <> ALL (@states::text[] || @progress::text[] || @stalled::text[])
    UNION ALL
    SELECT state FROM last WHERE state IS NOT NULL
    UNION ALL
    SELECT progress FROM last WHERE progress > coalesce(state, 0)
    UNION ALL
    SELECT stalled FROM last WHERE stalled > coalesce(greatest(state, progress), 0)
)
SELECT coalesce(id, 0) AS id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, coalesce(type, '') AS type,
       coalesce(version, 0) AS version, data, coalesce(created_at, '2000-01-01') AS created_at, coalesce(candidates, 0) AS candidates, through
FROM complete
LEFT JOIN (
    SELECT ` + eventlog.Columns + `, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT e.id, e.user_id, e.task_id, e.type, e.version, e.data, e.created_at, e.size
        FROM (
            SELECT id
            FROM picked
            ORDER BY id
            LIMIT @limit) AS p
        CROSS JOIN LATERAL (
            SELECT ` + eventlog.Columns + `, ` + eventlog.DataSize + ` AS size
            FROM taskfeed.events
            WHERE id BETWEEN p.id AND p.id
            ORDER BY id
            LIMIT 1) AS e) AS sized) AS summed ON earlier < @bytes
ORDER BY id`
}

// typesByWeight are the types of tasks' events by what they outweigh.
func typesByWeight() (types [taskfeed.WeightState + 1][]string) {
	for _, t := range taskfeed.TaskTypes {
		types[t.Weight()] = append(types[t.Weight()], string(t))
	}
	return types
}

// compactAfter reads a compact page.
func compactAfter(ctx context.Context, db pg.Querier, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	var expired, complete taskfeed.Cursor
	var candidates int
	args := pageArgs(f, after, extent{events: limit, bytes: maxPageBytes})
	args["scan"] = max(compactScan/(1+len(f.Feeds)), leastCompactScan)
	weights := typesByWeight()
	args["stalled"], args["progress"], args["states"] = weights[taskfeed.WeightStalled], weights[taskfeed.WeightProgress], weights[taskfeed.WeightState]
	batch := &pgx.Batch{} // one transaction
	batch.Queue(pg.WalkIndexes)
	batch.Queue(compactStatement(f), args).Query(func(rows pgx.Rows) (err error) {
		events, _, err = eventlog.Collect(rows, maxPageBytes, eventlog.Bytes, func(row pgx.CollectableRow, _ ...any) (e taskfeed.Event, err error) {
			return e, row.Scan(append(eventlog.Targets(&e), &candidates, (*int64)(&complete))...)
		})
		return err
	})
	batch.Queue(sqlExpiredThrough).QueryRow(func(row pgx.Row) error { return row.Scan(&expired) }) // see readEvents
	if err := db.SendBatch(ctx, batch).Close(); err != nil {
		return nil, 0, false, pg.Wrap(fmt.Sprintf("read events after %s", after), err)
	}
	if after > 0 && after < expired {
		return nil, 0, false, gone(after)
	}
	if len(events) == 1 && events[0].ID == 0 {
		events = nil
	}
	if n := len(events); n > 0 && (candidates == limit || candidates > n) {
		return events, events[n-1].ID, true, nil
	}
	return events, complete, complete > 0, nil
}

func gone(after taskfeed.Cursor) error {
	return &taskfeed.Error{Code: taskfeed.CodeGone,
		Message: fmt.Sprintf("events after %s are no longer kept: list the tasks again and go on from their cursor", after)}
}

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A queue cleans its rows away, or keeps them for ever. Tasks of attached tables that
// ended stay in the lists for as long as the log keeps events, whatever the queue
// does; those of a table that was detached do whether they ended or not.

// sqlSourceNames reads one row of the index for each name, however many tasks it has.
const sqlSourceNames = `
WITH RECURSIVE names (name) AS (
    SELECT min(source) FROM taskfeed.tasks WHERE source IS NOT NULL
    UNION ALL
    SELECT (SELECT min(t.source) FROM taskfeed.tasks AS t WHERE t.source > n.name)
    FROM names AS n
    WHERE n.name IS NOT NULL
)
SELECT n.name, n.name NOT LIKE '-%' AND EXISTS (SELECT FROM taskfeed.sources AS s WHERE s.name = n.name)
FROM names AS n
WHERE n.name IS NOT NULL
LIMIT 1000`

const sqlEnded = `t.id = ANY (ARRAY(
    SELECT e.id
    FROM taskfeed.tasks AS e
    WHERE e.source = @source
      AND e.updated_hour < clock_timestamp() - @age::interval
      AND (NOT @attached OR e.status NOT IN ('queued', 'running'))
    ORDER BY e.updated_hour
    LIMIT @most::integer))`

const (
	endedPage   = 5000 // tasks in one transaction
	endedRounds = 20
)

// dropEnded deletes tasks of attached tables whose last change is older than age,
// up to 100,000 of each table: the rest is for the next call.
func (s *Session) dropEnded(ctx context.Context, age time.Duration) error {
	rows, err := s.conn.Query(ctx, sqlSourceNames)
	if err != nil {
		return pg.Wrap("list the sources of tasks", err)
	}
	type source struct {
		Name     string
		Attached bool
	}
	sources, err := pgx.CollectRows(rows, pgx.RowToStructByPos[source])
	if err != nil {
		return pg.Wrap("list the sources of tasks", err)
	}
	for _, of := range sources {
		for range endedRounds {
			n, err := s.dropEndedOf(ctx, of.Name, pgx.NamedArgs{"source": of.Name, "age": age, "attached": of.Attached, "most": endedPage})
			if err != nil {
				return err
			}
			if n < endedPage {
				break
			}
		}
	}
	return nil
}

// dropEndedOf deletes one page.
func (s *Session) dropEndedOf(ctx context.Context, name string, args pgx.NamedArgs) (n int, err error) {
	err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlFolding); err != nil {
			return err
		}
		f := foldTx{s: s, tx: tx}
		n, err = f.deleteTasks(ctx, sqlEnded, args)
		return err
	})
	return n, pg.Wrap("delete old tasks of "+name, err)
}

package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/history"
	"github.com/taskfeed/taskfeed/migrations"
)

// checkSchema returns an error if the schema of a user's database is not current: a
// run does not migrate it. It also refuses a database in which deleting tasks could run
// code of other roles.
func (r *round) checkSchema(ctx context.Context) error {
	v, err := migrations.Read(ctx, r.db.direct())
	switch {
	case err != nil:
		return err
	case !v.Current():
		return fmt.Errorf("%v: run taskfeed migrate up first", v)
	}
	return r.db.exec(ctx, query.RefuseBound)
}

// sqlDump selects the events of the run's users, whose ids have the run's prefix, and
// broadcasts, which clients get too.
const sqlDump = `
SELECT id, coalesce(user_id, ''), coalesce(task_id, ''), type, coalesce(version, 0), data::text
FROM taskfeed.events
WHERE starts_with(user_id, $1) OR user_id IS NULL
ORDER BY id`

// dumpLog writes the log of events into the history.
func (r *round) dumpLog(ctx context.Context) error {
	out, err := history.Create(r.dir, "log.jsonl")
	if err != nil {
		return err
	}
	conn, err := r.db.connect(ctx)
	if err != nil {
		return errors.Join(err, out.Close())
	}
	defer query.Close(conn)
	rows, _ := conn.Query(ctx, sqlDump, r.prefix) // ForEachRow returns the error
	var e history.Event
	_, err = pgx.ForEachRow(rows, []any{&e.ID, &e.User, &e.Task, &e.Type, &e.Version, &e.Data}, func() error {
		out.Append(e)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("read the log of events: %w", err)
	}
	return errors.Join(err, out.Close())
}

// cleanUp removes the run's rows from a database of the user's own. The deletion of
// its tasks makes changes, which it deletes too; the servers of the run have ended, so
// only a server of the user could move some of them into the log first.
func (r *round) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // also when the run was interrupted
	defer cancel()
	statements := []string{query.RefuseBound}
	for _, sql := range []string{
		"DELETE FROM taskfeed.tasks WHERE starts_with(id, %s)",
		"DELETE FROM taskfeed.changes WHERE starts_with(user_id, %s)",
		"DELETE FROM taskfeed.events WHERE starts_with(user_id, %s)",
	} {
		statements = append(statements, fmt.Sprintf(sql, "'"+r.prefix+"'"))
	}
	if err := r.db.exec(ctx, strings.Join(statements, ";")); err != nil {
		return fmt.Errorf("clean up what the run has written (ids that begin with %q): %w", r.prefix, err)
	}
	return nil
}

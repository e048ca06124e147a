package verify

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// A table of the app is attached. Each user has a row in it that all writers of jobs
// change and that never ends. Before it was attached there were rows that had ended and
// rows that nobody changes.
const (
	jobsTable = "app.jobs"
	marks     = opsSchema + ".marks"

	sqlJobs = `
CREATE SCHEMA app;
CREATE TABLE app.jobs (
    id       bigint PRIMARY KEY,
    customer text,
    state    text NOT NULL,
    job_type text,
    done     integer NOT NULL DEFAULT 0,
    total    integer NOT NULL DEFAULT 50,
    note     text,
    failure  text,
    worker   text,
    touched  timestamptz
);
CREATE TABLE ` + marks + ` (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mark text NOT NULL)`

	sqlFirstJobs = `
INSERT INTO app.jobs (id, customer, state, job_type, note)
SELECT u.n + r.more, u.id, r.state, 'import', 'first ' || u.canary
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u (id, canary, n)
CROSS JOIN (VALUES (0, 'working'), (100, 'done'), (200, 'pending')) AS r (more, state)`

	jobsMapping = `{"user": "customer", "status": "state", "progress": {"done": "done", "total": "%s"}, "message": "note", "kind": "job_type", "error": "failure",
    "map": {"pending": "queued", "retrying": "queued", "working": "running", "done": "completed", "finished": "completed", "error": "failed", "stopped": "canceled", "hidden": "none"},
    "on_delete": {"queued": "canceled", "running": "deleted", "final": "keep"}}`

	sqlAttachJobs = `SELECT taskfeed.attach('` + jobsTable + `', 'jobs', $1)`
)

// What the judge must know of the attached table is marked in the transactions that
// change it. They lock the table, so each write of a job commits before or after.
const (
	markAttached  = "attached"  // the mapping works, and all rows are read again
	markBroken    = "broken"    // the mapping fails
	markUnwatched = "unwatched" // nothing is captured
	markDeleted   = "deleted"   // nothing is captured, and all tasks are deleted
	markAgain     = "again"     // rows are compared with their tasks, and read again
	markFilled    = "filled"    // all rows were read since the table was attached
	markCompared  = "compared"  // that is done
)

// Writers of jobs, and their rate.
const (
	jobWriters   = 2
	jobRate      = 6
	jobIDs       = 1_000_000 // of each
	fillPatience = 30 * time.Second
)

// attaches reports whether the round has an attached table. Mistakes elsewhere in the
// product are looked for without: pages that hold its facts are moved by other code.
func (r *round) attaches() bool {
	return r.private() && (r.cfg.Mutation == "" || r.sourceFaults())
}

// sourceFaults reports whether faults of the attached table were asked for by name.
func (r *round) sourceFaults() bool {
	return slices.ContainsFunc(r.cfg.Faults, func(name string) bool { return strings.HasPrefix(name, "source-") })
}

// makeJobs makes the table with its first rows, and attaches it.
func (r *round) makeJobs(ctx context.Context) error {
	if !r.attaches() {
		return nil
	}
	var ids, canaries []string
	for _, u := range r.users[:activeUsers] {
		ids, canaries = append(ids, u.ID), append(canaries, u.Canary)
	}
	if err := r.db.exec(ctx, sqlJobs); err != nil {
		return fmt.Errorf("make the table %s: %w", jobsTable, err)
	}
	return r.change(ctx, markAttached, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlFirstJobs, ids, canaries); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlAttachJobs, fmt.Sprintf(jobsMapping, "total"))
		return err
	})
}

// change runs a transaction that changes the attachment. Its mark comes first where
// what follows is not captured, and last where it is.
func (r *round) change(ctx context.Context, mark string, work func(pgx.Tx) error) error {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer query.Close(conn)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `LOCK TABLE `+jobsTable+` IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		put := func() error {
			_, err := tx.Exec(ctx, `INSERT INTO `+marks+` (mark) VALUES ($1)`, mark)
			return err
		}
		if mark == markAttached {
			return errors.Join(work(tx), put())
		}
		return errors.Join(put(), work(tx))
	})
}

// totalColumn is the column that the mapping reads the total from, and that other
// migrations of the app rename.
func (r *round) totalColumn(ctx context.Context) (now, other string, err error) {
	now, err = one[string](ctx, r.db, `SELECT attname::text FROM pg_attribute WHERE attrelid = '`+jobsTable+`'::regclass AND attname IN ('total', 'amount')`)
	if now == "total" {
		return now, "amount", err
	}
	return now, "total", err
}

const sqlFilled = `
SELECT st.revision = s.revision AND st.filled
FROM taskfeed.sources AS s
LEFT JOIN taskfeed.source_states AS st ON st.name = s.name
WHERE s.name = 'jobs'`

// attachAgain attaches the table as it is now and waits until its rows were read.
func (r *round) attachAgain(ctx context.Context) error {
	err := await(ctx, fillPatience, func() error {
		column, _, err := r.totalColumn(ctx)
		if err != nil {
			return err
		}
		return r.change(ctx, markAttached, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, sqlAttachJobs, fmt.Sprintf(jobsMapping, column))
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("attach %s again: %w", jobsTable, err)
	}
	if err := r.awaitFilled(ctx); err != nil {
		return err
	}
	return r.mark(ctx, markFilled)
}

// mark marks what was found out about the attachment.
func (r *round) mark(ctx context.Context, what string) error {
	return r.db.exec(ctx, fmt.Sprintf(`INSERT INTO %s (mark) VALUES ('%s')`, marks, what))
}

func (r *round) awaitFilled(ctx context.Context) error {
	return await(ctx, fillPatience, func() error {
		filled, err := one[*bool](ctx, r.db, sqlFilled)
		if err == nil && (filled == nil || !*filled) {
			err = errors.New("the rows of the attached table were not read again")
		}
		return err
	})
}

// compare has the rows compared with their tasks, as an operator does after changes
// that nobody captured, and read again.
func (r *round) compare(ctx context.Context) error {
	err := await(ctx, fillPatience, func() error {
		if err := r.mark(ctx, markAgain); err != nil {
			return err
		}
		if err := r.runTaskfeed(ctx, "sources", "--read-again", "jobs"); err != nil {
			return err
		}
		return r.mark(ctx, markCompared)
	})
	return errors.Join(err, r.awaitFilled(ctx))
}

// runTaskfeed runs a command of the binary under test on the database, without a proxy.
func (r *round) runTaskfeed(ctx context.Context, args ...string) error {
	return runOn(ctx, r.cfg.Binary, r.db.direct(), args...)
}

func runOn(ctx context.Context, binary, url string, args ...string) error {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = []string{"DATABASE_URL=" + url}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("taskfeed %s: %w: %.500s", strings.Join(args, " "), err, out)
	}
	return nil
}

// startJobWriters starts the writers of jobs, which are writers like the others.
func (r *round) startJobWriters() error {
	if !r.attaches() {
		return nil
	}
	for i := range jobWriters {
		name := fmt.Sprintf("j%d", i+1)
		config := r.writerConfig(name)
		config.Rate, config.FirstJob = jobRate, int64(i+1)*jobIDs
		p, err := r.startActor(name, "verify-writer", config)
		if err != nil {
			return err
		}
		r.writers, r.jobWriters = append(r.writers, p), append(r.jobWriters, p)
	}
	return nil
}

// stirJobs has the writers of jobs write or pause. While they pause, pages of the log
// have no facts of attached tables and are moved as without any.
func (r *round) stirJobs(on bool) {
	_ = tell(r.jobWriters, actor.Command{Do: actor.DoPause, On: on}) // one that has ended is noticed at the end
}

// jobsRow returns the row of a job or a mark as the history keeps it.
func (c *change) jobsRow() (r history.Row, ok bool) {
	switch c.table {
	case jobsTable:
		return history.Row{Table: "jobs", Change: c.op, Columns: c.columns}, true
	case marks:
		return history.Row{Table: "marks", Change: c.op, Columns: c.columns}, c.op == "INSERT"
	}
	return history.Row{}, false
}

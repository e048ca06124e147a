package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/pause"
)

// The demo is an app like any other: it writes tasks in plain SQL and uses no other
// table of taskfeed's than taskfeed.tasks. A part of its tasks are rows of a table of
// its own, see demoexports.go.

const (
	demoStep  = 400 * time.Millisecond // between two changes of one user
	demoBusy  = 3                      // unfinished tasks of one user
	demoKept  = 12                     // finished tasks that are kept
	demoRetry = 2 * time.Second        // after the database failed
	demoTurns = 3                      // every third change is one of an export
)

var demoKinds = []struct {
	kind  string
	steps []string
}{
	{"export", []string{"collecting rows", "writing CSV", "compressing", "uploading"}},
	{"render", []string{"loading scene", "ray tracing", "denoising", "encoding"}},
	{"import", []string{"reading file", "checking rows", "inserting", "indexing"}},
	{"summary", []string{"reading documents", "thinking", "writing", "checking sources"}},
}

const sqlDemoUnderWay = `
SELECT id, kind, progress
FROM taskfeed.tasks
WHERE user_id = @user
  AND status IN ('queued', 'running')
  AND id LIKE 'demo-%'
ORDER BY created_at
LIMIT @limit`

const sqlDemoCreate = `
INSERT INTO taskfeed.tasks (id, user_id, kind)
VALUES ('demo-' || left(md5(random()::text), 8), @user, @kind)`

const sqlDemoAdvance = `
UPDATE taskfeed.tasks
SET status = 'running', progress = @progress, message = @message
WHERE id = @id`

const sqlDemoComplete = `
UPDATE taskfeed.tasks
SET status = 'completed', progress = 100, message = 'done', result = jsonb_build_object('rows', @rows::int)
WHERE id = @id`

const sqlDemoFail = `
UPDATE taskfeed.tasks
SET status = 'failed', error = 'the disk is full: free some space and start again'
WHERE id = @id`

// demoTeam is a group: whose token lists it sees its tasks besides their own.
const demoTeam = "team:demo"

// demoTopic is the topic of the messages with which users cancel tasks.
const demoTopic = "cancel"

// A message is taken and obeyed in one transaction: it is done once, or not at all.
const sqlDemoCancel = `
WITH received AS (
    SELECT user_id, task_id
    FROM taskfeed.receive(@topic, 100)
), exports AS (
    UPDATE demo.exports AS e
    SET state = 'stopped'
    FROM received AS r
    WHERE 'exports:' || e.id = r.task_id
      AND e.state IN ('pending', 'working')
)
UPDATE taskfeed.tasks AS t
SET status = 'canceled', message = 'canceled by ' || r.user_id
FROM received AS r
WHERE t.id = r.task_id
  AND t.source IS NULL
  AND t.status IN ('queued', 'running')`

const sqlDemoTidy = `
DELETE FROM taskfeed.tasks
WHERE id IN (
    SELECT id
    FROM taskfeed.tasks
    WHERE user_id = @user
      AND status NOT IN ('queued', 'running')
      AND id LIKE 'demo-%'
    ORDER BY created_at DESC
    OFFSET @kept)`

// runDemo creates and progresses tasks of alice, bob and their team until ctx is done. While the
// database is down it waits.
func runDemo(ctx context.Context, databaseURL string, logger *slog.Logger) error {
	cfg, err := dial.Config{URL: databaseURL, Name: "taskfeed demo"}.Pool()
	if err != nil {
		return err
	}
	db, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer db.Close()
	users := []string{"alice", "bob", demoTeam}
	wait, attached := demoStep, false
	for i := 0; ; i++ {
		if !pause.For(ctx, wait) {
			return nil
		}
		wait = demoStep / time.Duration(len(users))
		work := demoTick
		if i%demoTurns == 0 {
			work = demoExport
		}
		err := error(nil)
		if !attached {
			err = demoAttach(ctx, db)
			attached = err == nil
		}
		if err == nil {
			err = errors.Join(demoCancel(ctx, db), work(ctx, db, users[i%len(users)]))
		}
		if err != nil && ctx.Err() == nil {
			logger.Warn("the demo waits for the database", "error", err)
			wait = demoRetry
		}
	}
}

// demoTick makes one change to the tasks of a user.
func demoTick(ctx context.Context, db *pgxpool.Pool, user string) error {
	type task struct {
		ID       string
		Kind     string
		Progress int
	}
	rows, err := db.Query(ctx, sqlDemoUnderWay, pgx.NamedArgs{"user": user, "limit": demoBusy})
	if err != nil {
		return err
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[task])
	if err != nil {
		return err
	}
	if len(tasks) < demoBusy && rand.N(3) == 0 || len(tasks) == 0 {
		kind := demoKinds[rand.N(len(demoKinds))]
		if _, err := db.Exec(ctx, sqlDemoTidy, pgx.NamedArgs{"user": user, "kept": demoKept}); err != nil {
			return err
		}
		_, err := db.Exec(ctx, sqlDemoCreate, pgx.NamedArgs{"user": user, "kind": kind.kind})
		return err
	}
	t := tasks[rand.N(len(tasks))]
	progress := t.Progress + 2 + rand.N(12)
	switch {
	case progress >= 100:
		_, err = db.Exec(ctx, sqlDemoComplete, pgx.NamedArgs{"id": t.ID, "rows": 100 + rand.N(9900)})
	case progress > 40 && rand.N(60) == 0:
		_, err = db.Exec(ctx, sqlDemoFail, pgx.NamedArgs{"id": t.ID})
	default:
		_, err = db.Exec(ctx, sqlDemoAdvance, pgx.NamedArgs{"id": t.ID, "progress": progress, "message": demoMessage(t.Kind, progress)})
	}
	return err
}

func demoMessage(kind string, progress int) string {
	for _, k := range demoKinds {
		if k.kind == kind {
			return k.steps[progress*len(k.steps)/100]
		}
	}
	return ""
}

// demoCancel obeys the messages that have come.
func demoCancel(ctx context.Context, db *pgxpool.Pool) error {
	_, err := db.Exec(ctx, sqlDemoCancel, pgx.NamedArgs{"topic": demoTopic})
	return err
}

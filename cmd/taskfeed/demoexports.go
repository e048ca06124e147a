package main

import (
	"context"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The second part of the demo is an app with a table of its own, which is attached:
// it knows nothing of taskfeed but one statement in its migrations.

const sqlDemoTable = `
CREATE SCHEMA IF NOT EXISTS demo;
CREATE TABLE IF NOT EXISTS demo.exports (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    text        NOT NULL,
    state      text        NOT NULL DEFAULT 'pending', -- pending, working, done, broken or stopped
    rows_done  integer     NOT NULL DEFAULT 0,
    rows_total integer     NOT NULL,
    file       text,
    error      text,
    created_at timestamptz NOT NULL DEFAULT now()
)`

const sqlDemoAttach = `
SELECT taskfeed.attach('demo.exports', 'exports', '{
    "map": {"pending": "queued", "working": "running", "done": "completed", "broken": "failed", "stopped": "canceled"},
    "progress": {"done": "rows_done", "total": "rows_total"},
    "message": "r.rows_done || '' of '' || r.rows_total || '' rows''",
    "result": "jsonb_build_object(''file'', r.file)", "error": "error",
    "created_at": "created_at", "on_delete": "deleted"}')`

const sqlDemoExport = `
INSERT INTO demo.exports (user_id, rows_total)
VALUES (@user, @rows)`

// The oldest open export goes on, by a tenth to a quarter of its rows.
const sqlDemoExportOn = `
UPDATE demo.exports AS e
SET state = CASE WHEN @breaks THEN 'broken' WHEN n.rows_done >= e.rows_total THEN 'done' ELSE 'working' END,
    rows_done = least(n.rows_done, e.rows_total),
    file = CASE WHEN n.rows_done >= e.rows_total AND NOT @breaks THEN format('export-%s.csv', e.id) END,
    error = CASE WHEN @breaks THEN 'a row has no price: set one and export again' END
FROM (
    SELECT id, rows_done + ceil(rows_total * (0.1 + 0.15 * random()))::int AS rows_done
    FROM demo.exports
    WHERE user_id = @user
      AND state IN ('pending', 'working')
    ORDER BY id
    LIMIT 1) AS n
WHERE e.id = n.id`

const sqlDemoExportsTidy = `
DELETE FROM demo.exports
WHERE id IN (
    SELECT id
    FROM demo.exports
    WHERE user_id = @user
      AND state IN ('done', 'broken', 'stopped')
    ORDER BY id DESC
    OFFSET @kept)`

// demoAttach makes the table of exports and attaches it. Done again, it changes nothing.
func demoAttach(ctx context.Context, db *pgxpool.Pool) error {
	for _, statement := range []string{sqlDemoTable, sqlDemoAttach} {
		if _, err := db.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

// demoExport works on the exports of a user: on the oldest one, or on a new one when
// all are done.
func demoExport(ctx context.Context, db *pgxpool.Pool, user string) error {
	tag, err := db.Exec(ctx, sqlDemoExportOn, pgx.NamedArgs{"user": user, "breaks": rand.N(40) == 0})
	if err != nil || tag.RowsAffected() > 0 {
		return err
	}
	if _, err := db.Exec(ctx, sqlDemoExportsTidy, pgx.NamedArgs{"user": user, "kept": demoKept}); err != nil {
		return err
	}
	_, err = db.Exec(ctx, sqlDemoExport, pgx.NamedArgs{"user": user, "rows": 100 + rand.N(9900)})
	return err
}

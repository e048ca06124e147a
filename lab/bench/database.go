package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/migrations"
)

// place is where one measurement happens: a fresh database of the private
// Postgres, or the user's own.
type place struct {
	url    string
	prefix string // of the ids of all users and tasks
	schema string // of the tables to compare with; also the baseline's channel
	own    bool   // it is the user's: clean up
}

// Tables that are updated in turns. All have the columns and indexes of
// taskfeed.tasks. An app without our triggers needs constraints for what they
// check, so these two have a CHECK for status and for progress.
func (p *place) plain() string  { return p.schema + ".plain" }  // no trigger
func (p *place) notify() string { return p.schema + ".notify" } // NOTIFY with the row in the payload, for each row

// bare has no trigger and no CHECK.
func (p *place) bare() string { return p.schema + ".bare" }

const oursTable = "taskfeed.tasks"

// tables are the tables that every comparison updates.
func (p *place) tables() []string { return []string{p.plain(), p.notify(), oursTable} }

// sqlBaselines makes the tables of a schema.
const sqlBaselines = `
CREATE SCHEMA {schema};
CREATE TABLE {schema}.bare (LIKE taskfeed.tasks INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE {schema}.plain (LIKE {schema}.bare INCLUDING ALL,
    CHECK (status IN ('queued', 'running', 'completed', 'failed', 'canceled')),
    CHECK (progress BETWEEN 0 AND 100)) WITH (fillfactor = 80);
CREATE TABLE {schema}.notify (LIKE {schema}.plain INCLUDING ALL) WITH (fillfactor = 80);
CREATE FUNCTION {schema}.notify_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{schema}', json_build_object(
        'id', new.id, 'user_id', new.user_id, 'status', new.status, 'progress', new.progress, 'message', new.message)::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_row AFTER UPDATE ON {schema}.notify FOR EACH ROW EXECUTE FUNCTION {schema}.notify_row()`

// templateDatabase is what a private run's databases are copies of.
const templateDatabase = "bench_template"

// newPlace returns the place of a name, which may not exist yet.
func (b *bench) newPlace(database string) *place {
	p := &place{url: b.cfg.DatabaseURL, prefix: "bench-" + b.id + "-", schema: "taskfeed_bench_" + b.id, own: b.pg == nil}
	if b.pg != nil {
		p.url = b.pg.URL(database)
	}
	return p
}

// createTemplate makes the database that places are copied from.
func (b *bench) createTemplate(ctx context.Context) error {
	if err := query.Script(ctx, at(b.pg.URL("postgres")), "CREATE DATABASE "+templateDatabase); err != nil {
		return err
	}
	p := b.newPlace(templateDatabase)
	if err := migrations.Up(ctx, p.url); err != nil {
		return err
	}
	return p.createBaselines(ctx)
}

func (p *place) createBaselines(ctx context.Context) error {
	return query.Script(ctx, at(p.url), p.named(sqlBaselines))
}

// open prepares a place. It is closed when the measurement is over.
func (b *bench) open(ctx context.Context, name string) (*place, error) {
	database := "bench_" + name
	p := b.newPlace(database)
	if !p.own {
		return p, query.Script(ctx, at(b.pg.URL("postgres")), "CREATE DATABASE "+database+" TEMPLATE "+templateDatabase)
	}
	if err := query.Script(ctx, at(p.url), query.RefuseBound); err != nil {
		return nil, err
	}
	if err := p.createBaselines(ctx); err != nil {
		return nil, errors.Join(err, p.close(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// cleanTime bounds what runs after a measurement, also when it was cut short.
const cleanTime = time.Minute

// close removes the run's rows from a database of the user's own, and the changes
// and events that this removal causes.
func (p *place) close(ctx context.Context) error {
	if !p.own {
		return nil // the private Postgres is removed as a whole
	}
	ctx, cancel := context.WithTimeout(ctx, cleanTime)
	defer cancel()
	statements := []string{"DROP SCHEMA IF EXISTS " + p.schema + " CASCADE", query.RefuseBound}
	for _, sql := range []string{
		"DELETE FROM taskfeed.tasks WHERE starts_with(id, '%s')",
		"DELETE FROM taskfeed.changes WHERE starts_with(user_id, '%s')",
		"DELETE FROM taskfeed.events WHERE starts_with(user_id, '%s')",
	} {
		statements = append(statements, fmt.Sprintf(sql, p.prefix))
	}
	if err := query.Script(ctx, at(p.url), strings.Join(statements, ";")); err != nil {
		return fmt.Errorf("clean up (schema %s and ids that begin with %q): %w", p.schema, p.prefix, err)
	}
	return nil
}

// sqlFill gives each writer rows of its own, so that writers do not wait for each
// other's, of users that writers share.
const sqlFill = `
INSERT INTO {table} (id, user_id, status, message)
SELECT '{prefix}w' || w || '-' || i, '{prefix}u' || (w * 31 + i) %% 1000, 'running', 'step'
FROM generate_series(0, %d) AS w, generate_series(0, %d) AS i`

// fill gives the tables that every comparison updates, and more, the same tasks. A server must run, to move their changes
// into the log.
func (p *place) fill(ctx context.Context, writers, rows int, more ...string) error {
	for _, table := range append(p.tables(), more...) {
		sql := strings.NewReplacer("{table}", table, "{prefix}", p.prefix).Replace(sqlFill)
		if err := query.Script(ctx, at(p.url), fmt.Sprintf(sql, writers-1, rows-1)); err != nil {
			return err
		}
	}
	return p.drained(ctx)
}

// named puts the place's schema into a statement.
func (p *place) named(sql string) string { return strings.ReplaceAll(sql, "{schema}", p.schema) }

// crowd is the user of all connections that get one event where it may not go to
// everybody.
func (p *place) crowd() string { return p.prefix + "crowd" }

// oneUser is the owner of the tasks that fillOne inserts.
func (p *place) oneUser() string { return p.prefix + "user" }

// fillOne is fill with all tasks of one user.
func (p *place) fillOne(ctx context.Context, writers, rows int) error {
	if err := p.fill(ctx, writers, rows); err != nil {
		return err
	}
	return p.giveToOne(ctx, p.tables())
}

// giveToOne makes oneUser the owner of all tasks in the tables.
func (p *place) giveToOne(ctx context.Context, tables []string) error {
	for _, table := range tables {
		if err := query.Script(ctx, at(p.url), fmt.Sprintf(sqlAppPath+"; UPDATE %s SET user_id = '%s' WHERE starts_with(id, '%sw')", table, p.oneUser(), p.prefix)); err != nil {
			return err
		}
	}
	return p.drained(ctx)
}

// drained waits until the changes of this run are in the log.
func (p *place) drained(ctx context.Context) error {
	conn, err := connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer query.Close(conn)
	const sql = `SELECT EXISTS (SELECT FROM taskfeed.changes WHERE starts_with(user_id, $1))`
	return await(ctx, time.Minute, "the changes moved into the log", func() (bool, error) {
		var left bool
		err := conn.QueryRow(ctx, sql, p.prefix).Scan(&left)
		return !left, err
	})
}

// await polls until done.
func await(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	deadline := time.Now().Add(limit)
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", limit, what)
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// connect returns a connection that query.Close ends.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	conn, err := dial.Connect(ctx, dial.Config{URL: url, Name: "taskfeed-lab bench"}, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return conn, nil
}

// at connects to the database at a URL.
func at(url string) query.Connect {
	return func(ctx context.Context) (*pgx.Conn, error) { return connect(ctx, url) }
}

func sleep(ctx context.Context, d time.Duration) error {
	if !pause.For(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}

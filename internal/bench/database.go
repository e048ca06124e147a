package bench

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/migrations"
)

// Tables that are updated in turns. All have the columns, indexes and
// constraints of taskfeed.tasks and differ in their triggers alone.
const (
	tablePlain  = "public.plain"    // no trigger
	tableNotify = "public.notify"   // NOTIFY with the row in the payload, for each row
	tableOurs   = "taskfeed.tasks"  // ours
	channelBare = "bench_row_event" // of tableNotify
)

const sqlTables = `
CREATE TABLE public.plain (LIKE taskfeed.tasks INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE public.notify (LIKE taskfeed.tasks INCLUDING ALL) WITH (fillfactor = 80);
CREATE FUNCTION public.notify_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('` + channelBare + `', json_build_object(
        'id', new.id, 'user_id', new.user_id, 'status', new.status, 'progress', new.progress, 'message', new.message)::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_row AFTER UPDATE ON public.notify FOR EACH ROW EXECUTE FUNCTION public.notify_row()`

// rowsPerWriter tasks belong to one writer, so that writers do not wait for each
// other's rows.
const rowsPerWriter = 1000

const sqlFill = `
INSERT INTO %s (id, user_id, status, message)
SELECT 'w' || w || '-' || i, 'user-' || (w * 31 + i) %% 1000, 'running', 'step'
FROM generate_series(0, %d) AS w, generate_series(0, %d) AS i`

// freshDatabase makes a migrated database with the tables to compare.
func (b *bench) freshDatabase(ctx context.Context, name string) error {
	if err := execAt(ctx, b.pg.URL("postgres"), "CREATE DATABASE "+name); err != nil {
		return err
	}
	b.url = b.pg.URL(name)
	if err := migrations.Up(ctx, b.url); err != nil {
		return err
	}
	return b.exec(ctx, sqlTables)
}

// fill gives every table the same tasks and empties what capture made of them.
func (b *bench) fill(ctx context.Context) error {
	for _, table := range []string{tablePlain, tableNotify, tableOurs} {
		if err := b.exec(ctx, fmt.Sprintf(sqlFill, table, b.cfg.Writers-1, rowsPerWriter-1)); err != nil {
			return err
		}
	}
	return b.exec(ctx, "TRUNCATE taskfeed.changes")
}

func (b *bench) exec(ctx context.Context, script string) error {
	return execAt(ctx, b.url, script)
}

func execAt(ctx context.Context, url, script string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, script).ReadAll(); err != nil {
		return fmt.Errorf("run script: %w", err)
	}
	return nil
}

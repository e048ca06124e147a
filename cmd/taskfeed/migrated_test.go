package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// appMigrations are what an app does to an attached table while it writes to it.
var appMigrations = []struct{ name, do, drift string }{
	{"alter_type", `ALTER TABLE app.alter_type ALTER percent TYPE int USING percent::int`, ""},
	{"same_type", `ALTER TABLE app.same_type ALTER state TYPE text`, ""},
	{"rename", `ALTER TABLE app.rename RENAME percent TO progress`, "its mapping reads the column percent of app.rename, which is progress now"},
	{"drop_column", `ALTER TABLE app.drop_column DROP COLUMN percent`, "its mapping reads the column percent of app.drop_column, which is gone"},
	{"add_value", `ALTER TYPE app.kind ADD VALUE 'late'; ALTER TABLE app.add_value ADD COLUMN note text DEFAULT 'x'`, ""},
	{"swap", `ALTER TABLE app.swap RENAME TO swap_old; CREATE TABLE app.swap (LIKE app.swap_old INCLUDING ALL)`, "app.swap is another table now"},
	{"recreate", `DROP TABLE app.recreate; CREATE TABLE app.recreate (id bigint PRIMARY KEY, owner_id text, state text, percent text, kind app.kind)`, "app.recreate is another table now"},
}

// writeRows writes to a table of an app until ctx ends, in one session as a pool keeps
// it, and counts. It stops at the first write that fails.
func writeRows(ctx context.Context, conn *pgx.Conn, table string, written *atomic.Int64) error {
	for id := int64(1); ctx.Err() == nil; id++ {
		for _, statement := range []string{`INSERT INTO {table} (id, owner_id, state) VALUES ($1, 'alice', 'queued')`,
			`UPDATE {table} SET state = 'running' WHERE id = $1`, `DELETE FROM {table} WHERE id = $1 - 5`} {
			if _, err := conn.Exec(ctx, strings.ReplaceAll(statement, "{table}", table), pgx.QueryExecModeExec, id); err != nil && ctx.Err() == nil {
				return fmt.Errorf("after %d writes: %s: %w", written.Load(), statement, err)
			}
			written.Add(1)
		}
	}
	return nil
}

// The app's migrations pass while a table is attached and written to, no write of the
// app fails before, during or after them, and doctor names what is not seen any more.
func TestAttachedTableIsMigratedUnderLoad(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	setup := `CREATE SCHEMA app; CREATE TYPE app.kind AS ENUM ('early');`
	for _, m := range appMigrations {
		setup += strings.ReplaceAll(`CREATE TABLE app.{t} (id bigint PRIMARY KEY, owner_id text, state text, percent text, kind app.kind);
			SELECT taskfeed.attach('app.{t}', '{t}', '{"progress": "percent", "kind": "kind"}');`, "{t}", m.name)
	}
	pgtest.Exec(t, url, setup)
	startServing(t, url)

	ctx, stop := context.WithCancel(t.Context())
	written, failed := make([]atomic.Int64, len(appMigrations)), make([]error, len(appMigrations))
	var writers sync.WaitGroup
	for i, m := range appMigrations {
		conn := pgtest.Connect(t, url)
		writers.Go(func() { failed[i] = writeRows(ctx, conn, "app."+m.name, &written[i]) })
	}
	defer writers.Wait()
	defer stop()
	goOn := func(i int) {
		enough := written[i].Load() + 30
		eventually(t, "the app writes on to "+appMigrations[i].name, 30*time.Second, func() bool { return written[i].Load() >= enough })
	}
	for i, m := range appMigrations {
		goOn(i)
		pgtest.Exec(t, url, m.do)
		goOn(i)
	}
	stop()
	writers.Wait()
	for i, m := range appMigrations {
		if failed[i] != nil {
			t.Errorf("%s: a write of the app failed %v", m.name, failed[i])
		}
	}
	report := runCLI(t, []string{"DATABASE_URL=" + url}, "doctor").stdout
	for _, m := range appMigrations {
		problem := "problem: attached table " + m.name + ": "
		if named := strings.Contains(report, problem+m.drift); m.drift != "" && !named || m.drift == "" && named {
			t.Errorf("%s: doctor says\n%s\nwant %q", m.name, report, m.drift)
		}
	}
}

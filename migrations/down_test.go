package migrations_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// everything lists all objects of a database that initdb did not create.
func everything(s *session) []string {
	s.t.Helper()
	const sqlEverything = `
		SELECT pg_describe_object(o.classid, o.objid, 0)
		FROM (
			SELECT 'pg_class'::regclass AS classid, oid AS objid FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
			UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE oid >= 16384
			UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE oid >= 16384
			UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp_'
			UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oid >= 16384
			UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension WHERE oid >= 16384
			UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger WHERE oid >= 16384
			UNION ALL SELECT 'pg_default_acl'::regclass, oid FROM pg_default_acl
		) AS o
		ORDER BY 1`
	return list[string](s, sqlEverything)
}

func TestDownLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := connect(t, pgtest.Empty(t))
	before := everything(s)
	mustUp(t, s.url)
	s.exec(`
		INSERT INTO taskfeed.tasks (id, user_id) SELECT 't' || i, 'alice' FROM generate_series(1, 10) AS i;
		CREATE TABLE taskfeed.events_7 PARTITION OF taskfeed.events FOR VALUES FROM (70000000) TO (80000000)`)
	if slices.Equal(everything(s), before) {
		t.Fatalf("up made nothing that is seen here")
	}
	for _, doing := range []string{"down", "a second down"} {
		if err := migrations.Down(t.Context(), s.url); err != nil {
			t.Fatalf("%s: %v", doing, err)
		}
		if after := everything(s); !slices.Equal(after, before) {
			t.Errorf("after %s there is %q, want %q", doing, after, before)
		}
	}
	wantVersions(t, s.url, 0)
	mustUp(t, s.url)
}

func TestDownFromEveryVersion(t *testing.T) {
	t.Parallel()
	for version := int64(1); version < newest(t); version++ {
		s := connect(t, pgtest.Empty(t))
		before := everything(s)
		partly(t, s.url, version)
		if err := migrations.Down(t.Context(), s.url); err != nil {
			t.Errorf("from version %d: %v", version, err)
		}
		if after := everything(s); !slices.Equal(after, before) {
			t.Errorf("from version %d: left %q, want %q", version, after, before)
		}
	}
}

// A schema in which Up has created nothing is dropped too.
func TestDownOfAnEmptySchema(t *testing.T) {
	t.Parallel()
	s := connect(t, pgtest.Empty(t))
	s.exec(`CREATE SCHEMA taskfeed`)
	if err := migrations.Down(t.Context(), s.url); err != nil {
		t.Errorf("down: %v", err)
	}
	if one[bool](s, `SELECT to_regnamespace('taskfeed') IS NOT NULL`) {
		t.Errorf("the schema is still there")
	}
}

func TestDownWithDependants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, do, want string }{
		{"a view", `CREATE VIEW public.v AS SELECT id FROM taskfeed.tasks`, "view public.v depends on"},
		{"a materialized view", `CREATE MATERIALIZED VIEW public.m AS SELECT id FROM taskfeed.tasks`, "materialized view public.m depends on"},
		{"a view of the log", `CREATE VIEW public.v AS SELECT id FROM taskfeed.events`, "view public.v depends on"},
		{"a view of a view", `CREATE VIEW public.v AS SELECT id FROM taskfeed.tasks; CREATE VIEW public."V 2" AS SELECT id FROM public.v`, `view public."V 2" depends on view public.v`},
		{"a foreign key", `CREATE TABLE public.child (task_id text CONSTRAINT child_task REFERENCES taskfeed.tasks)`, "constraint child_task on table public.child depends on"},
		{"a function", `CREATE FUNCTION public.f(t taskfeed.tasks) RETURNS text LANGUAGE sql AS 'SELECT t.id'`, "function public.f(taskfeed.tasks) depends on"},
		{"a column", `CREATE TABLE public.archive (task taskfeed.tasks)`, "column task of table public.archive depends on"},
		{"a view that calls us", `CREATE VIEW public.v AS SELECT taskfeed.broadcast('hello')::text`, "view public.v depends on"},
		{"a table in our schema", `CREATE TABLE taskfeed.mine (id text)`, "table taskfeed.mine depends on schema taskfeed"},
	} {
		t.Run("bad input 74: "+c.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');` + c.do)
			before := everything(s)
			err := migrations.Down(t.Context(), s.url)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "drop it first") {
				t.Errorf("got %v, want an error that says %q", err, c.want)
			}
			if after := everything(s); !slices.Equal(after, before) {
				t.Errorf("there is %q, want %q", after, before)
			}
			wantVersions(t, s.url, newest(t))
			s.wantCaptured(`alice t task_queued 1 {"progress": 0}`)
		})
	}
}

// sqlAwaitMigration returns when somebody waits for the table of tasks.
const sqlAwaitMigration = `
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'taskfeed.tasks'::regclass AND NOT granted) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$`

// A migration that waits for a table which the app has locked does not block the app's
// other writers for long, and continues when the table is free.
func TestLocksOfTheApp(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	partly(t, url, 3)
	app, another := connect(t, url), connect(t, url)
	for _, c := range []struct {
		name    string
		migrate func(context.Context, string) error
	}{{"up", migrations.Up}, {"down", migrations.Down}} {
		app.exec(`BEGIN; INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')`)
		ended := make(chan error, 1)
		go func() { ended <- c.migrate(t.Context(), url) }()
		another.exec(sqlAwaitMigration)
		another.exec(`INSERT INTO taskfeed.tasks (user_id) VALUES ('bob')`) // although app has not committed
		app.exec(`COMMIT`)
		if err := <-ended; err != nil {
			t.Errorf("bad input 73: %s: %v", c.name, err)
		}
	}
	wantVersions(t, url, 0)
}

// After any interruption of Up, the next Up completes it.
func TestInterruptedUp(t *testing.T) {
	t.Parallel()
	want := describe(t, pgtest.New(t))
	for name, interrupt := range map[string]func(s *session, cancel context.CancelFunc){
		"crash 6: its context ends": func(_ *session, cancel context.CancelFunc) { cancel() },
		"crash 6: its session is ended": func(s *session, _ context.CancelFunc) {
			s.exec(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'taskfeed.tasks'::regclass AND NOT granted`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Empty(t)
			partly(t, url, 3)
			app, s := connect(t, url), connect(t, url)
			app.exec(`BEGIN; LOCK TABLE taskfeed.tasks IN ROW EXCLUSIVE MODE`) // keeps the next migration half-way
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- migrations.Up(ctx, url) }()
			s.exec(sqlAwaitMigration)
			interrupt(s, cancel)
			if err := <-ended; err == nil {
				t.Errorf("the interrupted up returned no error")
			}
			wantVersions(t, url, 3)
			app.exec(`COMMIT`)
			mustUp(t, url)
			if got := describe(t, url); got != want {
				t.Errorf("schema:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// A deadline may end Up at any moment.
func TestUpWithDeadlines(t *testing.T) {
	t.Parallel()
	want := describe(t, pgtest.New(t))
	url := pgtest.Empty(t)
	for bound, err := 5*time.Millisecond, error(nil); ; bound = bound * 3 / 2 {
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		err = migrations.Up(ctx, url)
		cancel()
		if err == nil {
			break
		}
	}
	if got := describe(t, url); got != want {
		t.Errorf("schema:\n%s\nwant:\n%s", got, want)
	}
}

package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// liveOneDay makes the server and the app do everything that changes rows of our
// tables.
func liveOneDay(t *testing.T, f *fixture) {
	t.Helper()
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a', 'alice'), ('b', 'bob')`)
	exec(t, f.app, `UPDATE taskfeed.tasks SET status = 'completed', result = to_jsonb(repeat('x', 100000)), user_id = 'carol' WHERE id = 'a'`)
	exec(t, f.app, `UPDATE taskfeed.tasks SET id = 'c', progress = 5 WHERE id = 'b'`)
	exec(t, f.app, `DELETE FROM taskfeed.tasks`)
	exec(t, f.app, `SELECT taskfeed.broadcast('hello')`)
	moveAll(t, f.session)
	setHead(t, f.app, 29_999_999)
	add(t, f.app, "late") // comes into the default partition
	moveAll(t, f.session)
	maintain(t, f, 0)               // makes partitions and moves it there
	maintain(t, f, time.Nanosecond) // drops the first
	if _, err := f.session.TakeOver(t.Context(), 1<<40); err != nil {
		t.Errorf("take over: %v", err)
	}
	if err := f.store.Command(t.Context(), "disconnect_user", "alice"); err != nil {
		t.Errorf("add a command: %v", err)
	}
	exec(t, f.app, `UPDATE taskfeed.commands SET created_at = created_at - interval '1 day'`)
	if err := f.store.Command(t.Context(), "disconnect_user", "bob"); err != nil {
		t.Errorf("add another command: %v", err)
	}
	exec(t, f.app, `DELETE FROM taskfeed.schema_version WHERE version_id = 0`) // as goose does on the way down
}

// A publication of all tables stopped every feed: "cannot delete from table
// "changes" because it does not have a replica identity".
func TestAnyPublication(t *testing.T) {
	t.Parallel()
	for _, publication := range []string{
		`FOR ALL TABLES`,
		`FOR ALL TABLES WITH (publish_via_partition_root = true)`,
		`FOR ALL TABLES WITH (publish = 'delete')`,
		`FOR TABLES IN SCHEMA taskfeed`,
		`FOR TABLES IN SCHEMA taskfeed WITH (publish_via_partition_root = true)`,
		`FOR TABLE taskfeed.events, taskfeed.changes, taskfeed.tasks, taskfeed.log_state, taskfeed.commands, taskfeed.schema_version`,
		`FOR TABLE taskfeed.events_default, taskfeed.events_0`,
		`FOR TABLE taskfeed.tasks (id, user_id, status)`,
		`FOR TABLE taskfeed.events (id, type) WITH (publish_via_partition_root = true)`,
		`FOR TABLE taskfeed.changes WHERE (user_id = 'alice')`,
		`FOR TABLE taskfeed.tasks WHERE (id <> 'a')`,
	} {
		for _, before := range []bool{true, false} {
			if before && !strings.HasPrefix(publication, "FOR ALL TABLES") {
				continue // there is nothing yet to name
			}
			t.Run(fmt.Sprintf("%s, before the migration: %v", publication, before), func(t *testing.T) {
				t.Parallel()
				var url string
				if before {
					url = pgtest.Empty(t)
					pgtest.Exec(t, url, `CREATE PUBLICATION cdc `+publication)
					if err := migrations.Up(t.Context(), url); err != nil {
						t.Fatalf("bad input 110: migrate: %v", err)
					}
				} else {
					url = pgtest.New(t)
				}
				f := setupAt(t, url)
				if !before {
					if value[int](t, f.app, `SELECT current_setting('server_version_num')::int`) < 150000 && !strings.HasPrefix(publication, "FOR ALL TABLES") {
						return // PostgreSQL 14 does not know these
					}
					exec(t, f.app, `CREATE PUBLICATION cdc `+publication)
				}
				liveOneDay(t, f)
				wantHazards(t, f.store, store.HazardPublication)
			})
		}
	}
}

func wantHazards(t *testing.T, s *store.Store, kind store.HazardKind, want ...string) {
	t.Helper()
	found, err := s.Hazards(t.Context())
	if err != nil {
		t.Fatalf("look for hazards: %v", err)
	}
	got := []string{}
	for _, h := range found {
		if h.Kind == kind {
			got = append(got, h.Says)
		}
	}
	slices.Sort(got)
	if len(got) != len(want) {
		t.Fatalf("found %d of %s:\n%s\nwant %d", len(got), kind, strings.Join(got, "\n"), len(want))
	}
	for i, w := range want {
		if !strings.HasPrefix(got[i], w) {
			t.Errorf("found %q, want it to begin with %q", got[i], w)
		}
	}
}

// A publication that still breaks writes is named, with the remedy.
func TestPublicationHazards(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, do string
		since    int // the version of Postgres that knows it
		want     []string
	}{
		{"bad input 110: no identity, not published", `ALTER TABLE taskfeed.changes REPLICA IDENTITY DEFAULT`, 14,
			[]string{"table changes has no replica identity: a publication would make Postgres refuse to change its rows; run ALTER TABLE taskfeed.changes REPLICA IDENTITY FULL"}},
		{"no identity, published", `ALTER TABLE taskfeed.changes REPLICA IDENTITY NOTHING; CREATE PUBLICATION "My cdc" FOR ALL TABLES`, 14,
			[]string{`table changes has no replica identity: the publication "My cdc" makes Postgres refuse to change its rows; run ALTER TABLE`}},
		{"a key that is deferrable", `ALTER TABLE taskfeed.tasks DROP CONSTRAINT tasks_pkey, ADD PRIMARY KEY (id) DEFERRABLE`, 14, []string{"table tasks has no replica identity"}},
		{"no key", `ALTER TABLE taskfeed.commands DROP CONSTRAINT commands_pkey; ALTER TABLE taskfeed.log_state DROP CONSTRAINT log_state_pkey`, 14,
			[]string{"table commands has no replica identity", "table log_state has no replica identity"}},
		{"a partition without", `ALTER TABLE taskfeed.events_default REPLICA IDENTITY NOTHING; CREATE PUBLICATION cdc FOR TABLE taskfeed.events`, 14,
			[]string{"table events_default has no replica identity: the publication cdc makes"}},
		{"another identity that serves", `ALTER TABLE taskfeed.tasks REPLICA IDENTITY FULL; ALTER TABLE taskfeed.commands REPLICA IDENTITY USING INDEX commands_pkey`, 14, nil},
		{"a column list without the identity", `CREATE PUBLICATION cdc FOR TABLE taskfeed.changes (id, type), taskfeed.tasks (user_id)`, 15,
			[]string{"the publication cdc leaves out columns of table changes that name", "the publication cdc leaves out columns of table tasks that name"}},
		{"a row filter by other columns", `CREATE PUBLICATION cdc FOR TABLE taskfeed.tasks WHERE (status = 'completed' AND id > 'a')`, 15,
			[]string{"the publication cdc filters rows of table tasks by columns that do not name them"}},
		{"the same, of inserts alone", `CREATE PUBLICATION cdc FOR TABLE taskfeed.tasks (user_id) WHERE (status = 'completed') WITH (publish = 'insert')`, 15, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			if value[int](t, f.app, `SELECT current_setting('server_version_num')::int`)/10000 < c.since {
				return
			}
			exec(t, f.app, c.do, pgx.QueryExecModeSimpleProtocol)
			wantHazards(t, f.store, store.HazardPublication, c.want...)
		})
	}
}

// A subscription copies the tasks and the log while taskfeed works as usual.
func TestSubscription(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, devpg.Config{Settings: map[string]string{"wal_level": "logical"}})
	f := setupAt(t, migrated(t, server))
	admin := pgtest.Connect(t, server.URL("postgres"))
	exec(t, admin, `CREATE DATABASE replica`)
	if err := migrations.Up(t.Context(), server.URL("replica")); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	replica := pgtest.Connect(t, server.URL("replica"))
	exec(t, f.app, `CREATE PUBLICATION cdc FOR ALL TABLES WITH (publish_via_partition_root = true)`)
	exec(t, f.app, `SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')`)
	exec(t, replica, fmt.Sprintf(`CREATE SUBSCRIPTION cdc CONNECTION '%s' PUBLICATION cdc WITH (create_slot = false, slot_name = cdc, copy_data = false)`, f.url))

	liveOneDay(t, f)
	const sqlLog = `SELECT coalesce(string_agg(format('%s %s %s', id, user_id, type), ',' ORDER BY id), '') FROM taskfeed.events`
	const sqlTasks = `SELECT coalesce(string_agg(format('%s %s', id, version), ',' ORDER BY id), '') FROM taskfeed.tasks`
	want := value[string](t, f.app, sqlLog) + value[string](t, f.app, sqlTasks)
	if !strings.Contains(want, "late 1") {
		t.Fatalf("bad input 110: the publisher has %q, want the task late in it", want)
	}
	eventually(t, "the subscriber has all and its changes are empty", func() bool {
		got := value[string](t, replica, sqlLog) + value[string](t, replica, sqlTasks)
		// What retention drops is no change of a row, so a subscriber keeps it.
		return strings.HasSuffix(got, want) && value[int](t, replica, `SELECT count(*) FROM taskfeed.changes`) == 0
	})
	exec(t, replica, `DROP SUBSCRIPTION cdc`)
}

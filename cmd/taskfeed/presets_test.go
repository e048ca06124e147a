package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/presets"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// seen says what a client sees of an event: its type, the end of a UUID or the whole
// id, and what it carries besides.
func seen(f taskfeed.Frame) string {
	var data struct {
		Progress               int
		Message, Error, Result json.RawMessage
	}
	_ = json.Unmarshal(f.Event.Data, &data)
	id := f.Event.TaskID
	if _, end, ok := strings.Cut(id, "-0000-0000-0000-00000000000"); ok {
		id = "…" + end
	}
	parts := []string{string(f.Type), id}
	if data.Progress > 0 {
		b, _ := json.Marshal(data.Progress)
		parts = append(parts, string(b))
	}
	for _, field := range []json.RawMessage{data.Message, data.Error, data.Result} {
		if len(field) > 0 && string(field) != "null" {
			var compact bytes.Buffer
			_ = json.Compact(&compact, field)
			parts = append(parts, compact.String())
		}
	}
	return strings.Join(parts, " ")
}

// seenUntil reads what a client sees up to an event of the app.
func seenUntil(t *testing.T, conn *websocket.Conn, last taskfeed.Type) (all []string) {
	t.Helper()
	for {
		f := checkedFrame(t, conn)
		switch f.Type {
		case last:
			return all
		case taskfeed.TypeFeedLive:
		default:
			all = append(all, seen(f))
		}
	}
}

// Users see the jobs of every library that is known, by the statements that the
// library runs: each change once, in order, and nothing when it cleans up.
func TestPresetsAgainstReplays(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	run := func(args ...string) ran { t.Helper(); return runCLI(t, []string{"DATABASE_URL=" + url}, args...) }
	app := pgtest.Connect(t, url)
	exec := func(sql string) {
		t.Helper()
		if _, err := app.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(`SET search_path = public`)
	for _, r := range replays {
		exec(r.tables)
	}
	listed := run("attach").stdout
	for _, r := range replays {
		if want := "taskfeed attach " + r.preset + " --user "; !strings.Contains(listed, want) {
			t.Errorf("taskfeed attach lists\n%s\nwithout %q", listed, want)
		}
		if done := run(append([]string{"attach", r.preset}, strings.Fields(r.attach)...)...); done.status != 0 || !strings.Contains(done.stdout, "which this program knows\n") || !strings.Contains(done.stdout, "\nattached: ") {
			t.Fatalf("attach %s: %s%s", r.preset, done.stdout, done.stderr)
		}
	}
	if r := run("attach"); strings.Contains(r.stdout, "--user") {
		t.Errorf("all are attached, and listed are still\n%s", r.stdout)
	}
	s := startServing(t, url)
	alice := dialPlain(t, s, "alice", "after=0")
	for _, r := range replays {
		for _, step := range r.steps {
			exec(step)
		}
		exec(`SELECT taskfeed.notify('alice', 'done', '{}')`)
		got, want := byTask(seenUntil(t, alice, "done")), byTask(r.want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: alice saw\n  %s\nwant\n  %s", r.preset, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
	eventually(t, "doctor has nothing to say of the attached tables", time.Minute, func() bool {
		r := run("doctor")
		return r.status == 0 && !strings.Contains(r.stdout, "attached table")
	})
	manyJobsAtOnce(t, app)
}

// byTask has the events of each task together, in their order: a statement changes
// rows in any order.
func byTask(all []string) []string {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) })
	return all
}

// manyJobsAtOnce copies jobs in and ends all of them by one statement.
func manyJobsAtOnce(t *testing.T, conn *pgx.Conn) {
	const jobs = 5000
	rows := make([][]any, jobs)
	for i := range rows {
		rows[i] = []any{1_000_000 + i, "App.Bulk", map[string]string{"user_id": "crowd"}}
	}
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"public", "oban_jobs"}, []string{"id", "worker", "meta"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatalf("copy jobs: %v", err)
	}
	if _, err := conn.Exec(t.Context(), `UPDATE public.oban_jobs SET state = 'completed' WHERE worker = 'App.Bulk'`); err != nil {
		t.Fatalf("end jobs: %v", err)
	}
	var events, wrong int
	eventually(t, "the events of all jobs are in the log", time.Minute, func() bool {
		if err := conn.QueryRow(t.Context(), `
			SELECT count(*), count(*) FILTER (WHERE type IS DISTINCT FROM ('{task_queued,task_completed}'::text[])[n])
			FROM (SELECT type, row_number() OVER (PARTITION BY task_id ORDER BY id) AS n FROM taskfeed.events WHERE user_id = 'crowd') AS e`).Scan(&events, &wrong); err != nil {
			t.Fatalf("read events: %v", err)
		}
		return events >= 2*jobs
	})
	if events != 2*jobs || wrong > 0 {
		t.Errorf("%d jobs made %d events, %d of them out of order; want %d and 0", jobs, events, wrong, 2*jobs)
	}
}

// A preset says when it meets a version that it does not know, takes keys of its user
// before its own, and finds the schema that it is told.
func TestAttachPreset(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	const river = `CREATE TABLE %.river_job (id bigserial PRIMARY KEY, state text NOT NULL, kind text, args jsonb, metadata jsonb, errors jsonb[], created_at timestamptz);
		CREATE TABLE %.river_migration (line text, version bigint); INSERT INTO %.river_migration VALUES ('main', 6), ('other', 99)`
	pgtest.Exec(t, url, strings.ReplaceAll(river, "%", "public"))
	run := func(args string) ran {
		t.Helper()
		return runCLI(t, []string{"DATABASE_URL=" + url}, append([]string{"attach"}, strings.Fields(args)...)...)
	}
	for _, c := range []struct {
		do, args string
		status   int
		want     string
	}{
		{"", "river", 1, `say whose a job of River is: --user 'args->>'\''user_id'\''', or --user 'metadata->>'\''user_id'\'''`},
		{"", "river --user args->>'u' --with trace", 1, "river has no trace; it has error, message, result"},
		{"", "oban --user args->>'u'", 1, "there is no table oban_jobs of Oban in this database"},
		{"", "river --schema jobs --user args->>'u'", 1, "there is no table river_job of River in the schema jobs"},
		{"", "public.river_job --with error", 2, "schema and with are for the libraries that are known: dbos, django-tasks-db"},
		{"", "river --user args->>'u' --dry-run", 0, "public.river_job of River: its schema has version 6, which this program knows\nnote: a snoozed job"},
		{"", "river --user args->>'u' --print", 0, "CREATE TRIGGER aa_taskfeed_river_insert AFTER INSERT"},
		{"CREATE SCHEMA jobs;" + strings.ReplaceAll(river, "%", "jobs"), "river --user args->>'u'", 1, "name the schema by --schema: there are jobs.river_job, public.river_job"},
		{"", "", 0, "taskfeed attach river --schema jobs --name jobs_river --user 'args->>'\\''user_id'\\''' --dry-run\n  # jobs.river_job of River: its schema has version 6"},
		{"", "river --schema jobs --user args->>'u' --map running=running,*=none", 0, "attached: jobs.river_job as river\n"},
		{"UPDATE public.river_migration SET version = 99 WHERE line = 'main'", "river --name other --schema public --user args->>'u'", 0, "warning: public.river_job of River: its schema has version 99, by river_migration, and this program knows 2 to 8"},
		{"DROP TABLE public.river_migration", "river --name other --schema public --user args->>'u'", 0, "warning: public.river_job of River: the version of its schema cannot be read from river_migration"},
	} {
		if c.do != "" {
			pgtest.Exec(t, url, c.do)
		}
		if r := run(c.args); r.status != c.status || !strings.Contains(r.stdout+r.stderr, c.want) {
			t.Errorf("taskfeed attach %s: status %d, %s%s\nwant %d and %q", c.args, r.status, r.stdout, r.stderr, c.status, c.want)
		}
	}
	if r := runCLI(t, []string{"DATABASE_URL=" + url}, "doctor"); r.status != 0 || !strings.Contains(r.stdout, "attached table other: public.river_job of River: the version") {
		t.Errorf("doctor: status %d\n%s", r.status, r.stdout)
	}
	var mapped string
	if err := pgtest.Connect(t, url).QueryRow(t.Context(), `SELECT (mapping->'map')::text FROM taskfeed.sources WHERE name = 'river'`).Scan(&mapped); err != nil || mapped != `{"*": "none", "running": "running"}` {
		t.Errorf("the map of the user: got %s (%v)", mapped, err)
	}
}

func TestAttachFileOfAPreset(t *testing.T) {
	t.Parallel()
	var a attachment
	mapping, err := parseAttachFile([]byte("preset: pg-boss\nschema: jobs\nwith: error, result\nuser: data->>'owner'\nwhen: r.name = 'export'"))
	if err != nil {
		t.Fatal(err)
	}
	if a.mapping = mapping; a.takePreset() != nil || a.preset != "pg-boss" || a.schema != "jobs" || !slices.Equal(a.with, []string{"error", "result"}) || len(a.mapping) != 2 {
		t.Errorf("got %+v", a)
	}
}

// Where an older version of a library lacks a column, the keys that read it are left
// out or have their older form.
func TestPresetsOfOlderVersions(t *testing.T) {
	t.Parallel()
	boss, _ := presets.Find("pg-boss")
	for columns, want := range map[string]string{
		"name":           `left(r.name, 10) <> '__pgboss__'`,
		"name,source_id": `left(r.name, 10) <> '__pgboss__' AND r.source_id IS NULL`,
	} {
		m, err := boss.Mapping("pgboss", strings.Split(columns, ","), []string{"error"})
		if err != nil || m["when"] != want || m["error"] == nil || m["result"] != nil {
			t.Errorf("mapping for the columns %s: got %v (%v), want the filter %s", columns, m, err, want)
		}
	}
	dbos, _ := presets.Find("dbos")
	if m, _ := dbos.Mapping("dbos", nil, nil); m["when"] != nil || m["progress"] != nil || m["user"] != "authenticated_user" {
		t.Errorf("dbos without its newer columns: %v", m)
	}
}

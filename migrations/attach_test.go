package migrations_test

import (
	"slices"
	"strings"
	"testing"
)

// sqlExports is a table of an app, with what tables have: an owner, a status, and
// columns that no user sees.
const sqlExports = `
CREATE SCHEMA app;
CREATE TYPE app.state AS ENUM ('pending', 'working', 'done', 'error', 'archived');
CREATE TABLE app.exports (
    id       bigint PRIMARY KEY,
    owner_id text,
    state    app.state NOT NULL DEFAULT 'pending',
    percent  text,
    args     json NOT NULL DEFAULT '{}',
    output   jsonb,
    failure  text,
    seen_at  timestamptz
)`

const exportsMapping = `{"map": {"pending": "queued", "working": "running", "done": "completed", "error": "failed"},
	"progress": "percent", "message": "args->>'note'", "result": "output", "error": "failure"}`

// attachExports makes the table and attaches it.
func (s *session) attachExports(mapping string) {
	s.t.Helper()
	s.exec(sqlExports)
	if got := s.attach("app.exports", "exports", mapping); got != "new" {
		s.t.Fatalf("attach: got %q, want new", got)
	}
	s.facts()
}

func (s *session) attach(table, name, mapping string) string {
	s.t.Helper()
	return one[string](s, `SELECT taskfeed.attach($1::text::regclass, $2, $3::jsonb)->>'attached'`, table, name, mapping)
}

// facts lists what was captured since the last look, with the parts of it that tell
// rows apart.
func (s *session) facts() []string {
	s.t.Helper()
	return list[string](s, `
		WITH taken AS (DELETE FROM taskfeed.changes RETURNING id, task_id, type, data, source)
		SELECT concat_ws(' ', source, type, task_id, data->>'status', data->'users', data->>'progress', CASE type WHEN 'row' THEN data->>'message' END, data->>'result', data->>'error', data->>'value', data->>'state')
		FROM taken
		ORDER BY id`)
}

func (s *session) wantFacts(what string, want ...string) {
	s.t.Helper()
	if got := s.facts(); !slices.Equal(got, want) {
		s.t.Errorf("%s: captured\n%q\nwant\n%q", what, got, want)
	}
}

func TestAttachedTable(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.attachExports(exportsMapping)
	for _, c := range []struct {
		name, do string
		want     []string
	}{
		{"a row appears", `INSERT INTO app.exports (id, owner_id) VALUES (1, 'alice')`,
			[]string{`exports row exports:1 queued ["alice"]`}},
		{"its status changes", `UPDATE app.exports SET state = 'working', percent = '5'`,
			[]string{`exports row exports:1 running ["alice"] 5`}},
		{"a message inside JSON changes", `UPDATE app.exports SET args = '{"note": "half"}'`,
			[]string{`exports row exports:1 running ["alice"] 5 half`}},
		{"nothing that is mapped changes", `UPDATE app.exports SET seen_at = now(), args = '{"note":  "half", "x": 1}'`, nil},
		{"an unknown status", `UPDATE app.exports SET state = 'archived'`,
			[]string{`exports row exports:1 ["alice"] 5 half archived`}},
		{"a result", `UPDATE app.exports SET state = 'done', output = '{"rows": null}'`,
			[]string{`exports row exports:1 completed ["alice"] 5 half {"rows": null}`}},
		{"the key changes", `UPDATE app.exports SET id = 2`,
			[]string{`exports left exports:1`, `exports row exports:2 completed ["alice"] 5 half {"rows": null}`}},
		{"nobody's row", `UPDATE app.exports SET owner_id = NULL`,
			[]string{`exports row exports:2 completed [null] 5 half {"rows": null}`}},
		{"a row goes", `DELETE FROM app.exports`, []string{`exports gone exports:2`}},
		{"an upsert that changes nothing", `INSERT INTO app.exports (id, owner_id) VALUES (3, 'bob');
			INSERT INTO app.exports (id, owner_id) VALUES (3, 'bob') ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id`,
			[]string{`exports row exports:3 queued ["bob"]`}},
		{"the table is emptied", `TRUNCATE app.exports`, []string{`exports truncate`}},
	} {
		s.exec(c.do)
		s.wantFacts(c.name, c.want...)
	}
}

// What fails in a mapping does not fail the app's write, and takes no transaction
// id, for a statement may write thousands of rows.
func TestAttachedTableNeverFailsAWrite(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.attachExports(`{"progress": "percent::int", "map": {"pending": "queued", "*": "running"}}`)
	s.exec(`BEGIN;
		INSERT INTO app.exports (id, owner_id, percent) SELECT i, 'alice', CASE WHEN i % 2 = 0 THEN 'much' ELSE '7' END FROM generate_series(1, 200) AS i`)
	if got := list[string](s, `SELECT DISTINCT xmin::text FROM taskfeed.changes`); len(got) != 1 || got[0] != one[string](s, `SELECT pg_current_xact_id()::xid::text`) {
		t.Errorf("the facts were written by the transactions %q, want the statement's own alone", got)
	}
	s.exec(`COMMIT`)
	s.exec(`DELETE FROM taskfeed.changes WHERE task_id NOT IN ('exports:1', 'exports:2')`)
	s.wantFacts("insert", `exports row exports:1 queued ["alice"] 7`, `exports broken exports:2 22P02`)
	s.exec(`UPDATE app.exports SET percent = '8' WHERE id = 2`)
	s.wantFacts("a bad row becomes a good one", `exports row exports:2 queued ["alice"] 8`)
	s.exec(`UPDATE app.exports SET percent = 'bad' WHERE id = 2`)
	s.wantFacts("and bad again", `exports broken exports:2 22P02`)
	s.exec(`DELETE FROM app.exports WHERE id = 2`)
	s.wantFacts("a bad row goes", `exports gone exports:2`)
	s.exec(`DELETE FROM app.exports`)
	s.facts()
	s.attach("app.exports", "exports", `{"progress": "percent::int", "strict": true}`)
	s.facts()
	s.refused("22P02", `INSERT INTO app.exports (id, owner_id, percent) VALUES (1, 'alice', 'much')`)
}

// The app's migrations pass with a table attached, and so do its writes after them.
func TestAttachedTableIsMigrated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, do, then, want string }{
		{"a mapped column gets another type", `ALTER TABLE app.exports ALTER percent TYPE int USING percent::int`,
			`UPDATE app.exports SET percent = 6`, ""},
		{"a mapped column gets the type that it has", `ALTER TABLE app.exports ALTER state TYPE app.state`,
			`UPDATE app.exports SET percent = '6'`, `exports row exports:1 queued ["alice"] 6`},
		{"a mapped column is renamed", `ALTER TABLE app.exports RENAME percent TO progress`,
			`UPDATE app.exports SET progress = '6'`, `exports broken exports:1 42703`},
		{"a mapped column is dropped", `ALTER TABLE app.exports DROP COLUMN percent`,
			`UPDATE app.exports SET state = 'done'`, `exports broken exports:1 42703`},
		{"the key is renamed", `ALTER TABLE app.exports RENAME id TO key`,
			`UPDATE app.exports SET state = 'done'`, `exports broken 42703`},
		{"the enum gets a value", `ALTER TYPE app.state ADD VALUE 'paused'`,
			`UPDATE app.exports SET state = 'paused'`, `exports row exports:1 ["alice"] 5 paused`},
		{"the status becomes text", `ALTER TABLE app.exports ALTER state DROP DEFAULT, ALTER state TYPE text`,
			`UPDATE app.exports SET percent = '6'`, ""},
		{"the table is renamed", `ALTER TABLE app.exports RENAME TO jobs`,
			`UPDATE app.jobs SET percent = '6'`, `exports row exports:1 queued ["alice"] 6`},
		{"the table is made anew", `DROP TABLE app.exports; CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state app.state)`,
			`INSERT INTO app.exports (id) VALUES (1)`, "-"},
		{"the table is moved to another schema", `CREATE SCHEMA other; ALTER TABLE app.exports SET SCHEMA other`,
			`UPDATE other.exports SET percent = '6'`, `exports row exports:1 queued ["alice"] 6`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.attachExports(`{"progress": "percent", "map": {"pending": "queued", "working": "running", "done": "completed", "error": "failed"}}`)
			s.exec(`INSERT INTO app.exports (id, owner_id, percent) VALUES (1, 'alice', '5'); UPDATE app.exports SET percent = '4'; UPDATE app.exports SET percent = '5'`)
			s.facts()
			s.another().exec(c.do)
			s.exec(c.then)
			got := s.facts()
			switch {
			case c.want == "-" && len(got) == 0:
			case c.want == "" && len(got) == 1: // a session that was there compiles anew or reports it; both are told
			case len(got) != 1 || got[0] != c.want:
				t.Errorf("captured %q, want %q", got, c.want)
			}
			if c.want == "" {
				fresh := s.another()
				fresh.exec(`UPDATE app.exports SET percent = '9'`)
				if got := fresh.facts(); len(got) != 1 || !strings.HasPrefix(got[0], "exports row exports:1 ") {
					t.Errorf("a new session captured %q, want the row", got)
				}
			}
		})
	}
}

func TestAttachPartitionedTable(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`
		CREATE SCHEMA app;
		CREATE TABLE app.job (name text, id uuid, user_id text, state text DEFAULT 'queued', PRIMARY KEY (name, id)) PARTITION BY LIST (name);
		CREATE TABLE app.job_a PARTITION OF app.job FOR VALUES IN ('a');
		CREATE TABLE app.job_common PARTITION OF app.job DEFAULT`)
	if err := s.refused("22023", `SELECT taskfeed.attach('app.job', 'job', '{}')`); !strings.Contains(err.Message, "id") {
		t.Errorf("attach without an id: %v", err)
	}
	s.attach("app.job", "job", `{"id": "id"}`)
	s.facts()
	const id = "00000000-0000-0000-0000-000000000001"
	s.exec(`INSERT INTO app.job_common (name, id, user_id) VALUES ('x', '` + id + `', 'alice')`)
	s.wantFacts("a leaf is written", `job row `+id+` queued ["alice"]`)
	s.exec(`UPDATE app.job SET name = 'a', state = 'running'`)
	s.wantFacts("a row moves between partitions", `job gone `+id, `job row `+id+` running ["alice"]`)
	s.exec(`CREATE TABLE app.job_b PARTITION OF app.job FOR VALUES IN ('b'); INSERT INTO app.job_b (name, id, user_id) VALUES ('b', '` + id + `', 'bob')`)
	s.wantFacts("a later partition", `job row `+id+` queued ["bob"]`)
	s.exec(`WITH gone AS (DELETE FROM app.job_b RETURNING name, id, user_id) INSERT INTO app.job (name, id, user_id, state) SELECT name, id, user_id, 'failed' FROM gone`)
	s.wantFacts("a row is deleted and inserted by one statement", `job gone `+id, `job row `+id+` failed ["bob"]`)
	if refused := s.refused("22023", `SELECT taskfeed.attach('app.job_a', 'leaf', '{}')`); !strings.Contains(refused.Message, "attach app.job") {
		t.Errorf("attach a partition: %v", refused)
	}
}

func TestAttachRefusesBadMappings(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(sqlExports + `; CREATE VIEW app.view AS SELECT 1 AS id; CREATE TABLE app.bare (state text, status text, user_id text);
		CREATE TABLE app.local (id int PRIMARY KEY, state text, user_id text, made timestamp); INSERT INTO app.exports (id, percent) VALUES (1, 'x')`)
	for want, c := range map[string][3]string{
		"1 to 30 of a-z":              {"app.exports", "My Exports", `{}`},
		"is a view":                   {"app.view", "v", `{}`},
		"belongs to taskfeed":         {"taskfeed.tasks", "t", `{}`},
		"the keys are id, id_prefix":  {"app.exports", "e", `{"owner": "owner_id"}`},
		"must be a JSON object":       {"app.exports", "e", `[]`},
		"neither a column":            {"app.exports", "e", `{"progress": "percnt"}`},
		"is ambiguous":                {"app.exports", "e", `{"progress": "1 + id"}`},
		"no SELECT":                   {"app.exports", "e", `{"progress": "(SELECT count(*) FROM app.bare)"}`},
		"aggregate":                   {"app.exports", "e", `{"progress": "count(r.id)"}`},
		"map has \"done\": \"ready\"": {"app.exports", "e", `{"map": {"done": "ready"}}`},
		"map must be an object":       {"app.exports", "e", `{"map": "done=completed"}`},
		"on_delete has \"running\"":   {"app.exports", "e", `{"on_delete": {"running": "gone"}}`},
		"on_delete has \"final\"":     {"app.exports", "e", `{"on_delete": {"final": "failed"}}`},
		"backfill is":                 {"app.exports", "e", `{"backfill": "yes"}`},
		"write the time like":         {"app.local", "l", `{"backfill": "since today", "created_at": "made", "timezone": "UTC"}`},
		"\"since 2026-13-01\"; write": {"app.local", "l", `{"backfill": "since 2026-13-01", "created_at": "made", "timezone": "UTC"}`},
		"give \"created_at\"":         {"app.local", "l", `{"backfill": "since 2026-01-01"}`},
		"no primary key":              {"app.bare", "b", `{"id": "status", "status": "state"}`},
		"several of the columns":      {"app.bare", "b", `{"id": "status", "backfill": "none"}`},
		"when must be a condition":    {"app.exports", "e", `{"when": "r.owner_id"}`},
		"has no time zone":            {"app.local", "l", `{"created_at": "made"}`},
		"\"done\" and \"total\"":      {"app.exports", "e", `{"progress": {"done": "id"}}`},
		"fails for rows that there":   {"app.exports", "e", `{"status": "(r.percent::int)::text"}`},
	} {
		_, err := s.try(`SELECT taskfeed.attach($1::text::regclass, $2, $3::jsonb)`, c[0], c[1], c[2])
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("attach %q: got %v, want %q", c, err, want)
		}
	}
	if got := list[string](s, `SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.exports'::regclass`); len(got) != 0 {
		t.Errorf("refused mappings left triggers: %q", got)
	}
}

func TestAttachAgainAndDetach(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(sqlExports)
	const left = `SELECT t::text FROM (
		SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.exports'::regclass
		UNION ALL SELECT attname FROM pg_attribute WHERE attrelid = 'app.exports'::regclass AND attnum > 0
		UNION ALL SELECT description FROM pg_description WHERE objoid = 'app.exports'::regclass
		UNION ALL SELECT conname FROM pg_constraint WHERE conrelid = 'app.exports'::regclass AND contype <> 'n'
		UNION ALL SELECT refobjid::regclass::text FROM pg_depend WHERE refobjid = 'app.exports'::regclass AND classid = 'pg_proc'::regclass
		UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace) AS t ORDER BY 1`
	before := list[string](s, left)
	report := one[string](s, `SELECT taskfeed.attach('app.exports', 'exports', '{}', dry_run => true)->>'sql'`)
	if !strings.Contains(report, "CREATE TRIGGER aa_taskfeed_exports_update AFTER UPDATE ON app.exports") {
		t.Errorf("dry run: %s", report)
	}
	if got := list[string](s, left); !slices.Equal(got, before) {
		t.Errorf("a dry run left %q, want %q", got, before)
	}
	for i, c := range []struct{ mapping, want string }{
		{`{}`, "new"}, {`{}`, "unchanged"}, {`{"progress": "percent"}`, "changed"}, {`{"progress": "percent"}`, "unchanged"},
	} {
		if got := s.attach("app.exports", "exports", c.mapping); got != c.want {
			t.Errorf("attach %d: got %s, want %s", i, got, c.want)
		}
	}
	revision := one[int64](s, `SELECT revision FROM taskfeed.sources`)
	s.exec(`DROP TRIGGER aa_taskfeed_exports_update ON app.exports`)
	if got := s.attach("app.exports", "exports", `{"progress": "percent"}`); got != "repaired" {
		t.Errorf("attach after the trigger was dropped: got %s, want repaired", got)
	}
	if got, want := one[int64](s, `SELECT revision FROM taskfeed.sources`), revision+1; got != want {
		t.Errorf("revision: got %d, want %d", got, want)
	}
	s.wantFacts("the sequencer is told", "exports attached", "exports attached", "exports attached")
	s.exec(`INSERT INTO app.exports (id, owner_id) VALUES (1, 'alice')`)
	if got := one[string](s, `SELECT taskfeed.detach('exports', 'delete')->>'detached'`); got != "whole" {
		t.Errorf("detach: got %s, want whole", got)
	}
	s.exec(`INSERT INTO app.exports (id, owner_id) VALUES (2, 'alice')`)
	s.wantFacts("detached", `exports row exports:1 ["alice"] pending`, `exports truncate`)
	if got := list[string](s, left); !slices.Equal(got, before) {
		t.Errorf("detach left %q, want %q", got, before)
	}
	if got := list[string](s, `SELECT proname FROM pg_proc WHERE proname LIKE 'attached%'`); len(got) != 0 {
		t.Errorf("detach left the functions %q", got)
	}
	if got := one[string](s, `SELECT taskfeed.detach('exports')->>'detached'`); got != "unchanged" {
		t.Errorf("detach again: got %s, want unchanged", got)
	}
	if len(s.notices) > 0 {
		t.Errorf("attach and detach have nothing to say but their reports, and said %q", s.notices)
	}
}

// A role with TRIGGER and SELECT may attach a table, and only the table's owner may
// drop a trigger. The app's role needs nothing new.
func TestAttachWithoutOwnership(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	app, ours := s.newRole(t, "app"), s.newRole(t, "taskfeed")
	s.exec(sqlExports)
	s.exec(`ALTER TABLE app.exports OWNER TO ` + app + `; GRANT USAGE, CREATE ON SCHEMA app TO ` + app + `; GRANT USAGE ON SCHEMA app TO ` + ours + `;
		DO $$ DECLARE o text; BEGIN
			ALTER SCHEMA taskfeed OWNER TO ` + ours + `;
			FOR o IN SELECT format('ALTER TABLE %s OWNER TO ', oid::regclass) FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace AND relkind IN ('r', 'p')
				UNION ALL SELECT format('ALTER FUNCTION %s OWNER TO ', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'taskfeed'::regnamespace
				UNION ALL SELECT format('ALTER SEQUENCE %s OWNER TO ', oid::regclass) FROM pg_class AS c WHERE relnamespace = 'taskfeed'::regnamespace AND relkind = 'S'
					AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('a', 'i')) -- of a column
			LOOP EXECUTE o || '` + ours + `'; END LOOP;
		END $$`)
	writer := s.another()
	writer.exec(`SET SESSION AUTHORIZATION ` + app)
	s.exec(`SET ROLE ` + ours)
	const sqlAttach = `SELECT taskfeed.attach('app.exports', 'exports', '{"progress": "percent::int", "trust_owner": true}')->>'may_detach'`
	if refused := s.refused("22023", sqlAttach); !strings.Contains(refused.Message, "GRANT TRIGGER, SELECT ON app.exports TO "+ours) {
		t.Errorf("without the right: %v", refused)
	}
	writer.exec(`GRANT TRIGGER, SELECT ON app.exports TO ` + ours)
	if got := one[string](s, sqlAttach); got != "false" {
		t.Errorf("may_detach: got %s, want false", got)
	}
	writer.exec(`INSERT INTO app.exports (id, owner_id) VALUES (1, 'alice')`)
	s.wantFacts("the app writes", `exports attached`, `exports row exports:1 ["alice"] pending`)
	writer.refused("42501", `SELECT FROM taskfeed.sources`)

	const sqlDetach = `SELECT concat_ws(': ', r->>'detached', r->>'reason', r->>'run_as_owner') FROM taskfeed.detach('exports') AS r`
	want := `captures no more: only the owner of the table may drop a trigger: ["DROP TRIGGER aa_taskfeed_exports_insert ON app.exports", "DROP TRIGGER aa_taskfeed_exports_update ON app.exports", "DROP TRIGGER aa_taskfeed_exports_delete ON app.exports", "DROP TRIGGER aa_taskfeed_exports_truncate ON app.exports"]`
	if got := one[string](s, sqlDetach); got != want {
		t.Errorf("detach: got %s, want %s", got, want)
	}
	writer.exec(`INSERT INTO app.exports (id, owner_id) VALUES (2, 'alice')`)
	s.wantFacts("detached")
	for _, trigger := range []string{"insert", "update", "delete", "truncate"} {
		writer.exec(`DROP TRIGGER aa_taskfeed_exports_` + trigger + ` ON app.exports`)
	}
	if got := one[string](s, sqlDetach); got != "whole" {
		t.Errorf("detach after the owner dropped the triggers: got %s, want whole", got)
	}
}

// A table that is in use is not waited for.
func TestAttachDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(sqlExports)
	user := s.another()
	user.exec(`BEGIN; INSERT INTO app.exports (id, owner_id) VALUES (1, 'alice')`)
	s.refused("55P03", `SELECT taskfeed.attach('app.exports', 'exports', '{}')`)
	if got := one[string](s, `SELECT taskfeed.attach('app.exports', 'exports', '{}', true)->>'table'`); got != "app.exports" {
		t.Errorf("a dry run of a table in use: got %s", got)
	}
	user.exec(`COMMIT`)
	s.attach("app.exports", "exports", `{}`)
	user.exec(`BEGIN; INSERT INTO app.exports (id, owner_id) VALUES (2, 'alice')`)
	if got := one[string](s, `SELECT taskfeed.detach('exports')->>'reason'`); got != "the table is in use: call this again" {
		t.Errorf("detach of a table in use: got %s", got)
	}
	user.exec(`INSERT INTO app.exports (id, owner_id) VALUES (3, 'alice'); COMMIT`)
	s.wantFacts("until it was detached", `exports attached`, `exports row exports:2 ["alice"] pending`)
}

// A trigger of the app may change rows of its table again, while the statement that
// fired it goes on: the last fact of a task is what its row is in the end.
func TestAttachedTableWithTriggersOfTheApp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, when, does, do string }{
		{"the row that was inserted", "AFTER INSERT", `UPDATE app.exports SET state = 'working', percent = '1' WHERE id = new.id`,
			`INSERT INTO app.exports (id, owner_id) VALUES (3, 'carol'), (4, 'dave')`},
		{"the row that was updated", "AFTER UPDATE", `UPDATE app.exports SET state = 'done' WHERE id = new.id AND state <> 'done'`,
			`UPDATE app.exports SET percent = '100'`},
		{"all rows", "AFTER UPDATE", `UPDATE app.exports SET percent = concat(percent, new.id) WHERE length(percent) < 6`,
			`UPDATE app.exports SET percent = '5' WHERE id < 3`},
		{"a row that was updated before", "BEFORE UPDATE", `UPDATE app.exports SET percent = '77' WHERE id < new.id AND percent <> '77'`,
			`UPDATE app.exports SET percent = '5'`},
		{"the row that was deleted", "AFTER DELETE", `INSERT INTO app.exports (id, owner_id, state) VALUES (old.id, 'eve', 'working')`,
			`DELETE FROM app.exports WHERE id = 2`},
		{"the row that was updated goes", "AFTER UPDATE", `DELETE FROM app.exports WHERE id = new.id`,
			`UPDATE app.exports SET percent = '9' WHERE id = 1`},
		{"a row of another transaction before", "AFTER UPDATE", `UPDATE app.exports SET percent = '8' WHERE id = 2 AND percent IS NULL`,
			`UPDATE app.exports SET percent = '7' WHERE id = 1; UPDATE app.exports SET percent = '6' WHERE id = 2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.attachExports(`{"progress": "percent", "map": {"pending": "queued", "working": "running", "done": "completed"}}`)
			s.exec(`INSERT INTO app.exports (id, owner_id) VALUES (1, 'alice'), (2, 'bob');
				CREATE FUNCTION app.go_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + c.does + `; RETURN coalesce(new, old); END $$;
				CREATE TRIGGER go_on ` + c.when + ` ON app.exports FOR EACH ROW EXECUTE FUNCTION app.go_on()`)
			s.exec(`BEGIN; ` + c.do + `; COMMIT`)
			const sqlWrong = `
				SELECT concat_ws(' ', f.task_id, f.type, f.data, 'but it is', r.data)
				FROM (SELECT DISTINCT ON (task_id) task_id, type, data FROM taskfeed.changes WHERE source = 'exports' AND task_id IS NOT NULL ORDER BY task_id, id DESC) AS f
				FULL JOIN taskfeed.attached_exports_rows(NULL, NULL, 100) AS r ON r.task_id = f.task_id
				WHERE CASE WHEN r.task_id IS NULL THEN f.type NOT IN ('gone', 'left') ELSE f.data IS DISTINCT FROM r.data END`
			if got := list[string](s, sqlWrong); len(got) != 0 {
				t.Errorf("the last facts are %q", got)
			}
		})
	}
}

// All rows of a statement are mapped by one query, whose plan serves one row as well as
// thousands.
func TestAttachedTableCapturesStatements(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.attachExports(exportsMapping)
	s.exec(`INSERT INTO app.exports (id, owner_id) VALUES (1, 'alice')`)
	for range 20 {
		s.exec(`UPDATE app.exports SET percent = concat(percent, '1')`)
	}
	s.exec(`INSERT INTO app.exports (id, owner_id) SELECT i, 'u' || i FROM generate_series(2, 20000) AS i; DELETE FROM taskfeed.changes`)
	s.exec(`SET statement_timeout = '60s'; UPDATE app.exports SET percent = '50'; RESET statement_timeout`)
	const sqlRight = `SELECT count(DISTINCT task_id) FROM taskfeed.changes WHERE type = 'row' AND data->>'progress' = '50'`
	if got := one[int](s, sqlRight); got != 20000 {
		t.Errorf("%d rows captured, want 20000", got)
	}
	s.exec(`DELETE FROM taskfeed.changes; UPDATE app.exports SET id = id + 100000`)
	if got := one[string](s, `SELECT string_agg(type || ' ' || n, ', ' ORDER BY type) FROM (SELECT type, count(*) AS n FROM taskfeed.changes GROUP BY type) AS c`); got != "left 20000, row 20000" {
		t.Errorf("of rows with other keys: %s, want that each left and that each appeared", got)
	}
}

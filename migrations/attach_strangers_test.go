package migrations_test

import (
	"strings"
	"testing"
)

// Tasks of an attached table are the sequencer's alone.
func TestTasksOfSourcesAreRefusedToApps(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`SET taskfeed.folding = 'on'; INSERT INTO taskfeed.tasks (id, user_id, source) VALUES ('exports:1', 'alice', 'exports'); RESET taskfeed.folding;
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('own', 'alice')`)
	s.wantCaptured(`alice own task_queued 1 {"progress": 0}`)
	for _, sql := range []string{
		`INSERT INTO taskfeed.tasks (id, user_id, source) VALUES ('exports:2', 'alice', 'exports')`,
		`UPDATE taskfeed.tasks SET progress = 5`,
		`UPDATE taskfeed.tasks SET source = 'exports' WHERE id = 'own'`,
		`UPDATE taskfeed.tasks SET source = NULL`,
		`DELETE FROM taskfeed.tasks`,
	} {
		if refused := s.refused("55000", sql); !strings.Contains(refused.Message, `the attached table "exports"`) {
			t.Errorf("%s: %v", sql, refused)
		}
	}
	s.exec(`UPDATE taskfeed.tasks SET progress = 5 WHERE source IS NULL; DELETE FROM taskfeed.tasks WHERE source IS NULL`)
	s.wantCaptured(`alice own task_progress 2 {"progress": 5}`, `alice own task_deleted 3 {}`)

	// The setting is no secret: an app that makes it is refused all the same.
	app := s.newRole(t, "app")
	s.exec(`SELECT taskfeed.grant_app('` + app + `')`)
	for _, become := range []string{`SET ROLE ` + app, `SET SESSION AUTHORIZATION ` + app} {
		writer := s.another()
		writer.exec(become + `; SET taskfeed.folding = 'on'`)
		for _, sql := range []string{
			`INSERT INTO taskfeed.tasks (id, user_id, source) VALUES ('exports:2', 'alice', 'exports')`,
			`UPDATE taskfeed.tasks SET progress = 5`,
			`DELETE FROM taskfeed.tasks`,
		} {
			if refused := writer.refused("55000", sql); !strings.Contains(refused.Message, `the attached table "exports"`) {
				t.Errorf("%s; %s: %v", become, sql, refused)
			}
		}
	}
}

// A mapping is evaluated with the rights of the owner of the schema, so whoever owns
// the table, or a type of its columns, could run code with them: a cast of theirs is
// found without its name. They need these rights already, or the word of the admin.
func TestAttachTrustsNoStranger(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	stranger := s.newRole(t, "stranger")
	for name, does := range map[string]string{
		"the table":                         `ALTER TABLE app.exports OWNER TO {stranger}`,
		"an enum":                           `CREATE TYPE app.mine AS ENUM ('a'); ALTER TYPE app.mine OWNER TO {stranger}; ALTER TABLE app.exports ADD s app.mine`,
		"an enum in an array":               `CREATE TYPE app.mine AS ENUM ('a'); ALTER TYPE app.mine OWNER TO {stranger}; ALTER TABLE app.exports ADD s app.mine[]`,
		"an enum under a domain":            `CREATE TYPE app.mine AS ENUM ('a'); CREATE DOMAIN app.now AS app.mine; ALTER TYPE app.mine OWNER TO {stranger}; ALTER TABLE app.exports ADD s app.now`,
		"an enum in a composite type":       `CREATE TYPE app.mine AS ENUM ('a'); CREATE TYPE app.pair AS (a int, b app.mine); ALTER TYPE app.mine OWNER TO {stranger}; ALTER TABLE app.exports ADD s app.pair`,
		"a range":                           `CREATE TYPE app.span AS RANGE (subtype = time); ALTER TYPE app.span OWNER TO {stranger}; ALTER TABLE app.exports ADD s app.span`,
		"the type of a column nobody reads": `CREATE DOMAIN app.note AS text; ALTER DOMAIN app.note OWNER TO {stranger}; ALTER TABLE app.exports ADD s app.note`,
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			s.exec(sqlExports)
			s.exec(strings.ReplaceAll(does, "{stranger}", stranger))
			err := s.refused("22023", `SELECT taskfeed.attach('app.exports', 'exports', $m$`+exportsMapping+`$m$)`)
			if !strings.Contains(err.Message, stranger) || !strings.Contains(err.Message+err.Hint, "trust_owner") {
				t.Errorf("refused with %q (%s), want the role and trust_owner named", err.Message, err.Hint)
			}
			s.attach("app.exports", "exports", strings.Replace(exportsMapping, "{", `{"trust_owner": true, `, 1))
			s.exec(`SELECT taskfeed.detach('exports'); DROP SCHEMA app CASCADE`)
		})
	}
}

// A stranger is named before anything of the mapping is evaluated: a cast of theirs
// would run even for a dry run that is then refused.
func TestAttachRunsNothingOfAStranger(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	stranger := s.newRole(t, "stranger")
	s.exec(sqlExports + `;
		CREATE FUNCTION app.run(app.state) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'run by %', current_user USING ERRCODE = 'TF666'; END$$;
		CREATE CAST (app.state AS int) WITH FUNCTION app.run;
		ALTER TYPE app.state OWNER TO ` + stranger)
	for _, key := range []string{"id", "user", "when", "created_at"} {
		err := s.refused("22023", `SELECT taskfeed.attach('app.exports', 'exports', jsonb_build_object('user', 'owner_id', $1::text, 'r.state::int'), true)`, key)
		if !strings.Contains(err.Message, stranger) {
			t.Errorf("%s: refused with %q, want the stranger named", key, err.Message)
		}
	}
	s.exec(`DROP SCHEMA app CASCADE`)
}

// A mapping may name a function. Who owns it may replace it at any time.
func TestAttachTrustsNoStrangersFunction(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	stranger := s.newRole(t, "stranger")
	s.exec(sqlExports + `; CREATE FUNCTION app."Owner of"(t text) RETURNS text LANGUAGE sql RETURN t; CREATE FUNCTION app.note(t text) RETURNS text LANGUAGE sql RETURN t;
		CREATE DOMAIN app.login AS text; CREATE FUNCTION app.safe(t text) RETURNS text LANGUAGE sql RETURN t;
		CREATE TABLE app.kinds (id bigint PRIMARY KEY, name text)`)
	for what, mapping := range map[string]string{
		`function app."Owner of"(text)`: `{"user": "app.\"Owner of\"(r.owner_id)"}`,
		"function app.note(text)":       `{"message": "concat('', APP . note(r.owner_id))"}`,
		"type app.login":                `{"user": "r.owner_id::app.login"}`,
	} {
		kind, name, _ := strings.Cut(what, " ")
		alter := map[string]string{"function": "FUNCTION", "type": "DOMAIN"}[kind]
		s.exec(`ALTER ` + alter + ` ` + name + ` OWNER TO ` + stranger)
		for _, mapping := range []string{mapping, `{"kind": {"via": "id", "from": "app.kinds", "kind": "concat(` + strings.ReplaceAll(name, `"`, `\"`) + `, r.name)"}}`} {
			if kind == "type" && strings.Contains(mapping, "via") {
				mapping = `{"kind": {"via": "id", "from": "app.kinds", "kind": "r.name::app.login"}}`
			}
			err := s.refused("22023", `SELECT taskfeed.attach('app.exports', 'exports', $1::text::jsonb)`, strings.ReplaceAll(mapping, "(text),", "(r.name),"))
			if !strings.Contains(err.Message, stranger+", which owns the "+what) {
				t.Errorf("%s: refused with %q, want the role and what it owns", mapping, err.Message)
			}
		}
		s.exec(`ALTER ` + alter + ` ` + name + ` OWNER TO CURRENT_USER`)
	}
	if got := s.attach("app.exports", "exports", `{"user": "app.safe(r.owner_id)"}`); got != "new" {
		t.Errorf("with a function of ours: got %s, want new", got)
	}
}

// Integer ids of two tables would be the same tasks.
func TestAttachTablesWithTheSameIDs(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(sqlExports + `; CREATE TABLE app.imports (id int PRIMARY KEY, user_id text, status text); CREATE TABLE app.runs (id uuid PRIMARY KEY, user_id text, status text);
		CREATE TABLE app.notes (id text PRIMARY KEY, user_id text, status text); CREATE TABLE app.logs (id text PRIMARY KEY, user_id text, status text)`)
	s.attach("app.exports", "exports", `{"id_prefix": ""}`)
	const said = `would have the same ids as those of the source exports, which has the same prefix "": give "id_prefix", for example --id-prefix imports:`
	if err := s.refused("22023", `SELECT taskfeed.attach('app.imports', 'imports', '{"id_prefix": ""}')`); !strings.Contains(err.Message, said) {
		t.Errorf("integers: got %q", err.Message)
	}
	s.refused("22023", `SELECT taskfeed.attach('app.imports', 'imports', '{"id_prefix": ""}', dry_run => true)`)
	s.refused("22023", `SELECT taskfeed.attach('app.notes', 'notes', '{}')`)
	for name, mapping := range map[string]string{"imports": `{}`, "runs": `{}`, "notes": `{"id_prefix": "n"}`, "logs": `{"id_prefix": "n"}`} {
		if got := s.attach("app."+name, name, mapping); got != "new" {
			t.Errorf("%s: got %s, want new", name, got)
		}
	}
	if got := s.attach("app.exports", "exports", `{"id_prefix": ""}`); got != "unchanged" {
		t.Errorf("the first again: got %s, want unchanged", got)
	}
}

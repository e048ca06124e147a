package migrations_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func hint(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return " " + e.Hint
	}
	return ""
}

const sqlMembers = sqlExports + `;
CREATE TABLE app.projects (id bigint PRIMARY KEY, owner_id text, "a%s b" int);
CREATE TABLE app.members (project_id bigint, user_id text);
CREATE TABLE app.pairs (a int, b int, user_id text, PRIMARY KEY (a, b));
ALTER TABLE app.exports ADD project_id int, ADD team uuid;
INSERT INTO app.exports (id, project_id) VALUES (1, 1), (2, 2), (3, NULL);
INSERT INTO app.projects VALUES (1, 'alice', 5), (2, NULL, 6)`

const projectOwner = `{"user": {"via": "project_id", "from": "app.projects", "key": "id", "user": "owner_id"}}`

func TestAttachWithAJoin(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(sqlMembers)
	report := one[string](s, `SELECT concat_ws(' ', r #> '{sample,owners}', r #> '{sample,without_owner}', position('attached_exports_joined' IN r->>'sql') > 0)
		FROM taskfeed.attach('app.exports', 'exports', '`+projectOwner+`', true) AS r`)
	if want := `[["alice"]] 2 t`; report != want {
		t.Errorf("dry run: got %s, want %s", report, want)
	}
	for i, want := range []string{"new", "unchanged"} {
		if got := s.attach("app.exports", "exports", projectOwner); got != want {
			t.Errorf("attach %d: got %s, want %s", i, got, want)
		}
	}
	s.facts()
	s.exec(`UPDATE app.exports SET project_id = 2 WHERE id = 1; UPDATE app.exports SET seen_at = now()`)
	if got := one[string](s, `SELECT string_agg(task_id || ' ' || (data->>'via_user') || (data ? 'users')::text, ', ') FROM taskfeed.changes`); got != `exports:1 ["2"]false` {
		t.Errorf("captured %s, want the key alone", got)
	}
	problem := func() string {
		return one[string](s, `SELECT coalesce((SELECT problem FROM taskfeed.source_problems()), '')`)
	}
	for _, c := range [][2]string{
		{``, ""},
		{`ALTER TABLE app.projects RENAME owner_id TO o`, "owner_id of app.projects, which is o now"},
		{`ALTER TABLE app.projects RENAME o TO owner_id`, ""},
		{`DROP TABLE app.projects`, "of a table that is gone, which is gone"},
	} {
		s.exec(c[0])
		if got := problem(); c[1] == "" && got != "" || !strings.Contains(got, c[1]) {
			t.Errorf("after %q: problem %q, want %q", c[0], got, c[1])
		}
	}
	if got := s.attach("app.exports", "exports", `{}`); got != "changed" {
		t.Errorf("attach without the join: got %s, want changed", got)
	}
	if got := one[int](s, `SELECT count(*)::int FROM pg_proc WHERE proname = 'attached_exports_joined'`); got != 0 {
		t.Errorf("the function of the join is left")
	}
	s.attach("app.exports", "exports", `{"user": {"via": "project_id", "from": "app.pairs", "key": "a", "user": "user_id"}}`)
	s.exec(`SELECT taskfeed.detach('exports')`)
	if got := list[string](s, `SELECT proname FROM pg_proc WHERE proname LIKE 'attached%'`); len(got) != 0 {
		t.Errorf("detach left the functions %q", got)
	}
}

func TestAttachRefusesBadJoins(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(sqlMembers + `; CREATE VIEW app.owners AS SELECT id, owner_id FROM app.projects;
		CREATE TABLE app.partial (id int, user_id text); CREATE INDEX ON app.partial (id) WHERE user_id <> ''`)
	for want, join := range map[string]string{
		`"via", "from", "key" and "user"`:                   `{"via": "project_id", "from": "app.projects"}`,
		`has "via", "from"`:                                 `{"via": "project_id", "from": "app.projects", "user": "owner_id", "where": "x"}`,
		`names no table: "projects"`:                        `{"via": "project_id", "from": "projects", "user": "owner_id"}`,
		"must be a table":                                   `{"via": "project_id", "from": "app.owners", "key": "id", "user": "owner_id"}`,
		"run CREATE INDEX ON app.members (project_id)":      `{"via": "project_id", "from": "app.members", "key": "project_id", "user": "user_id"}`,
		"run CREATE INDEX ON app.partial (id)":              `{"via": "project_id", "from": "app.partial", "key": "id", "user": "user_id"}`,
		"say which, for its primary key":                    `{"via": "project_id", "from": "app.pairs", "user": "user_id"}`,
		"must be a column of app.projects: r.id":            `{"via": "project_id", "from": "app.projects", "key": "r.id", "user": "owner_id"}`,
		"user.via is neither a column of app.exports":       `{"via": "projekt", "from": "app.projects", "user": "owner_id"}`,
		"user.user is neither a column of app.projects":     `{"via": "project_id", "from": "app.projects", "user": "owner"}`,
		`Write a cast, for example "(r.args->>'id')`:        `{"via": "team", "from": "app.projects", "user": "owner_id"}`,
		"goes through more than two tables":                 `{"via": "project_id", "from": "app.projects", "user": {"via": "id", "from": "app.pairs", "key": "a", "user": {"via": "b", "from": "app.projects", "user": "owner_id"}}}`,
		"user.user.via is neither a column of app.projects": `{"via": "project_id", "from": "app.projects", "user": {"via": "project_id", "from": "app.pairs", "key": "a", "user": "user_id"}}`,
	} {
		_, err := s.try(`SELECT taskfeed.attach('app.exports', 'e', jsonb_build_object('user', $1::jsonb))`, join)
		if err == nil || !strings.Contains(err.Error()+hint(err), want) {
			t.Errorf("attach with %s: got %v, want %q", join, err, want)
		}
	}
	s.attach("app.exports", "odd", `{"user": {"via": "project_id", "from": "app.projects", "user": "concat(r.owner_id, '%s', r.\"a%s b\")"}}`)
	if got := one[string](s, `SELECT string_agg(j.value::text, ' ' ORDER BY j.key) FROM taskfeed.attached_odd_joined('user', (SELECT trim(BOTH '''' FROM resolved #>> '{values,joins}') FROM taskfeed.sources), '{1,2,3}') AS j`); got != `["alice%s5"] ["%s6"] []` {
		t.Errorf("looked up %s", got)
	}
}

// What is read of another table runs nothing of a stranger, and needs rights on it.
func TestAttachJoinsWithoutRights(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(sqlMembers)
	app, ours := s.newRole(t, "app"), s.newRole(t, "taskfeed")
	s.exec(`GRANT TRIGGER, SELECT ON app.exports TO ` + ours + `; GRANT USAGE ON SCHEMA app TO ` + ours + `;
		DO $$ DECLARE o text; BEGIN
			FOR o IN SELECT format('ALTER TABLE %s OWNER TO ', oid::regclass) FROM pg_class WHERE relnamespace = 'taskfeed'::regnamespace AND relkind IN ('r', 'p')
			LOOP EXECUTE o || '` + ours + `'; END LOOP;
		END $$`)
	defer s.exec(`REASSIGN OWNED BY ` + ours + ` TO CURRENT_USER`) // or the role could not be dropped
	attach := func(mapping string) string {
		_, err := s.try(`SELECT taskfeed.attach('app.exports', 'exports', $1::jsonb)`, mapping)
		if err == nil {
			return ""
		}
		return err.Error()
	}
	trusting := strings.Replace(projectOwner, "{", `{"trust_owner": true, `, 1)
	if got := attach(projectOwner); !strings.Contains(got, "GRANT SELECT ON app.projects TO "+ours) {
		t.Errorf("without the right: got %q", got)
	}
	s.exec(`ALTER TABLE app.projects OWNER TO ` + app + `; GRANT SELECT ON app.projects TO ` + ours)
	if got := attach(projectOwner); !strings.Contains(got, "which owns the table app.projects, could run code") {
		t.Errorf("a table of a stranger: got %q", got)
	}
	s.exec(`ALTER TABLE app.projects ENABLE ROW LEVEL SECURITY`)
	if got := attach(trusting); !strings.Contains(got, "ALTER ROLE "+ours+" BYPASSRLS") {
		t.Errorf("with row security: got %q", got)
	}
	s.exec(`ALTER TABLE app.projects DISABLE ROW LEVEL SECURITY`)
	if got := attach(trusting); got != "" {
		t.Errorf("a table of a stranger who is trusted: got %q", got)
	}
}

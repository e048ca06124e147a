package migrations_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// The generated code is made from templates. A path of JSON and an array may be written
// like a part of one.
func TestAttachMappingsLikeTemplates(t *testing.T) {
	t.Parallel()
	parts := strings.Fields("name rows strict on_delete same pairs old new id on_truncate statement relation ids after first place map")
	expression, args, want := "concat(r.id", "{", "1"
	for _, part := range parts {
		expression += `, r.args#>>'{` + part + `}'`
		args += `"` + part + `": "-` + part + `", `
		want += "-" + part
	}
	expression += ")"
	args = strings.TrimSuffix(args, ", ") + "}"
	s := newSession(t)
	s.attachExports(`{"id": "` + expression + `", "message": "` + expression + `", "when": "` + expression + ` <> ''", "map": {"pending": "queued", "{new}": "running"}}`)
	s.exec(`INSERT INTO app.exports (id, owner_id, args) VALUES (1, 'alice', $1::text::json)`, args)
	fact := want + ` queued ["alice"] ` + want
	s.wantFacts("an insert", "exports row "+fact)
	if got := one[string](s, `SELECT concat_ws(' ', task_id, data->>'status', data->'users', data->>'message') FROM taskfeed.attached_exports_rows(NULL, NULL, 10)`); got != fact {
		t.Errorf("read again: got %q, want %q", got, fact)
	}
}

// A per cent sign in the name of a key's column was read as a specifier of format, so
// the rows of the table were never read.
func TestAttachKeysWithSigns(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"a%b", "a%sb", "a%%", `a"b`, "a'b", `a\b`, "a$1b", "A b"} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			name := pgx.Identifier{column}.Sanitize()
			s.exec(`CREATE TABLE public.odd (` + name + ` int, n int, user_id text, status text, PRIMARY KEY (` + name + `));
				INSERT INTO public.odd VALUES (1, 1, 'alice', 'queued'), (2, 2, 'bob', 'queued')`)
			s.exec(`SELECT taskfeed.attach('public.odd', 'odd', '{"map": {"queued": "queued"}}')`)
			for _, call := range []string{`NULL, NULL, 10`, `ARRAY['odd:1', 'odd:2'], NULL, 10`, `NULL, ARRAY['0'], 10`} {
				if got := one[int](s, `SELECT count(*)::int FROM taskfeed.attached_odd_rows(`+call+`)`); got != 2 {
					t.Errorf("attached_odd_rows(%s) reads %d rows, want 2", call, got)
				}
			}
		})
	}
}

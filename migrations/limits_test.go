package migrations_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestRefusedTasks(t *testing.T) {
	t.Parallel()
	const insertUser, insertID = `INSERT INTO taskfeed.tasks (user_id) VALUES ($1)`, `INSERT INTO taskfeed.tasks (user_id, id) VALUES ('alice', $1)`
	s := newSession(t)
	for _, c := range []struct {
		name, do string
		arg      any
		code     string
		names    string // what the message names
	}{
		{"bad input 1: no user id", insertUser, nil, "23502", `"user_id"`},
		{"bad input 1: an empty user id", insertUser, "", "23514", "user_id_is_1_to_255_bytes"},
		{"bad input 1: a user id of 256 bytes", insertUser, strings.Repeat("é", 128), "23514", "user_id_is_1_to_255_bytes"},
		{"bad input 1: a user id of 10 KB", insertUser, strings.Repeat("x", 10<<10), "23514", "user_id_is_1_to_255_bytes"},
		{"bad input 1: a line end in a user id", insertUser, "alice\n", "23514", "user_id_is_1_to_255_bytes_without_control_characters"},
		{"bad input 1: an escape in a user id", insertUser, "al\x1bice", "23514", "user_id_is_1_to_255_bytes_without_control_characters"},
		{"bad input 1: DEL in a user id", insertUser, "alice\x7f", "23514", "user_id_is_1_to_255_bytes_without_control_characters"},
		{"bad input 1: U+0000 in a user id", insertUser, "alice\x00", "22021", "UTF8"},
		{"bad input 1: a user id that is not UTF-8", insertUser, "\xff", "22021", "UTF8"},
		{"no id", insertID, nil, "23502", `"id"`},
		{"an empty id", insertID, "", "23514", "id_is_1_to_255_bytes"},
		{"an id of 10 KB", insertID, strings.Repeat("x", 10<<10), "23514", "id_is_1_to_255_bytes"},
		{"a tab in an id", insertID, "a\tb", "23514", "id_is_1_to_255_bytes_without_control_characters"},
		{"a long kind", `INSERT INTO taskfeed.tasks (user_id, kind) VALUES ('alice', $1)`, strings.Repeat("x", 256), "23514", "kind_is_at_most_255_bytes"},
		{"an unknown status", `INSERT INTO taskfeed.tasks (user_id, status) VALUES ('alice', $1)`, "done", "23514", "status_is_queued_running_completed_failed_or_canceled"},
		{"no status", `INSERT INTO taskfeed.tasks (user_id, status) VALUES ('alice', $1)`, nil, "23502", `"status"`},
		{"progress below 0", `INSERT INTO taskfeed.tasks (user_id, progress) VALUES ('alice', $1)`, -1, "23514", "progress_is_between_0_and_100"},
		{"progress over 100", `INSERT INTO taskfeed.tasks (user_id, progress) VALUES ('alice', $1)`, 101, "23514", "progress_is_between_0_and_100"},
		{"bad input 12: U+0000 in a result", `INSERT INTO taskfeed.tasks (user_id, result) VALUES ('alice', $1::text::jsonb)`, `"\u0000"`, "22P05", "Unicode"},
		{"bad input 12: a lone surrogate in a result", `INSERT INTO taskfeed.tasks (user_id, result) VALUES ('alice', $1::text::jsonb)`, `"\ud800"`, "22P02", "json"},
		{"bad input 12: NaN in a result", `INSERT INTO taskfeed.tasks (user_id, result) VALUES ('alice', $1::text::jsonb)`, `NaN`, "22P02", "json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *s
			s.t = t
			err := s.refused(c.code, c.do, c.arg)
			if !strings.Contains(err.Message, c.names) {
				t.Errorf("message %q, want one that names %s", err.Message, c.names)
			}
			s.wantCaptured()
		})
	}
}

// The rules hold for updates as for inserts, and a refused update captures nothing.
func TestRefusedUpdates(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	s.captured()
	before := one[string](s, `SELECT t::text FROM taskfeed.tasks AS t`)
	for _, c := range []struct{ set, code, names string }{
		{`progress = -1`, "23514", "progress_is_between_0_and_100"},
		{`progress = 101, message = 'm'`, "23514", "progress_is_between_0_and_100"},
		{`progress = 101, message = repeat('x', 50000)`, "23514", "progress_is_between_0_and_100"},
		{`progress = 101, status = 'running'`, "23514", "progress_is_between_0_and_100"},
		{`status = 'done'`, "23514", "status_is_queued_running_completed_failed_or_canceled"},
		{`id = ''`, "23514", "id_is_1_to_255_bytes_without_control_characters"},
		{`user_id = E'a\nb'`, "23514", "user_id_is_1_to_255_bytes_without_control_characters"},
		{`kind = repeat('x', 256)`, "23514", "kind_is_at_most_255_bytes"},
		{`created_at = 'infinity'`, "23514", "created_at_is_in_the_years_1_to_9998"},
		{`created_at = 'infinity', progress = 1`, "23514", "created_at_is_in_the_years_1_to_9998"},
		{`progress = NULL`, "23502", `"progress"`},
		{`status = NULL, progress = 1`, "23502", `"status"`},
		{`id = NULL`, "23502", `"id"`},
		{`user_id = NULL`, "23502", `"user_id"`},
		{`created_at = NULL`, "23502", `"created_at"`},
	} {
		t.Run(c.set, func(t *testing.T) {
			s := *s
			s.t = t
			err := s.refused(c.code, `UPDATE taskfeed.tasks SET `+c.set)
			if !strings.Contains(err.Message, c.names) {
				t.Errorf("message %q, want one that names %s", err.Message, c.names)
			}
			if err.TableName != "tasks" || err.SchemaName != "taskfeed" {
				t.Errorf("the error is about %s.%s, want taskfeed.tasks", err.SchemaName, err.TableName)
			}
			s.wantCaptured()
		})
	}
	if got := one[string](s, `SELECT t::text FROM taskfeed.tasks AS t`); got != before {
		t.Errorf("the row became %s, want %s", got, before)
	}
}

func TestUserIDsOfOtherTypes(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range []struct{ name, literal, want string }{
		{"an integer", `42`, "42"},
		{"a uuid", `'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"a padded char", `'al'::char(5)`, "al"},
		{"unicode", `'ålice 💚'`, "ålice 💚"},
		{"spaces", `' alice '`, " alice "},
		{"255 bytes", `repeat('x', 255)`, strings.Repeat("x", 255)},
	} {
		t.Run("bad input 11: "+c.name, func(t *testing.T) {
			s := *s
			s.t = t
			s.exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', ` + c.literal + `::text)`)
			s.wantCaptured(c.want + ` t task_queued 1 {"progress": 0}`)
			s.exec(`DELETE FROM taskfeed.tasks`)
			s.captured()
		})
	}
}

// maxData is how long an event's data may be as text: taskfeed.MaxDataBytes.
const maxData = 256 << 10

// sqlStoreFast saves time: large fields are neither compressed nor written to the WAL.
const sqlStoreFast = `
ALTER TABLE taskfeed.tasks
    SET UNLOGGED,
    ALTER COLUMN message SET STORAGE EXTERNAL,
    ALTER COLUMN result SET STORAGE EXTERNAL`

// Fields that do not fit into an event become null there and stay in the row.
func TestLargeFields(t *testing.T) {
	t.Parallel()
	const inserted = `INSERT INTO taskfeed.tasks (id, user_id, status, message, error, result) VALUES ('t', 'alice', 'completed', `
	nested := func(depth int) string { return fmt.Sprintf(`(repeat('[', %[1]d) || repeat(']', %[1]d))::jsonb`, depth) }
	for _, c := range []struct {
		name, do  string
		truncated string
	}{
		{"bad input 2: a result of 1 MB", inserted + `'m', NULL, to_jsonb(repeat(repeat('x', 1000), 1000)))`, `["result"]`},
		{"bad input 2: a result of 10 MB", inserted + `'m', NULL, to_jsonb(repeat(repeat('x', 1000), 10000)))`, `["result"]`},
		{"bad input 2: a result of 10 MB that does not compress",
			inserted + `'m', NULL, (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 280000) AS i))`, `["result"]`},
		{"bad input 2: a result of 50 MB", inserted + `'m', NULL, to_jsonb(repeat(repeat('x', 1000), 50000)))`, `["result"]`},
		{"bad input 2: a result of depth 512", inserted + `'m', NULL, ` + nested(512) + `)`, ``},
		{"bad input 2: a result of depth 513", inserted + `'m', NULL, ` + nested(513) + `)`, `["result"]`},
		{"bad input 2: a result of depth 5,000", inserted + `'m', NULL, ` + nested(5000) + `)`, `["result"]`},
		{"bad input 2: a result of depth 10,000", inserted + `'m', NULL, ` + nested(10000) + `)`, `["result"]`},
		{"a result just within the limit", inserted + `NULL, NULL, to_jsonb(repeat('x', 259000)))`, ``},
		{"a long message with a small result", inserted + `repeat('x', 300000), NULL, '1')`, `["message"]`},
		{"a message that grows in JSON", inserted + `repeat(E'\x01', 50000), NULL, '1')`, `["message"]`},
		{"several large fields", inserted + `repeat('x', 300000), repeat('y', 400000), to_jsonb(repeat('z', 500000)))`, `["result", "error", "message"]`},
		{"fields that are large together", inserted + `repeat('x', 100000), repeat('y', 90000), to_jsonb(repeat('z', 80000)))`, `["message"]`},
		{"a large field beside one that just fits", inserted + `NULL, repeat('y', 262070), to_jsonb(repeat('z', 1000000)))`, `["result", "error"]`},
		{"a large message on progress", `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice'); DELETE FROM taskfeed.changes;
			UPDATE taskfeed.tasks SET message = repeat(repeat('x', 1000), 10000)`, `["message"]`},
		{"a message that grows in JSON on progress", `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice'); DELETE FROM taskfeed.changes;
			UPDATE taskfeed.tasks SET message = repeat(E'\x01', 50000)`, `["message"]`},
		{"a long message on progress that fits", `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice'); DELETE FROM taskfeed.changes;
			UPDATE taskfeed.tasks SET message = repeat(E'\x01', 40000)`, ``},
		{"a large result on a change of state", `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice'); DELETE FROM taskfeed.changes;
			UPDATE taskfeed.tasks SET status = 'completed', result = to_jsonb(repeat(repeat('x', 1000), 1000))`, `["result"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.exec(sqlStoreFast)
			s.exec(c.do)
			s.wantTruncated(c.truncated)
		})
	}
}

// Values that no JSON can hold, by what the triggers work an event's data out with:
// to store rows of them takes a minute and shows nothing more.
func TestHugeFields(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range []struct{ name, message, result, want string }{
		{"bad input 2: a result whose text is over 1 GB", `'m'`, `to_jsonb(repeat(repeat(E'\x01', 1000), 200000))`,
			`{"kind": "k", "result": null, "message": "m", "progress": 1, "truncated": ["result"]}`},
		{"a message of 300 MB", `repeat(repeat('x', 1000), 300000)`, `'1'`,
			`{"kind": "k", "result": 1, "message": null, "progress": 1, "truncated": ["message"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			sql := fmt.Sprintf(`SELECT taskfeed.task_data('completed', 'k', 1::smallint, v.message, v.result, NULL)::text
				FROM (SELECT %s AS message, %s::jsonb AS result OFFSET 0) AS v`, c.message, c.result)
			if got := one[string](s, sql); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// wantTruncated looks at the only change: it must fit, name the fields of the
// only task that are null in it, and have the others as they stand in the row.
func (s *session) wantTruncated(want string) {
	s.t.Helper()
	const sqlSize = `SELECT octet_length(` + sqlData + `::text) FROM taskfeed.changes`
	if got := one[int](s, sqlSize); got > maxData {
		s.t.Errorf("data of %d bytes captured, want at most %d", got, maxData)
	}
	if got := one[string](s, `SELECT coalesce(`+sqlData+`->>'truncated', '') FROM taskfeed.changes`); got != want {
		s.t.Errorf("truncated: %q, want %q", got, want)
	}
	const sqlWrong = `
		SELECT f.key
		FROM (SELECT ` + sqlData + ` AS data FROM taskfeed.changes) AS c, taskfeed.tasks AS t,
			LATERAL (VALUES ('message', to_jsonb(t.message)), ('error', to_jsonb(t.error)), ('result', t.result)) AS f (key, value)
		WHERE c.data ? f.key
			AND NOT CASE WHEN c.data->'truncated' ? f.key THEN c.data->f.key = 'null' AND f.value IS NOT NULL ELSE c.data->f.key = f.value END`
	if got := list[string](s, sqlWrong); len(got) != 0 {
		s.t.Errorf("fields %v of the change are not those of the row", got)
	}
}

// An app may write whatever Postgres stores, to the last level that jsonb takes.
func TestDeepestResult(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	const sqlStore = `INSERT INTO plain VALUES ((repeat('[', %[1]d) || repeat(']', %[1]d))::jsonb)`
	s.exec(`CREATE TABLE plain (result jsonb)`)
	lo, hi := 1000, 100_000 // a depth that jsonb takes, one that it does not
	for hi-lo > 1 {
		depth := (lo + hi) / 2
		if _, err := s.try(fmt.Sprintf(sqlStore, depth)); err != nil {
			hi = depth
		} else {
			lo = depth
		}
	}
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	s.captured()
	s.exec(`UPDATE taskfeed.tasks SET status = 'completed', result = (SELECT result FROM plain ORDER BY octet_length(result::text) DESC LIMIT 1)`)
	s.wantCaptured(`alice t task_completed 2 {"result": null, "progress": 0, "truncated": ["result"]}`)
	if got := one[int](s, `SELECT octet_length(result::text) FROM taskfeed.tasks`); got != 2*lo {
		t.Errorf("the row's result is %d bytes long, want %d", got, 2*lo)
	}
}

func TestUnicode(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id, kind, message, result) VALUES ('tâche', 'ålice', '種類', E'"\u2028\\ \U0001F49A', '"\ud83d\udc9a"')`)
	s.wantCaptured("ålice tâche task_queued 1 {\"kind\": \"種類\", \"result\": \"💚\", \"message\": \"\\\"\u2028\\\\ 💚\", \"progress\": 0}")
}

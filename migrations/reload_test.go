package migrations_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// Settings of a database that shape what Postgres prints, or how it reads.
var printing = []string{
	`SET timezone = 'Europe/London'`, // before 1847 not a whole number of minutes from UTC
	`SET timezone = 'Asia/Kathmandu'`,
	`SET datestyle = 'SQL, DMY'`,
	`SET datestyle = 'German'`,
	`SET intervalstyle = 'iso_8601'`,
	`SET intervalstyle = 'sql_standard'`,
	`SET quote_all_identifiers = on`,
	`SET search_path = taskfeed, public`,
	`SET search_path = ''`,
	`SET extra_float_digits = -15`,
	`SET standard_conforming_strings = off`,
	`SET escape_string_warning = on`,
	`SET backslash_quote = off`,
	`SET bytea_output = 'escape'`,
	`SET lc_monetary = 'C'`,
	`SET lc_numeric = 'C'`,
	`SET lc_time = 'C'`,
	`SET lc_messages = 'C'`,
	`SET xmloption = 'document'`,
	`SET array_nulls = off`,
	`SET transform_null_equals = on`,
	`SET default_transaction_isolation = 'serializable'`,
	`SET default_transaction_read_only = on`,
	`SET row_security = off`,
	`SET enable_seqscan = off`,
	`SET statement_timeout = '1min'`,
	`SET client_encoding = 'LATIN1'`,
}

// After ALTER DATABASE app SET timezone = 'Europe/London', doctor found three
// functions and a column that were not as taskfeed made them.
func TestInspectUnderAnySettings(t *testing.T) {
	t.Parallel()
	well, ill := newSession(t), newSession(t)
	for _, c := range drifts {
		ill.exec(c.do)
	}
	want := inspect(t, ill.url)
	for _, alter := range together(printing) {
		for _, s := range []*session{well, ill} {
			name := pgx.Identifier{one[string](s, `SELECT current_database()::text`)}.Sanitize()
			s.exec(`SET default_transaction_read_only = off; ALTER DATABASE ` + name + ` RESET ALL`)
			for _, setting := range alter {
				s.exec(`ALTER DATABASE ` + name + ` ` + setting)
			}
		}
		if got := inspect(t, well.url); len(got) > 0 {
			t.Errorf("bad input 72: %s: found in a schema that is well:\n%s", alter, strings.Join(got, "\n"))
		}
		if got := inspect(t, ill.url); !slices.Equal(got, want) {
			t.Errorf("bad input 72: %s: found:\n%s\nwant:\n%s", alter, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// together puts into each list as many settings as have no parameter in common.
func together(settings []string) (lists [][]string) {
	times := map[string]int{}
	for _, setting := range settings {
		parameter, _, _ := strings.Cut(setting, " = ")
		n := times[parameter]
		times[parameter]++
		if n == len(lists) {
			lists = append(lists, nil)
		}
		lists[n] = append(lists[n], setting)
	}
	return lists
}

// After pg_dump and psql, doctor found a function that was not as taskfeed made
// it: what Postgres prints of an expression, read again, was printed otherwise.
// Every expression of ours must be one that stays as it is.
func TestPrintedTextStaysAsItIs(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	want := parts(t, s.url)
	for _, statement := range list[string](s, `
		SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'taskfeed'::regnamespace
		UNION ALL
		SELECT format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', conrelid::regclass, conname, conname, pg_get_constraintdef(oid))
		FROM pg_constraint WHERE connamespace = 'taskfeed'::regnamespace AND contype = 'c'
		UNION ALL
		SELECT format('ALTER TABLE %s ALTER %I SET DEFAULT %s', d.adrelid::regclass, a.attname, pg_get_expr(d.adbin, d.adrelid))
		FROM pg_attrdef AS d
		JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		JOIN pg_class AS c ON c.oid = d.adrelid
		WHERE c.relnamespace = 'taskfeed'::regnamespace AND c.relname <> 'schema_version' AND a.attidentity = ''
		UNION ALL
		SELECT format('DROP INDEX %s; %s', i.indexrelid::regclass, pg_get_indexdef(i.indexrelid))
		FROM pg_index AS i
		JOIN pg_class AS c ON c.oid = i.indrelid AND c.relkind = 'r' AND NOT c.relispartition
		WHERE c.relnamespace = 'taskfeed'::regnamespace AND NOT i.indisprimary
		UNION ALL
		SELECT format('DROP TRIGGER %I ON %s; %s', tgname, tgrelid::regclass, pg_get_triggerdef(oid))
		FROM pg_trigger WHERE tgrelid = 'taskfeed.tasks'::regclass AND NOT tgisinternal AND tgenabled = 'O'`) {
		s.exec(statement)
	}
	for i, p := range parts(t, s.url) {
		if p.SQL != want[i].SQL {
			t.Errorf("printed, read and printed again it is\n%s\nnot\n%s", p.SQL, want[i].SQL)
		}
	}
}

// A dump in any format, loaded into a database of another collation, is what it
// was to doctor, but for rights that were left behind.
func TestInspectAfterDumpAndRestore(t *testing.T) {
	t.Parallel()
	from := newSession(t)
	tools := one[string](from, `SELECT setting FROM pg_config WHERE name = 'BINDIR'`)
	if _, err := exec.LookPath(filepath.Join(tools, "pg_dump")); err != nil {
		t.Log("this Postgres came without pg_dump; TestPrintedTextStaysAsItIs reads again what is printed")
		return
	}
	from.exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	name := pgx.Identifier{one[string](from, `SELECT current_database()::text`)}.Sanitize()
	from.exec(`ALTER DATABASE ` + name + ` SET timezone = 'Europe/London'; ALTER DATABASE ` + name + ` SET quote_all_identifiers = on`)
	for _, flags := range [][]string{
		{"--format=plain"}, {"--format=plain", "--inserts", "--quote-all-identifiers"}, {"--format=custom"}, {"--format=directory"},
		{"--format=custom", "--no-owner"}, {"--format=plain", "--no-acl"}, {"--format=plain", "--schema=taskfeed", "--no-comments"},
	} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			to := pgtest.Empty(t)
			file := filepath.Join(t.TempDir(), "dump")
			run(t, filepath.Join(tools, "pg_dump"), append(flags, "--file="+file, from.url)...)
			if flags[0] == "--format=plain" {
				run(t, filepath.Join(tools, "psql"), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file="+file, to)
			} else {
				run(t, filepath.Join(tools, "pg_restore"), "--exit-on-error", "--dbname="+to, file)
			}
			if got := inspect(t, to); len(got) > 0 {
				t.Errorf("bad input 72: found:\n%s\nwant nothing", strings.Join(got, "\n"))
			}
			if err := migrations.Up(t.Context(), to); err != nil {
				t.Errorf("migrate up: %v", err)
			}
			if got := inspect(t, to); len(got) > 0 {
				t.Errorf("bad input 72: after migrate up: found:\n%s\nwant nothing", strings.Join(got, "\n"))
			}
		})
	}
}

// run runs a program to its end.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
}

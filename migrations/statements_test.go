package migrations_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestStatements(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range []struct {
		name, do string
		want     []string // in any order: no order is promised within a statement
	}{
		{"an update of several rows", `UPDATE taskfeed.tasks SET progress = 50 WHERE id <> 'c'`,
			[]string{`alice a task_progress 2 {"progress": 50}`, `bob b task_progress 2 {"progress": 50}`}},
		{"an update that changes some of its rows", `UPDATE taskfeed.tasks SET user_id = 'bob', kind = 'x' WHERE id <> 'c'`,
			[]string{`alice a task_deleted 2 {}`, `bob a task_queued 2 {"kind": "x", "progress": 0}`, `bob b task_queued 2 {"kind": "x", "progress": 0}`}},
		{"an insert of several rows", `INSERT INTO taskfeed.tasks (id, user_id) SELECT 'n' || i, 'u' || i FROM generate_series(1, 3) AS i`,
			[]string{`u1 n1 task_queued 1 {"progress": 0}`, `u2 n2 task_queued 1 {"progress": 0}`, `u3 n3 task_queued 1 {"progress": 0}`}},
		{"a delete of several rows", `DELETE FROM taskfeed.tasks`,
			[]string{`alice a task_deleted 2 {}`, `bob b task_deleted 2 {}`, `carol c task_deleted 2 {}`}},
		{"an upsert that inserts, updates and leaves alone", `
			INSERT INTO taskfeed.tasks AS t (id, user_id, progress) VALUES ('a', 'alice', 9), ('d', 'dave', 9), ('b', 'bob', 0)
			ON CONFLICT (id) DO UPDATE SET progress = excluded.progress`,
			[]string{`alice a task_progress 2 {"progress": 9}`, `dave d task_queued 1 {"progress": 9}`}},
		{"an upsert that does nothing", `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a', 'eve'), ('d', 'dave') ON CONFLICT DO NOTHING`,
			[]string{`dave d task_queued 1 {"progress": 0}`}},
		{"a statement with several parts", `
			WITH gone AS (DELETE FROM taskfeed.tasks WHERE id = 'a' RETURNING user_id),
			     more AS (UPDATE taskfeed.tasks SET progress = 1 WHERE id = 'b')
			INSERT INTO taskfeed.tasks (id, user_id) SELECT 'd', user_id FROM gone`,
			[]string{`alice a task_deleted 2 {}`, `alice d task_queued 1 {"progress": 0}`, `bob b task_progress 2 {"progress": 1}`}},
		{"bad input 4: the primary key changes", `UPDATE taskfeed.tasks SET id = 'z', progress = 5 WHERE id = 'a'`,
			[]string{`alice a task_deleted 2 {}`, `alice z task_queued 2 {"progress": 5}`}},
		{"bad input 4: the primary key and the owner change", `UPDATE taskfeed.tasks SET id = 'z', user_id = 'bob', progress = 5 WHERE id = 'a'`,
			[]string{`alice a task_deleted 2 {}`, `bob z task_queued 2 {"progress": 5}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *s
			s.t = t
			s.threeTasks()
			s.exec(c.do)
			got := s.captured()
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("captured:\n%q\nwant in any order:\n%q", got, c.want)
			}
		})
	}
}

// threeTasks starts afresh with task a of alice, b of bob and c of carol.
func (s *session) threeTasks() {
	s.t.Helper()
	s.exec(`TRUNCATE taskfeed.tasks, taskfeed.changes;
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a', 'alice'), ('b', 'bob'), ('c', 'carol')`)
	s.captured()
}

func TestMerge(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.threeTasks()
	const sqlMerge = `
		MERGE INTO taskfeed.tasks AS t
		USING (VALUES ('a', 'alice', 7), ('b', 'bob', -1), ('d', 'dave', 3)) AS s (id, user_id, progress) ON t.id = s.id
		WHEN MATCHED AND s.progress < 0 THEN DELETE
		WHEN MATCHED THEN UPDATE SET progress = s.progress
		WHEN NOT MATCHED THEN INSERT (id, user_id, progress) VALUES (s.id, s.user_id, s.progress)`
	if one[int](s, `SELECT current_setting('server_version_num')::int`) < 150000 {
		s.refused("42601", sqlMerge) // PostgreSQL 14 does not know MERGE
		return
	}
	s.exec(sqlMerge)
	got := s.captured()
	slices.Sort(got)
	want := []string{`alice a task_progress 2 {"progress": 7}`, `bob b task_deleted 2 {}`, `dave d task_queued 1 {"progress": 3}`}
	if !slices.Equal(got, want) {
		t.Errorf("captured:\n%q\nwant in any order:\n%q", got, want)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	rows := [][]any{{"a", "alice", "queued"}, {"b", "bob", "running"}, {"c", "carol", "canceled"}}
	if _, err := s.conn.CopyFrom(t.Context(), pgx.Identifier{"taskfeed", "tasks"}, []string{"id", "user_id", "status"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatalf("copy: %v", err)
	}
	s.wantCaptured(`alice a task_queued 1 {"progress": 0}`, `bob b task_started 1 {"progress": 0}`, `carol c task_canceled 1 {"progress": 0}`)
}

// Rows that take each other's ids in one statement.
func TestIDsMoveAlong(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	// c is stored before b: it gives its id up before b takes it, with a version
	// that c has had already.
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id, message, version) VALUES ('c', 'carol', 'two', 2), ('b', 'bob', 'one', 1)`)
	s.captured()
	s.exec(`UPDATE taskfeed.tasks SET id = chr(ascii(id) + 1)`)
	s.wantCaptured(`carol c task_deleted 3 {}`, `carol d task_queued 3 {"message": "two", "progress": 0}`,
		`bob b task_deleted 2 {}`, `bob c task_queued 2 {"message": "one", "progress": 0}`)

	const sqlSwap = `UPDATE taskfeed.tasks SET id = CASE id WHEN 'c' THEN 'd' ELSE 'c' END`
	s.refused("23505", sqlSwap) // the key is not deferrable ...
	s.wantCaptured()
	s.exec(`ALTER TABLE taskfeed.tasks DROP CONSTRAINT tasks_pkey, ADD PRIMARY KEY (id) DEFERRABLE;` + sqlSwap) // ... unless an app makes it so
	s.wantCaptured(`carol d task_deleted 4 {}`, `carol c task_queued 4 {"message": "two", "progress": 0}`,
		`bob c task_deleted 3 {}`, `bob d task_queued 3 {"message": "one", "progress": 0}`)
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, do string
		want     []string
	}{
		{"each statement makes its own event, in order", `
			BEGIN;
			INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
			UPDATE taskfeed.tasks SET status = 'running';
			UPDATE taskfeed.tasks SET progress = 10;
			UPDATE taskfeed.tasks SET progress = 20;
			UPDATE taskfeed.tasks SET progress = 10;
			UPDATE taskfeed.tasks SET status = 'completed';
			DELETE FROM taskfeed.tasks;
			COMMIT`,
			[]string{`alice t task_queued 1 {"progress": 0}`, `alice t task_started 2 {"progress": 0}`,
				`alice t task_progress 3 {"progress": 10}`, `alice t task_progress 4 {"progress": 20}`, `alice t task_progress 5 {"progress": 10}`,
				`alice t task_completed 6 {"result": null, "progress": 10}`, `alice t task_deleted 7 {}`}},
		{"a rollback leaves nothing", `
			BEGIN;
			INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
			SELECT taskfeed.notify('alice', 'hello');
			ROLLBACK`, nil},
		{"a rollback to a savepoint takes its part back", `
			BEGIN;
			INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
			SAVEPOINT one;
			UPDATE taskfeed.tasks SET progress = 50;
			SELECT taskfeed.broadcast('hello');
			ROLLBACK TO one;
			UPDATE taskfeed.tasks SET progress = 60;
			SAVEPOINT two;
			UPDATE taskfeed.tasks SET progress = 70;
			RELEASE two;
			COMMIT`,
			[]string{`alice t task_queued 1 {"progress": 0}`, `alice t task_progress 2 {"progress": 60}`, `alice t task_progress 3 {"progress": 70}`}},
		{"a caught error takes its part back", `
			INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
			DO $$
			BEGIN
				UPDATE taskfeed.tasks SET progress = 50;
				UPDATE taskfeed.tasks SET progress = 500;
			EXCEPTION WHEN check_violation THEN
				UPDATE taskfeed.tasks SET progress = 5;
			END $$`,
			[]string{`alice t task_queued 1 {"progress": 0}`, `alice t task_progress 2 {"progress": 5}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.exec(c.do)
			s.wantCaptured(c.want...)
		})
	}
}

// All changes of a transaction carry its xid, those of subtransactions too: the
// sequencer's look is bounded by top-level xids.
func TestChangesCarryTheTopLevelXID(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`BEGIN; SAVEPOINT one`)
	s.exec(`INSERT INTO taskfeed.tasks (user_id) VALUES ('alice'), ('bob')`)
	s.exec(`SELECT taskfeed.broadcast('hello')`)
	if n := one[int](s, `SELECT count(*) FROM taskfeed.changes WHERE xid = pg_current_xact_id()`); n != 3 {
		t.Errorf("%d changes carry the transaction's xid, want 3", n)
	}
	s.exec(`COMMIT`)
}

// manyRows is the size of a huge statement.
const manyRows = 100_000

func TestHugeUpdate(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(fmt.Sprintf(`
		DO $$ -- indexes are not what this is about
		DECLARE
			i regclass;
		BEGIN
			FOR i IN SELECT indexrelid FROM pg_index WHERE indrelid = 'taskfeed.tasks'::regclass AND NOT indisprimary LOOP
				EXECUTE format('DROP INDEX %%s', i);
			END LOOP;
		END $$;
		ALTER TABLE taskfeed.tasks SET (fillfactor = 45), DISABLE TRIGGER USER;
		INSERT INTO taskfeed.tasks (id, user_id) SELECT 't' || i, 'u' || i %% 100 FROM generate_series(1, %d) AS i;
		ALTER TABLE taskfeed.tasks ENABLE TRIGGER USER`, manyRows))
	bell := s.another()
	bell.exec(`LISTEN taskfeed; SELECT pg_advisory_lock(1952543595, 1)`)

	// Plans are made for good while statements touch one row.
	for range 20 {
		s.exec(`UPDATE taskfeed.tasks SET progress = progress + 1 WHERE id = 't1'`)
	}
	s.exec(`TRUNCATE taskfeed.changes`)
	bell.rings()

	if got := s.exec(`UPDATE taskfeed.tasks SET progress = 50`).RowsAffected(); got != manyRows {
		t.Errorf("bad input 5: %d rows updated, want %d", got, manyRows)
	}
	const sqlRight = `
		SELECT count(DISTINCT c.task_id)
		FROM taskfeed.changes AS c
		JOIN taskfeed.tasks AS t ON (t.id, t.user_id, t.version) = (c.task_id, c.user_id, c.version)
		WHERE c.type = 'task_progress' AND c.data IS NULL AND c.progress = 50`
	if got := one[int](s, sqlRight); got != manyRows {
		t.Errorf("bad input 5: %d right changes, want %d", got, manyRows)
	}
	if got := one[int](s, `SELECT count(*) FROM taskfeed.changes`); got != manyRows {
		t.Errorf("bad input 5: %d changes, want %d", got, manyRows)
	}
	if got := bell.rings(); got != 1 {
		t.Errorf("bad input 5: a huge update rang %d times, want once", got)
	}
}

// A trigger of the app may change rows that its statement goes on to, or has
// been at: the changes of each row come in the order of its versions.
func TestVersionsStayInOrder(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"BEFORE", "AFTER"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.exec(`
				INSERT INTO taskfeed.tasks (id, user_id) SELECT 't' || i, 'alice' FROM generate_series(1, 4) AS i;
				CREATE FUNCTION touch_others() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN
					IF pg_trigger_depth() = 1 AND (TG_WHEN = 'AFTER' OR new.id = 't1') THEN
						UPDATE taskfeed.tasks SET message = concat(message, new.id) WHERE id > CASE TG_WHEN WHEN 'AFTER' THEN '' ELSE 't3' END;
					END IF;
					RETURN new;
				END $$;
				CREATE TRIGGER app_touches_others ` + when + ` UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION touch_others()`)
			s.captured()
			s.exec(`UPDATE taskfeed.tasks SET progress = 50 WHERE id < 't4'`)
			const sqlInverted = `
				SELECT count(*) FILTER (WHERE version <> was + 1)
				FROM (SELECT version, lag(version, 1, 1::bigint) OVER (PARTITION BY task_id ORDER BY id) AS was FROM taskfeed.changes) AS c`
			if got := one[int](s, sqlInverted); got != 0 {
				t.Errorf("%d changes out of order: %q", got, s.captured())
			}
			if got, want := one[int](s, `SELECT count(*) FROM taskfeed.changes`), one[int](s, `SELECT sum(version - 1) FROM taskfeed.tasks`); got != want || got < 4 {
				t.Errorf("%d changes, want one for each of %d versions", got, want)
			}
		})
	}
}

// A trigger of the app that changes the same row again makes the later change,
// so its event comes later.
func TestTriggersOfTheAppComeLater(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`
		CREATE FUNCTION go_on() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			UPDATE taskfeed.tasks SET status = 'running' WHERE id = new.id AND status = 'queued';
			UPDATE taskfeed.tasks SET status = 'completed' WHERE id = new.id AND progress = 100 AND status = 'running';
			RETURN NULL;
		END $$;
		CREATE TRIGGER go_on AFTER INSERT OR UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION go_on();
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
		UPDATE taskfeed.tasks SET progress = 100`)
	s.wantCaptured(`alice t task_queued 1 {"progress": 0}`, `alice t task_started 2 {"progress": 0}`,
		`alice t task_progress 3 {"progress": 100}`, `alice t task_completed 4 {"result": null, "progress": 100}`)
}

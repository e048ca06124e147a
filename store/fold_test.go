package store_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

const sqlExports = `
CREATE SCHEMA app;
CREATE TABLE app.exports (
    id      bigint PRIMARY KEY,
    owner   text[],
    state   text NOT NULL DEFAULT 'pending',
    percent text,
    note    text,
    output  jsonb,
    failure text
)`

const exportsMapping = `{"user": "owner", "map": {"pending": "queued", "working": "running", "done": "completed", "error": "failed", "stopped": "canceled", "hidden": "none"},
	"progress": "percent", "message": "note", "result": "output", "error": "failure"}`

// attached is a database with the table of an app attached to it.
func attached(t *testing.T, mapping string) *fixture {
	t.Helper()
	f := setup(t)
	exec(t, f.app, sqlExports)
	attach(t, f, mapping)
	f.fold(t)
	return f
}

func attach(t *testing.T, f *fixture, mapping string) {
	t.Helper()
	exec(t, f.app, `SELECT taskfeed.attach('app.exports', 'exports', $1::jsonb)`, mapping)
}

// fold moves all there is, reads rows that are to be read, and returns what users
// were told since it was last called, a line each.
func (f *fixture) fold(t *testing.T) (lines []string) {
	t.Helper()
	for idle := 0; idle < 2; {
		if m := move(t, f.session); m.More || m.Count > 0 {
			idle = 0
		} else {
			idle++
		}
	}
	for _, e := range readFeed(t, f.store, taskfeed.Filter{All: true}, 1000) {
		if e.ID > f.told {
			lines = append(lines, line(e))
			f.told = e.ID
		}
	}
	return lines
}

func line(e taskfeed.Event) string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s/%d %s", e.UserID, e.Type, e.TaskID, e.Version, e.Data)), " ")
}

// tasksOf lists the tasks of the source, a line each.
func (f *fixture) tasksOf(t *testing.T) []string {
	t.Helper()
	return strings.Split(value[string](t, f.app, `
		SELECT coalesce(string_agg(concat_ws(' ', id, user_id, owners, status, progress, message, result, error, version), E'\n' ORDER BY id), '')
		FROM taskfeed.tasks
		WHERE source = 'exports'`), "\n")
}

func (f *fixture) state(t *testing.T, column string) string {
	t.Helper()
	return value[string](t, f.app, `SELECT coalesce((SELECT `+column+`::text FROM taskfeed.source_states), 'none')`)
}

func TestFold(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	for _, c := range []struct {
		name, do string
		want     []string
	}{
		{"a row appears", `INSERT INTO app.exports (id, owner) VALUES (1, '{alice}')`,
			[]string{`alice task_queued exports:1/1 {"kind": "exports", "progress": 0}`}},
		{"it starts and goes on in one transaction", `BEGIN; UPDATE app.exports SET state = 'working'; UPDATE app.exports SET percent = '40.4', note = 'half'; COMMIT`,
			[]string{`alice task_started exports:1/2 {"kind": "exports", "progress": 0}`, `alice task_progress exports:1/3 {"message": "half", "progress": 40}`}},
		{"progress that is no number stays", `UPDATE app.exports SET percent = 'much'`, nil},
		{"progress beyond the end", `UPDATE app.exports SET percent = '400'`, []string{`alice task_progress exports:1/4 {"message": "half", "progress": 100}`}},
		{"a value that stands for none", `UPDATE app.exports SET state = 'hidden', note = 'x'`, nil},
		{"a value that is not known", `UPDATE app.exports SET state = 'paused'`, nil},
		{"back", `UPDATE app.exports SET state = 'working', note = 'half'`, nil},
		{"two owners", `UPDATE app.exports SET owner = '{bob,alice}'`,
			[]string{`bob task_started exports:1/5 {"kind": "exports", "message": "half", "progress": 100}`}},
		{"progress for both", `UPDATE app.exports SET note = NULL`,
			[]string{`bob task_progress exports:1/6 {"progress": 100}`, `alice task_progress exports:1/6 {"progress": 100}`}},
		{"one of them goes", `UPDATE app.exports SET owner = '{bob}'`, []string{`alice task_deleted exports:1/7 {}`}},
		{"the end, with its result", `UPDATE app.exports SET state = 'done', output = '{"rows": null}', failure = 'old'`,
			[]string{`bob task_completed exports:1/8 {"kind": "exports", "result": {"rows": null}, "progress": 100}`}},
		{"another result", `UPDATE app.exports SET output = '[1]'`, []string{`bob task_completed exports:1/9 {"kind": "exports", "result": [1], "progress": 100}`}},
		{"a failure", `UPDATE app.exports SET state = 'error', output = NULL, failure = E'bad\nat line 5'`,
			[]string{`bob task_failed exports:1/10 {"kind": "exports", "error": "bad", "progress": 100}`}},
		{"a final row is cleaned away", `DELETE FROM app.exports`, nil},
		{"deleted and inserted again in one transaction", `INSERT INTO app.exports (id, owner, state) VALUES (2, '{alice}', 'working');
			BEGIN; DELETE FROM app.exports; INSERT INTO app.exports (id, owner, state) VALUES (2, '{alice}', 'error'); COMMIT`,
			[]string{`alice task_started exports:2/1 {"kind": "exports", "progress": 0}`, `alice task_failed exports:2/2 {"kind": "exports", "error": null, "progress": 0}`}},
		{"deleted, and inserted by a later transaction", `UPDATE app.exports SET state = 'pending';; DELETE FROM app.exports;; INSERT INTO app.exports (id, owner) VALUES (2, '{alice}')`,
			[]string{`alice task_queued exports:2/3 {"kind": "exports", "progress": 0}`, `alice task_deleted exports:2/4 {}`, `alice task_queued exports:2/1 {"kind": "exports", "progress": 0}`}},
		{"an event of the app's own in between", `BEGIN; UPDATE app.exports SET percent = '1'; SELECT taskfeed.notify('alice', 'hello'); UPDATE app.exports SET percent = '2'; COMMIT`,
			[]string{`alice task_progress exports:2/2 {"progress": 1}`, `alice hello /0 {}`, `alice task_progress exports:2/3 {"progress": 2}`}},
		{"nobody's row", `UPDATE app.exports SET owner = NULL`, []string{`alice task_deleted exports:2/4 {}`}},
		{"somebody's again", `UPDATE app.exports SET owner = '{carol}'`, []string{`carol task_queued exports:2/1 {"kind": "exports", "progress": 2}`}},
	} {
		for transaction := range strings.SplitSeq(c.do, ";;") {
			exec(t, f.app, transaction)
		}
		if got := f.fold(t); !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%q\nwant\n%q", c.name, got, c.want)
		}
	}
	wantEqual(t, "tasks", f.tasksOf(t), []string{"exports:1 bob failed 100 bad 10", "exports:2 carol queued 2 1"})
	wantEqual(t, "counts", []string{f.state(t, "unknown"), f.state(t, "unmapped"), f.state(t, "unowned"), f.state(t, "errors")}, []string{`{"paused": 1}`, "1", "1", "0"})
}

func TestFoldOnDelete(t *testing.T) {
	t.Parallel()
	f := attached(t, strings.Replace(exportsMapping, "{", `{"on_delete": {"queued": "canceled", "running": "completed"}, `, 1))
	exec(t, f.app, `INSERT INTO app.exports (id, owner, state, note) VALUES (1, '{alice}', 'pending', NULL), (2, '{alice}', 'working', 'x'), (3, '{alice}', 'error', NULL)`)
	f.fold(t)
	exec(t, f.app, `DELETE FROM app.exports`)
	wantEqual(t, "events", f.fold(t), []string{`alice task_canceled exports:1/2 {"kind": "exports", "progress": 0}`,
		`alice task_completed exports:2/2 {"kind": "exports", "result": null, "message": "x", "progress": 0}`})
}

func TestFoldTruncate(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string][]string{
		"deleted": {"alice task_deleted exports:1/2", "bob task_deleted exports:1/2", "alice task_queued exports:3/1"},
		"reset":   {"alice feed_reset /0", "bob feed_reset /0", "alice task_queued exports:3/1"},
	} {
		f := attached(t, strings.Replace(exportsMapping, "{", `{"on_truncate": "`+rule+`", `, 1))
		exec(t, f.app, `INSERT INTO app.exports (id, owner, state) VALUES (1, '{alice,bob}', 'working'), (2, '{alice}', 'done')`)
		f.fold(t)
		exec(t, f.app, `TRUNCATE app.exports; INSERT INTO app.exports (id, owner) VALUES (3, '{alice}')`)
		before := value[int64](t, f.app, `SELECT max(id) FROM taskfeed.events`)
		if m := move(t, f.session); m.Count != 3 || !m.Partial() {
			t.Errorf("%s: moved %d and handed on %d events, want 3 and none", rule, m.Count, len(m.Events))
		}
		var got []string
		for _, e := range readLog(t, f.store) {
			if int64(e.ID) > before {
				got = append(got, fmt.Sprintf("%s %s %s/%d", e.UserID, e.Type, e.TaskID, e.Version))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", rule, got, want)
		}
	}
}

// The boundary of a page may fall between a deletion and an insertion of one row.
func TestFoldAcrossPages(t *testing.T) {
	t.Parallel()
	for _, backlog := range []bool{false, true} {
		f := attached(t, exportsMapping)
		exec(t, f.app, `INSERT INTO app.exports (id, owner, state) SELECT i, '{alice}', 'working' FROM generate_series(1, 3) AS i`)
		f.fold(t)
		exec(t, f.app, `DELETE FROM app.exports`)
		const sqlInsert = `INSERT INTO app.exports (id, owner, state) SELECT i, '{alice}', $1 FROM generate_series(1, 3) AS i`
		exec(t, f.app, sqlInsert, "working")
		exec(t, f.app, `BEGIN`)
		exec(t, f.app, `DELETE FROM app.exports`)
		exec(t, f.app, sqlInsert, "error")
		exec(t, f.app, `COMMIT`)
		f.session.SetPages(2, 2, 100)
		if backlog {
			moveBacklog(t, f.session)
		}
		moveAll(t, f.session)
		var got []string
		for _, e := range readLog(t, f.store)[3:] {
			got = append(got, fmt.Sprintf("%s %s/%d", e.Type, e.TaskID, e.Version))
		}
		want := []string{"task_deleted exports:1/2", "task_deleted exports:2/2", "task_deleted exports:3/2", "task_started exports:1/1", "task_started exports:2/1", "task_started exports:3/1",
			"task_failed exports:1/2", "task_failed exports:2/2", "task_failed exports:3/2"}
		if !slices.Equal(got, want) {
			t.Errorf("backlog %t: got\n%q\nwant\n%q", backlog, got, want)
		}
	}
}

func TestFoldFillsFromRows(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, sqlExports)
	exec(t, f.app, `INSERT INTO app.exports (id, owner, state) SELECT i, '{alice}', CASE WHEN i % 2 = 0 THEN 'done' ELSE 'working' END FROM generate_series(1, 2500) AS i`)
	attach(t, f, exportsMapping)
	exec(t, f.app, `UPDATE app.exports SET state = 'error' WHERE id = 2499`) // a fact that is not folded yet
	if got := len(f.fold(t)); got != 1250 {
		t.Errorf("%d events, want one of each open row", got)
	}
	if got := f.fold(t); len(got) != 0 {
		t.Errorf("and again: %q", got)
	}
	exec(t, f.app, `ALTER TABLE app.exports DISABLE TRIGGER USER; UPDATE app.exports SET percent = '5' WHERE id IN (1, 2, 2501); ALTER TABLE app.exports ENABLE TRIGGER USER`)
	attach(t, f, strings.Replace(exportsMapping, "{", `{"strict": true, `, 1)) // another mapping: all is read again
	wantEqual(t, "what was missed", f.fold(t), []string{`alice task_progress exports:1/2 {"progress": 5}`})
	wantEqual(t, "state", []string{f.state(t, "filled"), f.state(t, "(revision = (SELECT s.revision FROM taskfeed.sources AS s))")}, []string{"true", "true"})
}

// A table that was detached and is attached again is read again, as if it were new: the
// two attachments had the same revision once.
func TestFoldFillsAfterDetaching(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner, state) VALUES (1, '{alice}', 'working'), (2, '{bob}', 'working')`)
	f.fold(t)
	exec(t, f.app, `SELECT taskfeed.detach('exports')`)
	exec(t, f.app, `UPDATE app.exports SET state = 'done' WHERE id = 1; INSERT INTO app.exports (id, owner, state) VALUES (3, '{bob}', 'pending')`)
	f.fold(t)
	attach(t, f, exportsMapping)
	wantEqual(t, "what was missed", f.fold(t), []string{`alice task_completed exports:1/2 {"kind": "exports", "result": null, "progress": 0}`,
		`bob task_queued exports:3/1 {"kind": "exports", "progress": 0}`})

	exec(t, f.app, `SELECT taskfeed.detach('exports', 'delete')`)
	wantEqual(t, "deleted", f.fold(t), []string{`bob task_deleted exports:2/2 {}`, `bob task_deleted exports:3/2 {}`})
	attach(t, f, exportsMapping)
	wantEqual(t, "what is open", f.fold(t), []string{`bob task_started exports:2/1 {"kind": "exports", "progress": 0}`, `bob task_queued exports:3/1 {"kind": "exports", "progress": 0}`})
}

func TestFoldBrokenMapping(t *testing.T) {
	t.Parallel()
	f := attached(t, strings.Replace(exportsMapping, `"percent"`, `"r.percent::numeric"`, 1))
	exec(t, f.app, `INSERT INTO app.exports (id, owner, state, percent) VALUES (1, '{alice}', 'working', '5'), (2, '{bob}', 'working', '5')`)
	f.fold(t)

	exec(t, f.app, `UPDATE app.exports SET percent = 'much' WHERE id = 1`)
	exec(t, f.app, `UPDATE app.exports SET percent = '6' WHERE id = 1`)
	wantEqual(t, "a good fact follows", f.fold(t), []string{`alice task_progress exports:1/2 {"progress": 6}`})
	exec(t, f.app, `UPDATE app.exports SET percent = 'much' WHERE id = 1`)
	got := f.fold(t)
	if len(got) != 2 || !strings.HasPrefix(got[0], `alice feed_reset /0 {"cursor": `) || !strings.Contains(got[0], `"reason": "source_broken", "source": "exports"}`) {
		t.Errorf("a bad row: got %q, want a reset for each user with an open task", got)
	}
	exec(t, f.app, `UPDATE app.exports SET percent = 'more' WHERE id = 1`)
	wantEqual(t, "within the minute", f.fold(t), nil)
	wantEqual(t, "owed", []string{f.state(t, "reset_owed"), f.state(t, "errors"), f.state(t, "left(last_error, 5)")}, []string{"true", "3", "22P02"})
	exec(t, f.app, `UPDATE taskfeed.source_states SET reset_at = now() - interval '1 minute'`)
	f.session.ForgetSources()
	if got := f.fold(t); len(got) != 2 {
		t.Errorf("after the minute: got %q, want a reset for each", got)
	}
	exec(t, f.app, `ALTER TABLE app.exports RENAME percent TO done; UPDATE app.exports SET state = 'done'`)
	wantEqual(t, "a column is renamed", f.fold(t), nil) // and a reset is owed
	attach(t, f, strings.Replace(exportsMapping, `"percent"`, `"done"`, 1))
	wantEqual(t, "repaired", f.fold(t), []string{`alice task_completed exports:1/3 {"kind": "exports", "result": null, "progress": 6}`,
		`bob task_completed exports:2/2 {"kind": "exports", "result": null, "progress": 5}`})
}

// A row whose column got another type is read again, and the functions of the
// source are made anew.
// Where the functions of a source are made anew just when the table is attached with
// another mapping, they are those of the new one.
func TestFoldAttachedWhileFunctionsAreMade(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner, state, percent) VALUES (1, '{alice}', 'working', '5')`)
	f.fold(t)
	const held = 7_402_001 // an advisory lock that the sequencer waits for
	exec(t, f.app, fmt.Sprintf(`
		ALTER FUNCTION taskfeed.make_source(regclass, text, jsonb) RENAME TO make_source_now;
		CREATE FUNCTION taskfeed.make_source(relation regclass, name text, m jsonb) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			IF pg_backend_pid() <> %d THEN
				PERFORM pg_advisory_xact_lock(%d);
			END IF;
			PERFORM taskfeed.make_source_now(relation, name, m);
		END $$;
		SELECT pg_advisory_lock(%[2]d)`, f.app.PgConn().PID(), held))
	exec(t, f.app, `ALTER TABLE app.exports RENAME percent TO done; UPDATE app.exports SET done = '6'`)

	moved := make(chan error, 1)
	go func() {
		_, err := f.session.Move(t.Context())
		moved <- err
	}()
	for !value[bool](t, f.app, fmt.Sprintf(`SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %d AND NOT granted)`, held)) {
		runtime.Gosched()
	}
	attach(t, f, strings.Replace(exportsMapping, `"percent"`, `"done"`, 1))
	exec(t, f.app, fmt.Sprintf(`SELECT pg_advisory_unlock(%d)`, held))
	if err := <-moved; err != nil {
		t.Fatalf("move: %v", err)
	}
	f.fold(t)
	exec(t, f.app, `UPDATE app.exports SET done = '7'`)
	wantEqual(t, "the new mapping", f.fold(t), []string{`alice task_progress exports:1/3 {"progress": 7}`})
}

func TestFoldAfterATypeChanged(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner, percent) VALUES (1, '{alice}', '5'); UPDATE app.exports SET percent = '6'`)
	f.fold(t)
	exec(t, f.app, `ALTER TABLE app.exports ALTER percent TYPE int USING percent::int`)
	exec(t, f.app, `UPDATE app.exports SET percent = 7`)
	wantEqual(t, "events", f.fold(t), []string{`alice task_progress exports:1/3 {"progress": 7}`})
	errors := f.state(t, "errors")
	exec(t, f.app, `UPDATE app.exports SET percent = 8`)
	wantEqual(t, "events", f.fold(t), []string{`alice task_progress exports:1/4 {"progress": 8}`})
	if got := f.state(t, "errors"); got != errors {
		t.Errorf("errors went on, from %s to %s", errors, got)
	}
}

// A rule of the app's own on the table of tasks refuses a fact: the others go on,
// and its users are told that something is missing.
func TestFoldRefusedByTheTable(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `ALTER TABLE taskfeed.tasks ADD CONSTRAINT no_cats CHECK (message <> 'cat')`)
	exec(t, f.app, `INSERT INTO app.exports (id, owner, note) VALUES (1, '{alice}', 'dog'), (2, '{alice}', 'cat'), (3, '{alice}', 'dog'); SELECT taskfeed.notify('bob', 'hello')`)
	if m := move(t, f.session); m.Count != 0 || !m.More {
		t.Fatalf("moved %+v, want nothing and more", m)
	}
	moveBacklog(t, f.session)
	f.fold(t)
	wantEqual(t, "log", tasks(readLog(t, f.store))[:3], []string{"exports:1", "exports:3", ""})
	wantEqual(t, "errors", []string{f.state(t, "errors")}, []string{"1"})
}

// A task of the app's own is never taken for one of a source.
func TestFoldKeepsTasksOfTheApp(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	add(t, f.app, "exports:1")
	exec(t, f.app, `INSERT INTO app.exports (id, owner) VALUES (1, '{bob}'); UPDATE app.exports SET note = 'x'; DELETE FROM app.exports`)
	wantEqual(t, "events", f.fold(t), []string{`alice task_queued exports:1/1 {"progress": 0}`})
	wantEqual(t, "errors", []string{f.state(t, "errors")}, []string{"3"})
}

// What an app has bound to the table of tasks does not run when the sequencer
// deletes: the row is marked as gone instead.
func TestFoldDeletesNothingThatIsBound(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner) VALUES (1, '{alice}')`)
	f.fold(t)
	exec(t, f.app, `CREATE TABLE app.notes (task text REFERENCES taskfeed.tasks (id) ON DELETE CASCADE); INSERT INTO app.notes VALUES ('exports:1')`)
	exec(t, f.app, `DELETE FROM app.exports`)
	wantEqual(t, "events", f.fold(t), []string{`alice task_deleted exports:1/2 {}`})
	if got := value[int](t, f.app, `SELECT count(*) FROM app.notes`); got != 1 {
		t.Errorf("%d notes are left, want 1", got)
	}
	exec(t, f.app, `INSERT INTO app.exports (id, owner) VALUES (1, '{bob}')`)
	wantEqual(t, "events", f.fold(t), []string{`bob task_queued exports:1/1 {"kind": "exports", "progress": 0}`})
	wantEqual(t, "tasks", f.tasksOf(t), []string{"exports:1 bob queued 0 1"})
}

// A crash at any point loses and doubles nothing: facts and what was made of them
// are written in one transaction.
func TestFoldInterrupted(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner) SELECT i, '{alice}' FROM generate_series(1, 10) AS i`)
	blocker := f.begin(t)
	exec(t, blocker, "LOCK TABLE taskfeed.tasks IN SHARE MODE")
	backend := pid(f.session)
	moved := make(chan error, 1)
	go func() {
		_, err := f.session.Move(t.Context())
		moved <- err
	}()
	eventually(t, "the move waiting for the lock", func() bool { return waiting(t, f.app, backend) })
	exec(t, f.app, "SELECT pg_terminate_backend($1)", backend)
	if err := <-moved; err == nil {
		t.Fatal("the interrupted move returned no error")
	}
	exec(t, blocker, "ROLLBACK")
	f.session = openSession(t, f.store)
	if got := f.fold(t); len(got) != 10 || len(readLog(t, f.store)) != 10 {
		t.Errorf("the next session told %d events and the log has %d, want 10 and 10", len(got), len(readLog(t, f.store)))
	}
}

func TestForgetUserOfSources(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner) VALUES (1, '{alice}'), (2, '{alice,bob}'), (3, '{bob}')`)
	f.fold(t)
	exec(t, f.app, `UPDATE app.exports SET note = 'x'`)
	forgotten, err := f.store.Forget(t.Context(), "alice", 100)
	if want := (store.Forgotten{Tasks: 1, Events: 2, Changes: 2}); err != nil || forgotten != want {
		t.Errorf("forgot %+v (%v), want %+v", forgotten, err, want)
	}
	f.session.SetSeen(store.SeenNothing)
	wantEqual(t, "events", f.fold(t), []string{`bob task_progress exports:2/2 {"message": "x", "progress": 0}`, `bob task_progress exports:3/2 {"message": "x", "progress": 0}`})
	wantEqual(t, "tasks", f.tasksOf(t), []string{"exports:2 bob queued 0 x 2", "exports:3 bob queued 0 x 2"})
}

func TestOldTasksOfSourcesGo(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner, state) VALUES (1, '{alice}', 'working'), (2, '{alice}', 'done'), (3, '{alice}', 'done')`)
	add(t, f.app, "own")
	f.fold(t)
	exec(t, f.app, `SELECT set_config('taskfeed.folding', 'on', false); UPDATE taskfeed.tasks SET updated_at = now() - interval '3 hours' WHERE id <> 'exports:3'`)
	exec(t, f.app, `UPDATE taskfeed.tasks SET status = 'completed' WHERE id = 'own'`)
	left := func() []string {
		if err := f.session.Maintain(t.Context(), time.Hour); err != nil {
			t.Fatalf("maintain: %v", err)
		}
		return strings.Split(value[string](t, f.app, `SELECT string_agg(id, ' ' ORDER BY id) FROM taskfeed.tasks`), " ")
	}
	wantEqual(t, "attached", left(), []string{"exports:1", "exports:3", "own"})
	exec(t, f.app, `SELECT taskfeed.detach('exports')`)
	wantEqual(t, "detached", left(), []string{"exports:3", "own"})
}

// A feed that is narrowed to some types tells all the same that something is missing.
func TestResetPassesFiltersOfTypes(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner) VALUES (1, '{alice}')`)
	exec(t, f.app, `TRUNCATE app.exports`)
	f.fold(t)
	filter := taskfeed.Filter{UserID: "alice", Types: []taskfeed.Type{taskfeed.TypeTaskCompleted}}
	got := readFeed(t, f.store, filter, 10)
	if len(got) != 1 || got[0].Type != taskfeed.TypeFeedReset || !filter.Match(&got[0]) {
		t.Fatalf("got %v, want the reset", got)
	}
	frame, err := taskfeed.ParseFrame(taskfeed.AppendFrame(nil, &got[0]))
	if err != nil || frame.Reason != taskfeed.ResetSourceBroken || frame.Cursor != got[0].ID {
		t.Errorf("its frame: got %+v (%v), want the reason source_broken and its own id as the cursor", frame, err)
	}
}

// A table whose rows cannot be read keeps no other from being read, and no change
// from being moved.
func TestFoldFillsOtherTables(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, sqlExports+`; CREATE TABLE app.dropped (LIKE app.exports INCLUDING ALL); INSERT INTO app.exports (id, owner) VALUES (1, '{alice}')`)
	exec(t, f.app, `SELECT taskfeed.attach('app.dropped', 'a_dropped', $1::jsonb)`, exportsMapping)
	attach(t, f, exportsMapping)
	exec(t, f.app, `DROP TABLE app.dropped`)
	add(t, f.app, "own")
	eventually(t, "the other table is read", func() bool {
		move(t, f.session)
		return value[int](t, f.app, `SELECT count(*) FROM taskfeed.tasks`) == 2
	})
}

// Rows created before a time make no tasks when the table is attached. They do when
// they change.
func TestFillSince(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, sqlExports+`; ALTER TABLE app.exports ADD made timestamptz;
		INSERT INTO app.exports (id, owner, state, made) VALUES (1, '{alice}', 'working', '2026-01-30 23:59Z'), (2, '{alice}', 'working', '2026-01-31 00:00Z'), (3, '{alice}', 'done', '2026-02-01Z')`)
	attach(t, f, strings.Replace(exportsMapping, "{", `{"created_at": "made", "backfill": "since 2026-01-31", `, 1))
	wantEqual(t, "told", f.brief(t), []string{"alice task_started exports:2/1", "alice task_completed exports:3/1"})
	if found, err := f.store.Reconcile(t.Context(), "exports"); err != nil || found.Differences() != 0 {
		t.Errorf("compared: %+v (%v), want no difference", found, err)
	}
	exec(t, f.app, `UPDATE app.exports SET note = 'x' WHERE id = 1`)
	wantEqual(t, "told", f.brief(t), []string{"alice task_started exports:1/1"})
}

// Rows that are nobody's, or whose status is not known, are not counted a second time
// when all are read again. A value that the map names by now is not listed any more.
func TestCountsBeginAnew(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	exec(t, f.app, `INSERT INTO app.exports (id, owner, state) VALUES (1, NULL, 'working'), (2, '{alice}', 'paused'), (3, '{alice}', 'lost')`)
	f.fold(t)
	counts := func() []string {
		return []string{f.state(t, "unknown"), f.state(t, "unmapped"), f.state(t, "unowned")}
	}
	wantEqual(t, "counts", counts(), []string{`{"lost": 1, "paused": 1}`, "2", "1"})
	if err := f.store.ReadAgain(t.Context(), "exports", nil); err != nil {
		t.Fatal(err)
	}
	f.fold(t)
	wantEqual(t, "counts after all was read again", counts(), []string{`{"lost": 1, "paused": 1}`, "2", "1"})
	attach(t, f, strings.Replace(exportsMapping, `"map": {`, `"map": {"lost": "failed", `, 1))
	f.fold(t)
	wantEqual(t, "counts with another map", counts(), []string{`{"paused": 1}`, "1", "1"})
}

package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const sqlProjects = `
CREATE SCHEMA app;
CREATE TABLE app.projects (id bigint PRIMARY KEY, owner_id text, customer int);
CREATE TABLE app.members (project_id bigint, user_id text);
CREATE INDEX ON app.members (project_id);
CREATE TABLE app.customers (id int PRIMARY KEY, login json);
CREATE TABLE app.exports (
    id         bigint PRIMARY KEY,
    project_id int,
    projects   int[],
    state      text NOT NULL DEFAULT 'queued'
);
INSERT INTO app.projects VALUES (1, 'alice', 7), (2, 'bob', 8), (3, NULL, NULL);
INSERT INTO app.customers VALUES (7, '"carol"'), (8, '["dave", "erin"]');
INSERT INTO app.members VALUES (1, 'bob'), (1, 'alice'), (1, 'bob'), (1, NULL), (2, 'carol')`

const (
	ofOwner   = `{"user": {"via": "project_id", "from": "app.projects", "key": "id", "user": "owner_id"}}`
	ofMembers = `{"user": {"via": "project_id", "from": "app.members", "key": "project_id", "user": "user_id"}}`
)

func joined(t *testing.T, mapping string) *fixture {
	t.Helper()
	f := setup(t)
	exec(t, f.app, sqlProjects)
	attach(t, f, mapping)
	f.fold(t)
	return f
}

// brief lists what was told without the data.
func (f *fixture) brief(t *testing.T) []string {
	t.Helper()
	lines := f.fold(t)
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(line, " {")
	}
	return lines
}

func TestOwnersByJoin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mapping string
		want          []string // for each of the steps below
	}{
		{"the owner of a project", ofOwner, []string{
			"alice task_queued exports:1/1", "alice task_started exports:1/2", "alice task_deleted exports:1/3, bob task_started exports:1/3", "bob task_deleted exports:1/4", "", "alice task_started exports:1/1"}},
		{"its members", ofMembers, []string{
			"alice task_queued exports:1/1, bob task_queued exports:1/1", "alice task_started exports:1/2, bob task_started exports:1/2",
			"alice task_deleted exports:1/3, bob task_deleted exports:1/3, carol task_started exports:1/3", "carol task_deleted exports:1/4", "", "alice task_started exports:1/1, bob task_started exports:1/1"}},
		{"several projects of a row", `{"user": {"via": "projects", "from": "app.projects", "user": "owner_id"}}`, []string{
			"", "", "alice task_started exports:1/1, bob task_started exports:1/1", "bob task_deleted exports:1/2", "", ""}},
		{"through two tables", `{"user": {"via": "project_id", "from": "app.projects", "key": "id", "user": {"via": "customer", "from": "app.customers", "key": "id", "user": "login"}}}`, []string{
			"carol task_queued exports:1/1", "carol task_started exports:1/2", "carol task_deleted exports:1/3, dave task_started exports:1/3, erin task_started exports:1/3",
			"dave task_deleted exports:1/4, erin task_deleted exports:1/4", "", "carol task_started exports:1/1"}},
	} {
		f := joined(t, c.mapping)
		for i, step := range []string{
			`INSERT INTO app.exports (id, project_id) VALUES (1, 1)`,
			`UPDATE app.exports SET state = 'running'`,
			`UPDATE app.exports SET project_id = 2, projects = '{1,2}'`,
			`UPDATE app.exports SET project_id = 99, projects = '{1,3,NULL}'`,
			`UPDATE app.exports SET project_id = 3`,
			`UPDATE app.exports SET project_id = 1`,
		} {
			exec(t, f.app, step)
			if got := strings.Join(f.brief(t), ", "); got != c.want[i] {
				t.Errorf("%s: %s: told %q, want %q", c.name, step, got, c.want[i])
			}
		}
		if got := f.state(t, "errors"); got != "0" {
			t.Errorf("%s: %s errors, want 0", c.name, got)
		}
	}
}

// The owner of a deleted row is the one that it had: a cascade deletes the other row
// first.
func TestOwnersByJoinOfDeletedRows(t *testing.T) {
	t.Parallel()
	f := joined(t, ofOwner)
	exec(t, f.app, `ALTER TABLE app.exports ADD FOREIGN KEY (project_id) REFERENCES app.projects ON DELETE CASCADE; INSERT INTO app.exports (id, project_id) VALUES (1, 1)`)
	f.fold(t)
	exec(t, f.app, `DELETE FROM app.projects WHERE id = 1`)
	wantEqual(t, "told", f.brief(t), []string{"alice task_deleted exports:1/2"})
}

// A change of the other table shows when the row changes, or when all are read again.
func TestOwnersByJoinChange(t *testing.T) {
	t.Parallel()
	f := joined(t, ofMembers)
	exec(t, f.app, `INSERT INTO app.exports (id, project_id) VALUES (1, 1), (2, 1)`)
	f.fold(t)
	exec(t, f.app, `DELETE FROM app.members WHERE user_id = 'bob'; INSERT INTO app.members VALUES (1, 'dave')`)
	wantEqual(t, "at once", f.brief(t), nil)
	found, err := f.store.Reconcile(t.Context(), "exports")
	if err != nil || found.Differs != 2 {
		t.Errorf("compared: %+v (%v), want 2 that differ", found, err)
	}
	exec(t, f.app, `UPDATE app.exports SET state = 'running' WHERE id = 1`)
	wantEqual(t, "when it changes", f.brief(t), []string{"bob task_deleted exports:1/2", "alice task_started exports:1/2", "dave task_started exports:1/2"})
	if err := f.store.ReadAgain(t.Context(), "exports", nil); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "when it is read again", f.brief(t), []string{"bob task_deleted exports:2/2", "dave task_queued exports:2/2"})
	if found, err = f.store.Reconcile(t.Context(), "exports"); err != nil || found.Differences() != 0 {
		t.Errorf("compared: %+v (%v), want no difference", found, err)
	}
}

// While the other table cannot be read, users are told that something is missing;
// afterwards all rows are read again.
func TestOwnersByJoinBroken(t *testing.T) {
	t.Parallel()
	f := joined(t, ofOwner)
	exec(t, f.app, `INSERT INTO app.exports (id, project_id) VALUES (1, 1), (2, 2)`)
	f.fold(t)
	locker := f.begin(t)
	exec(t, locker, `LOCK TABLE app.projects`)
	exec(t, f.app, `UPDATE app.exports SET state = 'running'; SELECT taskfeed.notify('zoe', 'hello')`)
	move(t, f.session)
	got := f.told
	if lines := f.readTold(t); !slices.Contains(lines, "zoe hello /0") || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "task_") }) {
		t.Errorf("while it is locked, after event %d: told %q, want the app's own event alone", got, lines)
	}
	wantEqual(t, "counts", []string{f.state(t, "errors"), f.state(t, "reset_owed"), f.state(t, "filled")}, []string{"2", "true", "false"})
	exec(t, locker, `ROLLBACK`)
	var lines []string
	eventually(t, "the rows are read again", func() bool {
		move(t, f.session)
		for _, line := range f.readTold(t) {
			if strings.Contains(line, "task_") {
				lines = append(lines, line)
			}
		}
		return len(lines) == 2
	})
	wantEqual(t, "told", lines, []string{"alice task_started exports:1/2", "bob task_started exports:2/2"})
}

// readTold lists what is in the log and was not listed yet.
func (f *fixture) readTold(t *testing.T) (lines []string) {
	t.Helper()
	for _, e := range readLog(t, f.store) {
		if e.ID > f.told {
			lines = append(lines, fmt.Sprintf("%s %s %s/%d", e.UserID, e.Type, e.TaskID, e.Version))
			f.told = e.ID
		}
	}
	return lines
}

// One bad row of the other table keeps no other from being told.
func TestOwnersByJoinBadRow(t *testing.T) {
	t.Parallel()
	f := joined(t, `{"user": {"via": "project_id", "from": "app.projects", "user": "(r.owner_id::int + 1)::text"}}`)
	exec(t, f.app, `UPDATE app.projects SET owner_id = '41' WHERE id = 2; INSERT INTO app.exports (id, project_id) VALUES (1, 1), (2, 2)`)
	wantEqual(t, "told", f.brief(t), []string{"42 task_queued exports:2/1", "42 feed_reset /0"})
	if got := f.state(t, "last_error"); !strings.Contains(got, "22P02") {
		t.Errorf("last error: %s, want the one of the row", got)
	}
}

// A fact that was recorded under another mapping has keys of another table: they are
// looked up in neither.
func TestOwnersByAnotherJoin(t *testing.T) {
	t.Parallel()
	f := joined(t, ofOwner)
	exec(t, f.app, `INSERT INTO app.exports (id, project_id) VALUES (1, 1)`)
	exec(t, f.app, `UPDATE app.members SET user_id = 'mallory' WHERE project_id = 1; ALTER TABLE app.exports ADD team int; CREATE INDEX ON app.exports (team)`)
	attach(t, f, `{"user": {"via": "team", "from": "app.members", "key": "project_id", "user": "user_id"}}`)
	wantEqual(t, "told", f.brief(t), nil)
	exec(t, f.app, `UPDATE app.exports SET team = 2`)
	exec(t, f.app, `SELECT taskfeed.detach('exports')`)
	wantEqual(t, "detached", f.brief(t), nil)
}

func TestOwnersBeyondTheLimit(t *testing.T) {
	t.Parallel()
	f := joined(t, ofMembers)
	exec(t, f.app, `INSERT INTO app.members SELECT 5, 'user ' || i FROM generate_series(100, 300) AS i; INSERT INTO app.exports (id, project_id) VALUES (1, 5)`)
	if got := len(f.fold(t)); got != 64 {
		t.Errorf("told %d users, want 64", got)
	}
	if got := f.state(t, "last_error"); !strings.Contains(got, "more than 64 owners") {
		t.Errorf("last error: %s, want that some are left out", got)
	}
}

// The kind of a task may be found in another table too.
func TestKindByJoin(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, sqlProjects+`; CREATE TABLE app.kinds (id int PRIMARY KEY, name text); INSERT INTO app.kinds VALUES (1, 'report');
		ALTER TABLE app.exports ADD kind_id int, ADD user_id text`)
	attach(t, f, `{"kind": {"via": "kind_id", "from": "app.kinds", "key": "id", "kind": "name"}}`)
	exec(t, f.app, `INSERT INTO app.exports (id, user_id, kind_id) VALUES (1, 'alice', 1), (2, 'alice', 2)`)
	wantEqual(t, "told", f.fold(t), []string{`alice task_queued exports:1/1 {"kind": "report", "progress": 0}`, `alice task_queued exports:2/1 {"kind": "exports", "progress": 0}`})
}

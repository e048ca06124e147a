package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

func TestAttachCommands(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Exec(t, url, `
		CREATE SCHEMA app;
		CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state text);
		CREATE TABLE app.users (id bigint PRIMARY KEY, name text); INSERT INTO app.users VALUES (4, 'dora');
		INSERT INTO app.exports VALUES (1, 'alice', 'pending'), (2, 'bob', 'done'), (3, NULL, 'done'), (4, 'bob', 'paused')`)
	run := func(args ...string) ran { t.Helper(); return runCLI(t, []string{"DATABASE_URL=" + url}, args...) }
	file := filepath.Join(t.TempDir(), "exports.yaml")
	if err := os.WriteFile(file, []byte("# the exports of our app\ntable: app.exports\nuser: owner_id\nmap:\n  pending: queued\n  done: completed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		stdout []string
		stderr string
	}{
		{"attach", 0, []string{"taskfeed attach app.exports --name exports --dry-run\n"}, ""},
		{"attach app.exports --dry-run --map pending=queued,done=completed", 2, []string{"would be attached; nothing was changed: app.exports as exports\n", "2 have the status done: completed\n",
			"1 have the status paused: no event, for the map does not name it\n", "warning: 1 have no owner", "ids: exports:4, exports:3", `"alice"`, "add to --map paused=…\n"}, "there are warnings: 2;"},
		{"attach app.exports --dry-run --map pending=queued,done=completed,paused=none --when r.owner_id<>''", 0, []string{"would be attached"}, ""},
		{"attach app.exports --dry-run --map pending=ready", 1, nil, `map has "pending": "ready"`},
		{"attach app.exports --dry-run --map *=queued --user via=id,from=app.users,key=id,user=name", 2, []string{`"dora"`, "3 have no owner"}, "there are warnings: 1;"},
		{`attach app.exports --dry-run --map *=queued --user {"via":"id","from":"app.nobody","user":"name"}`, 1, nil, "write it with its schema"},
		{"attach app.exports --print", 0, []string{"CREATE OR REPLACE FUNCTION taskfeed.attached_exports()", "CREATE TRIGGER aa_taskfeed_exports_update "}, ""},
		{"sources", 0, []string{"NAME"}, ""},
		{"attach -f " + file, 0, []string{"attached: app.exports as exports\n"}, ""},
		{"attach -f " + file, 0, []string{"attached already, nothing changed"}, ""},
		{"attach -f " + file + " --on-delete keep", 0, []string{"attached with another mapping"}, ""},
		{"attach app.exports --name other", 1, nil, "attached already, as the source exports"},
		{"attach", 0, []string{"no table has a column user_id"}, ""},
		{"sources", 0, []string{"exports  app.exports  0       0         0        its rows are being read"}, ""},
		{"attach app.nowhere", 1, nil, `"app.nowhere" does not exist`},
		{"attach exports", 1, nil, `name its schema too, as in public.exports`},
		{"attach app.users", 1, nil, "taskfeed: say what the status of a row of app.users is: it has none of the columns status, state. Give the mapping"},
		{"attach app.exports --map done", 2, nil, `--map: "done" is not of the form value=status`},
		{"attach app.exports --strict maybe", 2, nil, "--strict:"},
		{"attach -f nowhere.yaml", 2, nil, "nowhere.yaml"},
		{"detach exports --tasks all", 2, nil, "--tasks must be keep or delete"},
		{"detach exports", 0, []string{"detached: nothing of taskfeed is left on app.exports\n"}, ""},
		{"detach exports", 0, []string{"there is no source exports\n"}, ""},
	} {
		r := run(strings.Fields(c.args)...)
		r.expect(t, c.status, c.stderr)
		for _, want := range c.stdout {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("taskfeed %s: %q is missing in\n%s", c.args, want, r.stdout)
			}
		}
	}
}

// A table is attached while the server runs: its owner gets the rows that are open,
// every change of them, all at once when the table is emptied, and all of it again
// from a cursor.
func TestAttachedTableIsServed(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Exec(t, url, `CREATE SCHEMA app; CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state text, percent int);
		INSERT INTO app.exports VALUES (1, 'alice', 'pending', 0), (2, 'bob', 'pending', 0)`)
	s := startServing(t, url)
	live := dialPlain(t, s, "alice", "after=0")
	if f := checkedFrame(t, live); f.Type != taskfeed.TypeFeedLive {
		t.Fatalf("first frame: %+v, want feed_live", f)
	}
	runCLI(t, []string{"DATABASE_URL=" + url}, "attach", "app.exports", "--progress", "percent", "--map", "pending=queued,working=running,done=completed").expect(t, 0, "")
	pgtest.Exec(t, url, `UPDATE app.exports SET state = 'working', percent = 40`)
	pgtest.Exec(t, url, `UPDATE app.exports SET percent = 80`)
	pgtest.Exec(t, url, `TRUNCATE app.exports`)

	told := func(conn *websocket.Conn) (all []string) { // how soon the rows were read decides whether they were queued first
		for {
			f := checkedFrame(t, conn)
			if f.Type == taskfeed.TypeFeedReset {
				return append(all, string(f.Reason))
			}
			if f.Type != taskfeed.TypeTaskQueued {
				all = append(all, string(f.Type)+" "+f.Event.TaskID)
			}
		}
	}
	want := []string{"task_started exports:1", "task_progress exports:1", "source_broken"}
	if got := told(live); !slices.Equal(got, want) {
		t.Errorf("live: got %q, want %q", got, want)
	}
	if got := told(dialPlain(t, s, "alice", "after=0")); !slices.Equal(got, want) {
		t.Errorf("replayed: got %q, want %q", got, want)
	}
}

// Changes that no trigger saw are found by comparing rows with tasks, and told when
// the rows are read again.
func TestReconcile(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Exec(t, url, `CREATE SCHEMA app; CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state text, percent int);
		SELECT taskfeed.attach('app.exports', 'exports', '{"progress": "percent"}');
		INSERT INTO app.exports SELECT n, 'alice', 'running', 5 FROM generate_series(1, 1500) AS n; INSERT INTO app.exports VALUES (5000, 'alice', 'completed', 100)`)
	run := func(args ...string) ran { t.Helper(); return runCLI(t, []string{"DATABASE_URL=" + url}, args...) }
	startServing(t, url)
	doctor := func(status int, want string) {
		t.Helper()
		var r ran
		eventually(t, want, 30*time.Second, func() bool {
			r = run("doctor", "--reconcile")
			return r.status == status && strings.Contains(r.stdout, want)
		})
	}
	doctor(0, "attached table exports: all 1501 rows are as their users see them")
	pgtest.Exec(t, url, `BEGIN; SET LOCAL session_replication_role = replica;
		UPDATE app.exports SET state = 'completed' WHERE id = 1; UPDATE app.exports SET percent = 7 WHERE id IN (2, 1400);
		DELETE FROM app.exports WHERE id = 3; INSERT INTO app.exports VALUES (9000, 'bob', 'queued', 0), (9001, 'bob', 'failed', 0); COMMIT`)
	doctor(1, "problem: attached table exports: of 1502 rows, 1 rows are not tasks, 3 tasks differ from their rows, 1 open tasks have no row (exports:1, exports:2, exports:1400, exports:9000, exports:3): run taskfeed sources --read-again exports")
	run("sources", "--read-again", "other").expect(t, 1, "there is no attached table other")
	if r := run("sources", "--read-again", "exports"); r.status != 0 || !strings.Contains(r.stdout, "5 differences were found") {
		t.Errorf("read again: %+v", r)
	}
	doctor(0, "attached table exports: all 1502 rows are as their users see them")
	var tail string
	if err := pgtest.Connect(t, url).QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', user_id, type, task_id), ', ' ORDER BY task_id)
		FROM (SELECT user_id, type, task_id FROM taskfeed.events ORDER BY id DESC LIMIT 5) AS e`).Scan(&tail); err != nil {
		t.Fatal(err)
	}
	if want := "alice task_completed exports:1, alice task_progress exports:1400, alice task_progress exports:2, alice task_deleted exports:3, bob task_queued exports:9000"; tail != want {
		t.Errorf("events: got %s, want %s", tail, want)
	}
}

// Lists, exports and statistics name the attached table of a task, and admins see how
// it is.
func TestAttachedTableInLists(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Exec(t, url, `CREATE SCHEMA app; CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state text);
		SELECT taskfeed.attach('app.exports', 'exports', '{"map": {"pending": "queued", "done": "completed"}}');
		INSERT INTO app.exports VALUES (1, 'alice', 'pending'), (2, 'alice', 'paused'), (3, NULL, 'done');
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('own', 'alice')`)
	s := startServing(t, url)
	admin, alice := apiOf(t, s, "root", auth.RoleAdmin), apiOf(t, s, "alice", "")
	type list struct{ Items []taskfeed.Task }
	eventually(t, "the row is a task", 15*time.Second, func() bool {
		var l list
		admin.get("/v1/tasks", &l)
		return len(l.Items) == 2
	})
	for path, want := range map[string]string{"/v1/tasks?source=exports": "exports:1 exports", "/v1/me/tasks?source=exports": "exports:1 exports", "/v1/tasks?source=other": "",
		"/v1/me/tasks?sort=created": "exports:1 exports,own "} {
		var l list
		var got []string
		if path[4] == 'm' {
			alice.get(path, &l)
		} else {
			admin.get(path, &l)
		}
		for _, task := range l.Items {
			got = append(got, task.ID+" "+task.Source)
		}
		if slices.Sort(got); strings.Join(got, ",") != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	var stats struct {
		Counts []struct{ Status, Source string }
	}
	admin.get("/v1/stats", &stats)
	if got := fmt.Sprint(stats.Counts); got != "[{queued exports} {queued }]" && got != "[{queued } {queued exports}]" {
		t.Errorf("statistics: %s", got)
	}
	var sources struct {
		Items []struct {
			Name, Table, Problem string
			OK                   bool
			Unmapped, Unowned    int
			Unknown              []string `json:"unmapped_values"`
			Mapping              map[string]any
		}
	}
	admin.get("/v1/sources", &sources)
	for i := range sources.Items { // a row counts again when all are read
		sources.Items[i].Unmapped, sources.Items[i].Unowned = min(sources.Items[i].Unmapped, 1), min(sources.Items[i].Unowned, 1)
	}
	if got := fmt.Sprint(sources.Items); got != "[{exports app.exports the map does not name paused true 1 1 [paused] map[map:map[done:completed pending:queued]]}]" {
		t.Errorf("sources: %s", got)
	}
}

// Doctor and metrics tell when an attached table is not seen any more.
func TestAttachedTableDrifts(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Exec(t, url, `CREATE SCHEMA app; CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state text)`)
	run := func(args ...string) ran { t.Helper(); return runCLI(t, []string{"DATABASE_URL=" + url}, args...) }
	run("attach", "app.exports").expect(t, 0, "")
	const again = `SELECT taskfeed.attach('app.exports', 'exports', mapping) FROM taskfeed.sources WHERE name = 'exports'`
	for _, c := range []struct{ name, do, want, undo string }{
		{"no trigger", `ALTER TABLE app.exports DISABLE TRIGGER aa_taskfeed_exports_insert`, "its trigger aa_taskfeed_exports_insert on app.exports is missing or disabled", `ALTER TABLE app.exports ENABLE TRIGGER aa_taskfeed_exports_insert`},
		{"a renamed column", `ALTER TABLE app.exports RENAME owner_id TO "the owner"`, `its mapping reads the column owner_id of app.exports, which is "the owner" now`, `ALTER TABLE app.exports RENAME "the owner" TO owner_id`},
		{"a dropped column", `ALTER TABLE app.exports RENAME state TO old; ALTER TABLE app.exports ADD state text; ALTER TABLE app.exports DROP old`, `its mapping reads the column state of app.exports, which is gone`, ``},
		{"another table", `ALTER TABLE app.exports RENAME TO old; CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state text)`, "app.exports is another table now than the one that was attached: run " + again, again + `; DROP TABLE app.old`},
		{"no trigger at all", `DROP TRIGGER aa_taskfeed_exports_delete ON app.exports`, "its trigger aa_taskfeed_exports_delete on app.exports is missing or disabled, so changes are not seen: run ALTER TABLE app.exports ENABLE TRIGGER aa_taskfeed_exports_delete, or if it was dropped " + again, again},
		{"no table", `DROP TABLE app.exports`, "its table app.exports is gone: run taskfeed detach exports", ``},
	} {
		pgtest.Exec(t, url, c.do)
		if r := run("doctor"); r.status != 1 || !strings.Contains(r.stdout, "problem: attached table exports: "+c.want) {
			t.Errorf("%s: doctor exits with %d and says\n%s\nwant %q", c.name, r.status, r.stdout, c.want)
		}
		if c.undo == "" {
			continue
		}
		pgtest.Exec(t, url, c.undo)
		if r := run("doctor"); r.status != 0 {
			t.Errorf("%s: after the remedy doctor says\n%s", c.name, r.stdout)
		}
	}
	run("detach", "exports").expect(t, 0, "")
	if r := run("doctor"); r.status != 0 {
		t.Errorf("doctor after detach: %s", r.stdout)
	}
}

func TestAttachFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"table: app.exports\nuser: \"r.args->>'user_id'\" # the owner\nstrict: true\n\nmap:\n  'it''s': queued\n  '*': none\nprogress:\n    done: d\n    total: t\n": `{"table": "app.exports", "user": "r.args->>'user_id'", "strict": true, "map": {"it's": "queued", "*": "none"}, "progress": {"done": "d", "total": "t"}}`,
		"{\"table\": \"t\", \"map\": {\"a\": \"queued\"}}":           `{"table": "t", "map": {"a": "queued"}}`,
		"user: r.args->>'user_id'\nwhen: r.a IS NULL OR r.b = 'x:y'": `{"user": "r.args->>'user_id'", "when": "r.a IS NULL OR r.b = 'x:y'"}`,
		"table":                     "line 1: want key: value",
		"  a: b":                    "line 1: it is indented and nothing above it",
		"a: b\n  c: d":              "line 2: it is indented and nothing above it",
		"a: b\na: c":                "line 2: the key a comes twice",
		"a:\tb":                     "line 1: it has a tab",
		"a: [b, c]":                 "line 1: write the value in quotes",
		"a: \"b\" c":                `line 1: "c" follows the value`,
		"a: 'b":                     "line 1: the quotes do not end",
		"a: |\n  text":              "line 1: write the value in quotes",
		"map:\n  - pending: queued": "line 2: write the key in quotes",
		"*: none":                   "line 1: write the key in quotes",
	} {
		got, err := parseAttachFile([]byte(text))
		var object map[string]any
		if json.Unmarshal([]byte(want), &object) == nil {
			if err != nil || !reflect.DeepEqual(got, object) {
				t.Errorf("%q: got %v (%v), want %v", text, got, err, object)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v (%v), want %q", text, got, err, want)
		}
	}
}

// Doctor tells when what a mapping reads comes to belong to a stranger, who could then
// run code with our rights.
func TestAttachedTableChangesHands(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	stranger := fmt.Sprintf("stranger_%d", os.Getpid())
	pgtest.Exec(t, url, `CREATE ROLE `+stranger+`; CREATE SCHEMA app; CREATE TABLE app.projects (id bigint PRIMARY KEY, owner_id text);
		CREATE TABLE app.exports (id bigint PRIMARY KEY, project_id bigint, state text);
		CREATE FUNCTION app.state_of(t text) RETURNS text LANGUAGE sql RETURN t;
		SELECT taskfeed.attach('app.exports', 'exports', '{"user": {"via": "project_id", "from": "app.projects", "user": "owner_id"}, "status": "app.state_of(r.state)"}')`)
	defer pgtest.Exec(t, url, `DROP SCHEMA app CASCADE; DROP OWNED BY `+stranger+`; DROP ROLE `+stranger)
	run := func(args ...string) ran { t.Helper(); return runCLI(t, []string{"DATABASE_URL=" + url}, args...) }
	run("doctor").expect(t, 0, "")
	for _, c := range [][2]string{{"TABLE", "app.exports"}, {"TABLE", "app.projects"}, {"FUNCTION", "app.state_of(text)"}} {
		pgtest.Exec(t, url, `ALTER `+c[0]+` `+c[1]+` OWNER TO `+stranger)
		want := "attached table exports: the role " + stranger + ", which owns the " + strings.ToLower(c[0]) + " " + c[1] + ", could run code with the rights of the schema taskfeed: give that back"
		if r := run("doctor"); r.status != 1 || !strings.Contains(r.stdout, want) {
			t.Errorf("doctor exits with %d and says\n%s\nwant %q", r.status, r.stdout, want)
		}
		pgtest.Exec(t, url, `ALTER `+c[0]+` `+c[1]+` OWNER TO CURRENT_USER`)
	}
	run("doctor").expect(t, 0, "")
}

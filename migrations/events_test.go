package migrations_test

import (
	"testing"
)

// The rows that the cases of eventTable start with.
const (
	givenQueued = `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`
	givenFull   = `INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress, message, result, error)
		VALUES ('t', 'alice', 'video', 'running', 40, 'secret', '{"url": "private"}', 'warned')`
	givenDone = `INSERT INTO taskfeed.tasks (id, user_id, status, result) VALUES ('t', 'alice', 'completed', '1')`
)

// eventTable has the events that each statement makes.
var eventTable = []struct {
	name, given, do string
	want            []string
}{
	{"a row appears as queued", "", givenQueued,
		[]string{`alice t task_queued 1 {"progress": 0}`}},
	{"a row appears as queued with all fields", "", `INSERT INTO taskfeed.tasks (id, user_id, kind, progress, message) VALUES ('t', 'alice', 'video', 5, 'soon')`,
		[]string{`alice t task_queued 1 {"kind": "video", "message": "soon", "progress": 5}`}},
	{"a row appears as running", "", `INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('t', 'alice', 'running')`,
		[]string{`alice t task_started 1 {"progress": 0}`}},
	{"a row appears as completed", "", givenDone,
		[]string{`alice t task_completed 1 {"result": 1, "progress": 0}`}},
	{"a row appears as failed", "", `INSERT INTO taskfeed.tasks (id, user_id, status, error) VALUES ('t', 'alice', 'failed', 'boom')`,
		[]string{`alice t task_failed 1 {"error": "boom", "progress": 0}`}},
	{"a row appears as canceled", "", `INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('t', 'alice', 'canceled')`,
		[]string{`alice t task_canceled 1 {"progress": 0}`}},

	{"status becomes running", givenQueued, `UPDATE taskfeed.tasks SET status = 'running'`,
		[]string{`alice t task_started 2 {"progress": 0}`}},
	{"status becomes running together with progress", givenQueued, `UPDATE taskfeed.tasks SET status = 'running', progress = 3, message = 'go'`,
		[]string{`alice t task_started 2 {"message": "go", "progress": 3}`}},
	{"status becomes completed", givenQueued, `UPDATE taskfeed.tasks SET status = 'completed', progress = 100, result = '{"count": 5}'`,
		[]string{`alice t task_completed 2 {"result": {"count": 5}, "progress": 100}`}},
	{"status becomes completed without a result", givenQueued, `UPDATE taskfeed.tasks SET status = 'completed'`,
		[]string{`alice t task_completed 2 {"result": null, "progress": 0}`}},
	{"status becomes completed with a JSON null", givenQueued, `UPDATE taskfeed.tasks SET status = 'completed', result = 'null'`,
		[]string{`alice t task_completed 2 {"result": null, "progress": 0}`}},
	{"status becomes failed", givenQueued, `UPDATE taskfeed.tasks SET status = 'failed', error = 'disk full'`,
		[]string{`alice t task_failed 2 {"error": "disk full", "progress": 0}`}},
	{"status becomes failed without an error", givenQueued, `UPDATE taskfeed.tasks SET status = 'failed'`,
		[]string{`alice t task_failed 2 {"error": null, "progress": 0}`}},
	{"status becomes canceled", givenFull, `UPDATE taskfeed.tasks SET status = 'canceled'`,
		[]string{`alice t task_canceled 2 {"kind": "video", "error": "warned", "result": {"url": "private"}, "message": "secret", "progress": 40}`}},
	{"status becomes queued again", givenFull, `UPDATE taskfeed.tasks SET status = 'queued', progress = 0, message = NULL, result = NULL, error = NULL`,
		[]string{`alice t task_queued 2 {"kind": "video", "progress": 0}`}},

	{"progress changes", givenQueued, `UPDATE taskfeed.tasks SET progress = 40`,
		[]string{`alice t task_progress 2 {"progress": 40}`}},
	{"message changes", givenQueued, `UPDATE taskfeed.tasks SET message = 'rendering'`,
		[]string{`alice t task_progress 2 {"message": "rendering", "progress": 0}`}},
	{"progress and message change", givenFull, `UPDATE taskfeed.tasks SET progress = 41, message = 'more'`,
		[]string{`alice t task_progress 2 {"message": "more", "progress": 41}`}},
	{"message goes", givenFull, `UPDATE taskfeed.tasks SET message = NULL`,
		[]string{`alice t task_progress 2 {"progress": 40}`}},
	{"message becomes empty", givenFull, `UPDATE taskfeed.tasks SET message = ''`,
		[]string{`alice t task_progress 2 {"message": "", "progress": 40}`}},
	{"message changes while completed", givenDone, `UPDATE taskfeed.tasks SET message = 'archived'`,
		[]string{`alice t task_progress 2 {"message": "archived", "progress": 0}`}},

	{"result changes while completed", givenDone, `UPDATE taskfeed.tasks SET result = '2'`,
		[]string{`alice t task_completed 2 {"result": 2, "progress": 0}`}},
	{"result and progress change while running", givenFull, `UPDATE taskfeed.tasks SET result = '[1]', progress = 41`,
		[]string{`alice t task_started 2 {"kind": "video", "error": "warned", "result": [1], "message": "secret", "progress": 41}`}},
	{"error changes while queued", givenQueued, `UPDATE taskfeed.tasks SET error = 'try 1'`,
		[]string{`alice t task_queued 2 {"error": "try 1", "progress": 0}`}},
	{"kind changes", givenQueued, `UPDATE taskfeed.tasks SET kind = 'audio'`,
		[]string{`alice t task_queued 2 {"kind": "audio", "progress": 0}`}},

	{"a row is deleted", givenFull, `DELETE FROM taskfeed.tasks`,
		[]string{`alice t task_deleted 2 {}`}},
	{"bad input 4: the owner changes", givenFull, `UPDATE taskfeed.tasks SET user_id = 'bob'`,
		[]string{`alice t task_deleted 2 {}`,
			`bob t task_started 2 {"kind": "video", "error": "warned", "result": {"url": "private"}, "message": "secret", "progress": 40}`}},
	{"bad input 4: the owner changes together with everything else", givenFull,
		`UPDATE taskfeed.tasks SET user_id = 'bob', status = 'completed', progress = 100, message = 'new', result = '7', error = NULL, kind = NULL`,
		[]string{`alice t task_deleted 2 {}`, `bob t task_completed 2 {"result": 7, "message": "new", "progress": 100}`}},
	{"bad input 3: nothing changes", givenFull, `UPDATE taskfeed.tasks SET user_id = user_id, status = 'running', progress = 40, message = 'secret', result = '{"url":"private"}'`, nil},
	{"bad input 3: nothing visible changes", givenFull, `UPDATE taskfeed.tasks SET version = 99, updated_at = 'epoch', created_at = 'epoch'`, nil},
	{"bad input 3: no row matches", givenFull, `UPDATE taskfeed.tasks SET progress = 1 WHERE false; DELETE FROM taskfeed.tasks WHERE false;
		INSERT INTO taskfeed.tasks (user_id) SELECT 'x' WHERE false`, nil},
	{"the app sets the version itself", givenQueued, `UPDATE taskfeed.tasks SET version = 77, progress = 1`,
		[]string{`alice t task_progress 2 {"progress": 1}`}},

	{"TRUNCATE makes no event", givenQueued, `TRUNCATE taskfeed.tasks`, nil},
	{"a disabled trigger makes no event", givenQueued, `ALTER TABLE taskfeed.tasks DISABLE TRIGGER USER; UPDATE taskfeed.tasks SET progress = 1;
		ALTER TABLE taskfeed.tasks ENABLE TRIGGER USER`, nil},
}

func TestEventTable(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, c := range eventTable {
		t.Run(c.name, func(t *testing.T) {
			s := *s
			s.t = t
			s.exec(`TRUNCATE taskfeed.tasks, taskfeed.changes;` + c.given)
			s.captured()
			s.exec(c.do)
			s.wantCaptured(c.want...)
		})
	}
}

func TestStamp(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id, progress) VALUES ('t', 'alice', 40)`)
	row := func() string {
		return one[string](s, `SELECT concat_ws(' ', version, updated_at) FROM taskfeed.tasks WHERE id = 't'`)
	}

	before := row()
	s.exec(`UPDATE taskfeed.tasks SET progress = 40, version = 12, updated_at = 'epoch'`)
	if got := row(); got != before {
		t.Errorf("bad input 3: after an update without a change: %s, want %s", got, before)
	}

	s.exec(`UPDATE taskfeed.tasks SET progress = 41, version = 12, updated_at = 'epoch'`)
	const sqlStamped = `SELECT version = 2 AND updated_at > created_at FROM taskfeed.tasks WHERE id = 't'`
	if !one[bool](s, sqlStamped) {
		t.Errorf("after a change: %s, want version 2 and a time after the creation", row())
	}
}

// The app's own BEFORE triggers have their say before a change is judged,
// whatever their names.
func TestStampFollowsTriggersOfTheApp(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice');
		CREATE FUNCTION finish() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			new.updated_at := 'epoch';
			IF new.created_at = 'epoch' THEN new.status := 'completed'; END IF;
			RETURN new;
		END $$;
		CREATE TRIGGER update_finish BEFORE UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION finish()`)
	s.captured()

	s.exec(`UPDATE taskfeed.tasks SET created_at = 'epoch'`)
	s.wantCaptured(`alice t task_completed 2 {"result": null, "progress": 0}`)
	if !one[bool](s, `SELECT version = 2 AND updated_at > 'epoch' FROM taskfeed.tasks`) {
		t.Errorf("the row kept the app's updated_at or its old version, want ours")
	}
}

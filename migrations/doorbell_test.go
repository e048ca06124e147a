package migrations_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// rings counts the doorbell's notifications since the last look. The session
// must listen. Notifications come in the order of the commits, so all that were
// sent before now precede the session's own.
func (s *session) rings() int {
	s.t.Helper()
	s.exec(`NOTIFY taskfeed, 'count'`)
	n := s.notifications - 1
	s.notifications = 0
	return n
}

const (
	sqlArm    = `SELECT pg_advisory_lock(1952543595, 1)`
	sqlDisarm = `SELECT pg_advisory_unlock(1952543595, 1)`
)

func TestDoorbell(t *testing.T) {
	t.Parallel()
	const armed, busy = true, false
	for _, c := range []struct {
		name  string
		armed bool
		do    string
		want  int
	}{
		{"an insert rings", armed, `INSERT INTO taskfeed.tasks (user_id) VALUES ('bob')`, 1},
		{"an update rings", armed, `UPDATE taskfeed.tasks SET progress = 1`, 1},
		{"a change of state rings", armed, `UPDATE taskfeed.tasks SET status = 'running'`, 1},
		{"a change of owner rings", armed, `UPDATE taskfeed.tasks SET user_id = 'bob'`, 1},
		{"a delete rings", armed, `DELETE FROM taskfeed.tasks`, 1},
		{"notify rings", armed, `SELECT taskfeed.notify('alice', 'hello')`, 1},
		{"broadcast rings", armed, `SELECT taskfeed.broadcast('hello')`, 1},
		{"a transaction rings once", armed, `BEGIN; UPDATE taskfeed.tasks SET progress = 1; UPDATE taskfeed.tasks SET progress = 2;
			SELECT taskfeed.broadcast('hello'); DELETE FROM taskfeed.tasks; COMMIT`, 1},
		{"an update without a change does not ring", armed, `UPDATE taskfeed.tasks SET progress = progress`, 0},
		{"a statement without rows does not ring", armed, `DELETE FROM taskfeed.tasks WHERE false`, 0},
		{"a rollback does not ring", armed, `BEGIN; UPDATE taskfeed.tasks SET progress = 1; ROLLBACK`, 0},
		{"the setting off does not ring", armed, `SET taskfeed.notify = 'off'; UPDATE taskfeed.tasks SET progress = 1`, 0},
		{"the setting on rings", armed, `SET taskfeed.notify = 'on'; UPDATE taskfeed.tasks SET progress = 1`, 1},
		{"the setting off for a transaction counts for it alone", armed, `BEGIN; SET LOCAL taskfeed.notify = 'off'; UPDATE taskfeed.tasks SET progress = 1; COMMIT;
			UPDATE taskfeed.tasks SET progress = 2`, 1},
		{"nobody sleeps: an insert does not ring", busy, `INSERT INTO taskfeed.tasks (user_id) VALUES ('bob')`, 0},
		{"nobody sleeps: an update does not ring", busy, `UPDATE taskfeed.tasks SET progress = 1`, 0},
		{"nobody sleeps: notify does not ring", busy, `SELECT taskfeed.notify('alice', 'hello')`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			s.exec(`INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')`)
			bell := s.another()
			bell.exec(`LISTEN taskfeed`)
			if c.armed {
				bell.exec(sqlArm)
			}
			s.exec(c.do)
			if got := bell.rings(); got != c.want {
				t.Errorf("rang %d times, want %d", got, c.want)
			}
		})
	}
}

// A writer that skips NOTIFY keeps the sequencer from falling asleep until it
// has committed; otherwise its change would wait for the fallback look.
func TestDoorbellStaysUnarmedUntilCommit(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	sequencer := s.another()
	const sqlTryArm = `SELECT pg_try_advisory_lock(1952543595, 1)`

	s.exec(`BEGIN; INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')`)
	if one[bool](sequencer, sqlTryArm) {
		t.Errorf("the sequencer armed while a writer that did not ring was under way, want a refusal")
	}
	s.exec(`COMMIT`)
	if !one[bool](sequencer, sqlTryArm) {
		t.Errorf("the sequencer could not arm after the commit, want the lock")
	}
}

// Writers hold the doorbell's shared side together, and none waits for the
// exclusive one.
func TestWritersNeverWait(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	open, bell := s.another(), s.another()
	open.exec(`BEGIN; SELECT taskfeed.broadcast('hello')`) // holds the shared side
	s.exec(`SET lock_timeout = '1s'`)
	s.exec(`UPDATE taskfeed.tasks SET progress = 1`)
	open.exec(`ROLLBACK`)
	bell.exec(sqlArm)
	s.exec(`UPDATE taskfeed.tasks SET progress = 2; DELETE FROM taskfeed.tasks; SELECT taskfeed.broadcast('hello')`)
	bell.exec(sqlDisarm)
	if got := len(s.captured()); got != 5 {
		t.Errorf("%d changes captured, want 5", got)
	}
}

// The setting is made for whole databases: new sessions obey it.
func TestDoorbellOffForADatabase(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET taskfeed.notify = off', current_database()); END $$`)
	writer, bell := s.another(), s.another()
	bell.exec(`LISTEN taskfeed;` + sqlArm)
	writer.exec(`INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')`)
	if got := bell.rings(); got != 0 {
		t.Errorf("rang %d times, want never", got)
	}
}

// Postgres refuses to prepare a transaction that has sent a NOTIFY; an app that
// needs two-phase commit switches the doorbell off.
func TestTwoPhaseCommit(t *testing.T) {
	t.Parallel()
	url := pgtest.Server(t, devpg.Config{Settings: map[string]string{"max_prepared_transactions": "2"}}).URL("postgres")
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	s, bell := connect(t, url), connect(t, url)
	bell.exec(`LISTEN taskfeed;` + sqlArm)

	s.exec(`BEGIN; INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	s.refused("0A000", `PREPARE TRANSACTION 'two'`)

	s.exec(`SET taskfeed.notify = 'off'; BEGIN; INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice'); PREPARE TRANSACTION 'two'`)
	s.wantCaptured()
	s.exec(`COMMIT PREPARED 'two'`)
	s.wantCaptured(`alice t task_queued 1 {"progress": 0}`)
	if got := bell.rings(); got != 0 {
		t.Errorf("rang %d times, want never", got)
	}
}

package migrations_test

import (
	"testing"
)

// updates runs statements in one transaction and returns how many rows they
// updated, and how many of these updates touched no index.
func updates(s *session, statements ...string) (all, hot int) {
	s.t.Helper()
	s.exec("BEGIN")
	defer s.exec("COMMIT")
	for _, sql := range statements {
		s.exec(sql)
	}
	row := s.conn.QueryRow(s.t.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relid = 'taskfeed.tasks'::regclass")
	if err := row.Scan(&all, &hot); err != nil {
		s.t.Fatalf("count updates: %v", err)
	}
	return all, hot
}

// TestProgressStaysHOT: an update that touches an indexed column writes into
// every index of the table; progress updates must not.
func TestProgressStaysHOT(t *testing.T) {
	t.Parallel()
	const present = "INSERT INTO taskfeed.tasks (id, user_id, status) SELECT i, 'alice', 'running' FROM generate_series(1, 10) AS i"
	const old = "INSERT INTO taskfeed.tasks (id, user_id, status, updated_at) SELECT i, 'alice', 'running', now() - interval '2 hours' FROM generate_series(1, 10) AS i"
	for _, c := range []struct {
		name       string
		insert     string
		statements []string
		all, hot   int
	}{
		{"progress and message", present, []string{"UPDATE taskfeed.tasks SET progress = 1", "UPDATE taskfeed.tasks SET message = 'rendering'"}, 20, 20},
		{"result, error and kind", present, []string{"UPDATE taskfeed.tasks SET result = '1', error = 'none', kind = 'render'"}, 10, 10},
		{"the first in another hour", old, []string{"UPDATE taskfeed.tasks SET progress = 1", "UPDATE taskfeed.tasks SET progress = 2"}, 20, 10},
		{"another status", present, []string{"UPDATE taskfeed.tasks SET status = 'completed'"}, 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t)
			for { // again when the hour ends meanwhile
				s.exec("TRUNCATE taskfeed.tasks")
				hour := one[string](s, "SELECT date_trunc('hour', clock_timestamp())::text")
				s.exec(c.insert)
				all, hot := updates(s, c.statements...)
				if one[string](s, "SELECT date_trunc('hour', clock_timestamp())::text") != hour {
					continue
				}
				if all != c.all || hot != c.hot {
					t.Errorf("updates: got %d, %d of them HOT, want %d and %d", all, hot, c.all, c.hot)
				}
				return
			}
		})
	}
}

func TestUpdatedHour(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec("SET TimeZone = 'Asia/Kolkata'") // half an hour off
	s.exec("INSERT INTO taskfeed.tasks (id, user_id, updated_at) VALUES ('t', 'alice', '2026-11-22 10:59:59.999999+00')")
	if got, want := one[string](s, "SELECT (updated_hour AT TIME ZONE 'UTC')::text FROM taskfeed.tasks"), "2026-11-22 10:00:00"; got != want {
		t.Errorf("updated_hour: got %s, want %s, in UTC whatever the session's time zone", got, want)
	}
}

// Tasks may be written in ways that make no events. In the role of replication they get
// their updated_hour; behind disabled triggers they get it with the next update.
func TestUpdatedHourOfLoadedTasks(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	const insert = "INSERT INTO taskfeed.tasks (id, user_id, updated_at) VALUES ('t', 'alice', '2026-11-22 10:59:59.999999+00');"
	const sqlHour = "SELECT (updated_hour AT TIME ZONE 'UTC')::text FROM taskfeed.tasks"
	s.exec("SET session_replication_role = replica")
	s.refused("23514", "INSERT INTO taskfeed.tasks (user_id, progress) VALUES ('alice', 101)")
	for _, c := range []struct{ name, load string }{
		{"as replication", "SET session_replication_role = replica;" + insert + "SET session_replication_role = origin"},
		{"past disabled triggers", "ALTER TABLE taskfeed.tasks DISABLE TRIGGER USER;" + insert + "ALTER TABLE taskfeed.tasks ENABLE TRIGGER USER; UPDATE taskfeed.tasks SET id = id"},
	} {
		s.exec("TRUNCATE taskfeed.tasks;" + c.load)
		if got, want := one[string](s, sqlHour), "2026-11-22 10:00:00"; got != want {
			t.Errorf("%s: updated_hour is %s, want %s", c.name, got, want)
		}
		s.wantCaptured()
	}
}

// One row with such a time would break every list that it is in.
func TestRefusedTimes(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	for _, column := range []string{"created_at", "updated_at"} {
		for _, at := range []string{"infinity", "-infinity", "0001-12-31 23:59:59+00 BC", "9999-01-01 00:00:00+00"} {
			err := s.refused("23514", "INSERT INTO taskfeed.tasks (user_id, "+column+") VALUES ('alice', '"+at+"')")
			if want := column + "_is_in_the_years_1_to_9998"; err.ConstraintName != want {
				t.Errorf("%s %s: got constraint %s, want %s", column, at, err.ConstraintName, want)
			}
		}
		for _, at := range []string{"0001-01-01 00:00:00+00", "9998-12-31 23:59:59.999999+00"} {
			s.exec("INSERT INTO taskfeed.tasks (user_id, " + column + ") VALUES ('alice', '" + at + "')")
		}
	}
}

func TestRefusedCommands(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec("INSERT INTO taskfeed.commands (kind, argument) VALUES ('disconnect_user', 'alice'), ('disconnect_connection', '7')")
	s.refused("23514", "INSERT INTO taskfeed.commands (kind, argument) VALUES ('drop_database', 'alice')")
	s.refused("23514", "INSERT INTO taskfeed.commands (kind, argument) VALUES ('disconnect_user', '')")
	s.refused("23514", "INSERT INTO taskfeed.commands (kind, argument) VALUES ('disconnect_user', repeat('x', 256))")
}

// An app's role may not disconnect anybody.
func TestAppCannotCommand(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.exec("CREATE ROLE history_app")
	defer s.exec("RESET ROLE; DROP OWNED BY history_app; DROP ROLE history_app")
	s.exec("SELECT taskfeed.grant_app('history_app')")
	s.exec("SET ROLE history_app")
	s.refused("42501", "INSERT INTO taskfeed.commands (kind, argument) VALUES ('disconnect_user', 'alice')")
	s.refused("42501", "SELECT id FROM taskfeed.commands")
	s.exec("INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')")
}

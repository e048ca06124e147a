package migrations_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// session is one connection of an app, as the owner of the schema unless it
// becomes another role.
type session struct {
	t    *testing.T
	conn *pgx.Conn
	url  string

	notifications int // arrived and not counted yet
	notices       []string
}

// newSession connects to a fresh, migrated database.
func newSession(t *testing.T) *session {
	t.Helper()
	return connect(t, pgtest.New(t))
}

func connect(t *testing.T, url string) *session {
	t.Helper()
	s := &session{t: t, url: url}
	cfg, err := pgtest.Config(url)
	if err != nil {
		t.Fatalf("parse URL: %v", err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { s.notices = append(s.notices, n.Message) }
	cfg.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { s.notifications++ }
	if s.conn, err = pgx.ConnectConfig(t.Context(), cfg); err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = s.conn.Close(context.WithoutCancel(t.Context())) })
	return s
}

// another opens a second session of the same database.
func (s *session) another() *session {
	s.t.Helper()
	return connect(s.t, s.url)
}

// exec runs one statement, or several when it has no arguments.
func (s *session) exec(sql string, args ...any) pgconn.CommandTag {
	s.t.Helper()
	tag, err := s.try(sql, args...)
	if err != nil {
		s.t.Fatalf("%.200s: %v", sql, err)
	}
	return tag
}

func (s *session) try(sql string, args ...any) (pgconn.CommandTag, error) {
	if len(args) == 0 {
		args = []any{pgx.QueryExecModeSimpleProtocol}
	}
	return s.conn.Exec(s.t.Context(), sql, args...)
}

// refused runs a statement that must fail with the SQLSTATE code.
func (s *session) refused(code, sql string, args ...any) *pgconn.PgError {
	s.t.Helper()
	_, err := s.try(sql, args...)
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		s.t.Fatalf("%.200s: got %v, want SQLSTATE %s", sql, err, code)
	}
	if pgErr.Code != code {
		s.t.Errorf("%.200s: got SQLSTATE %s (%s), want %s", sql, pgErr.Code, pgErr.Message, code)
	}
	return pgErr
}

// one reads a single value.
func one[T any](s *session, sql string, args ...any) T {
	s.t.Helper()
	all := list[T](s, sql, args...)
	if len(all) != 1 {
		s.t.Fatalf("%.200s: got %d rows, want 1", sql, len(all))
	}
	return all[0]
}

// list reads a column.
func list[T any](s *session, sql string, args ...any) []T {
	s.t.Helper()
	rows, err := s.conn.Query(s.t.Context(), sql, args...)
	if err != nil {
		s.t.Fatalf("%.200s: %v", sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		s.t.Fatalf("%.200s: %v", sql, err)
	}
	return all
}

// sqlData is what a change says, as the sequencer reads it.
const sqlData = `coalesce(data, jsonb_strip_nulls(jsonb_build_object('progress', progress, 'message', message)))`

const sqlCaptured = `
WITH taken AS (DELETE FROM taskfeed.changes RETURNING id, user_id, task_id, type, version, ` + sqlData + ` AS data)
SELECT concat_ws(' ', coalesce(user_id, '*'), task_id, type, version, data)
FROM taken
ORDER BY id`

// captured takes all changes out, in the order of capture, one line each:
//
//	alice t1 task_progress 2 {"progress": 40}
func (s *session) captured() []string {
	s.t.Helper()
	return list[string](s, sqlCaptured)
}

// wantCaptured compares what was captured since the last look.
func (s *session) wantCaptured(want ...string) {
	s.t.Helper()
	if got := s.captured(); !slices.Equal(got, want) {
		s.t.Errorf("captured:\n%q\nwant:\n%q", got, want)
	}
}

package listener_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// After one failed statement the server stays the leader, says why it is not ready,
// and goes on.
func TestStatementFails(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := start(t, store.Config{URL: url}, listener.Config{}, nil)
	s.leads(t)
	app, locker := pgtest.Connect(t, url), pgtest.Connect(t, url)
	pid := value[uint32](t, app, "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'taskfeed listener'")
	exec(t, locker, "BEGIN; LOCK TABLE taskfeed.events")
	add(t, app, 3) // the app does not wait
	eventually(t, "the reason", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "lock timeout")
	})
	if !s.Stats().Leader || s.Stats().Up {
		t.Errorf("while the log is locked: %+v, want leader and not up", s.Stats())
	}
	exec(t, locker, "ROLLBACK")
	publishesLog(t, app, 3, s)
	eventually(t, "readiness", func() bool { return s.Ready() == nil })

	exec(t, locker, "BEGIN; LOCK TABLE taskfeed.events")
	add(t, app, 3)
	eventually(t, "a move to cancel", func() bool {
		return value[bool](t, app, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", pid)
	})
	exec(t, app, "SELECT pg_cancel_backend($1)", pid)
	exec(t, locker, "ROLLBACK")
	publishesLog(t, app, 6, s)
	if same := value[bool](t, app, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid); !same {
		t.Error("the session was lost over one statement, want it kept")
	}
}

// A move that was committed although its answer was lost, and a log that cannot be
// read for a while, leave no gap in what is published.
func TestAnswersGetLost(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := start(t, store.Config{URL: url}, listener.Config{}, func(inner listener.Session) listener.Session { return &flaky{Session: inner} })
	s.leads(t)
	app := pgtest.Connect(t, url)
	for i := range 10 {
		exec(t, app, "INSERT INTO taskfeed.tasks (user_id) SELECT 'alice' FROM generate_series(1, $1::int)", 150*(i+1)) // some fill a page
	}
	publishesLog(t, app, 8250, s)
}

// flaky is a session that loses every third answer.
type flaky struct {
	listener.Session
	calls int
}

var errLost = errors.New("the answer was lost")

func (s *flaky) lose(err error) error {
	if s.calls++; err == nil && s.calls%3 == 0 {
		return errLost
	}
	return err
}

func (s *flaky) Move(ctx context.Context) (taskfeed.Moved, error) {
	m, err := s.Session.Move(ctx)
	if err = s.lose(err); err != nil {
		return taskfeed.Moved{}, err
	}
	return m, nil
}

func (s *flaky) MoveBacklog(ctx context.Context, appended func(taskfeed.Moved) error) error {
	return s.lose(s.Session.MoveBacklog(ctx, func(m taskfeed.Moved) error {
		if err := s.lose(nil); err != nil {
			return err
		}
		return appended(m)
	}))
}

func (s *flaky) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	events, through, more, err := s.Session.After(ctx, f, after, limit)
	if err = s.lose(err); err != nil {
		return nil, 0, false, err
	}
	return events, through, more, nil
}

// Whatever Run is doing, it ends soon and leaves no session behind.
func TestStop(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	app := pgtest.Connect(t, url)
	open := func() int {
		return value[int](t, app, "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'taskfeed listener'")
	}
	t.Run("asleep", func(t *testing.T) {
		s := start(t, store.Config{URL: url}, listener.Config{FallbackInterval: never}, nil)
		eventually(t, "sleep", func() bool {
			return value[bool](t, app, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND (classid, objid) = (1952543595, 1) AND mode = 'ExclusiveLock')")
		})
		s.stop()
	})
	t.Run("following", func(t *testing.T) {
		leader := start(t, store.Config{URL: url}, listener.Config{}, nil)
		leader.leads(t)
		s := start(t, store.Config{URL: url}, listener.Config{TakeoverInterval: never}, nil)
		s.follows(t)
		s.stop()
		leader.stop()
	})
	t.Run("in the middle of a move", func(t *testing.T) {
		s := start(t, store.Config{URL: url}, listener.Config{}, nil)
		s.leads(t)
		locker := pgtest.Connect(t, url)
		exec(t, locker, "BEGIN; LOCK TABLE taskfeed.events")
		add(t, app, 1)
		eventually(t, "the move waiting", func() bool {
			return value[bool](t, app, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'taskfeed.events'::regclass)")
		})
		s.stop()
		exec(t, locker, "ROLLBACK")
	})
	t.Run("without a database", func(t *testing.T) {
		s := start(t, store.Config{URL: "postgres://nobody@127.0.0.1:1/none"}, listener.Config{}, nil)
		eventually(t, "the first failure", func() bool { return s.Ready() != nil && !strings.Contains(s.Ready().Error(), "not started") })
		s.stop()
	})
	eventually(t, "the end of all sessions", func() bool { return open() == 0 })
	if got := log(t, app); len(got) > 1 {
		t.Errorf("the log: got %v, want at most one event", got)
	}
}

// What was announced is forgotten when a new session is in another database than the
// last, and when that is not known; a session in the same one changes nothing.
func TestAnotherLogIsRecognized(t *testing.T) {
	t.Parallel()
	unknown := errors.New("unknown")
	for _, tt := range []struct {
		name    string
		second  string
		err     error
		forgets int // the first session counts
	}{
		{"the same", "here", nil, 1},
		{"another", "there", nil, 2},
		{"not known", "", unknown, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, f := newFollower(), newFeed()
				sessions := 0
				s.name = func() (string, error) {
					if sessions++; sessions == 1 {
						return "here", nil
					}
					return tt.second, tt.err
				}
				fail := true
				s.after = func(taskfeed.Cursor) ([]taskfeed.Event, error) {
					if sessions == 1 && fail {
						return nil, errors.New("the session has failed")
					}
					return nil, nil
				}
				_, stop := runFake(t, s, f, listener.Config{})
				pass(10 * time.Second)
				stop()
				if got := f.forgets(); sessions < 2 || got != tt.forgets {
					t.Errorf("forgotten %d times in %d sessions, want %d", got, sessions, tt.forgets)
				}
			})
		})
	}
}

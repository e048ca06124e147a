package verify

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var postgresFaults = []fault{
	{name: "pg-restart", says: "fast restart of Postgres", kind: kindPostgres, begin: restarting(devpg.Fast)},
	{name: "pg-immediate", says: "immediate stop of Postgres, and recovery", kind: kindPostgres, begin: restarting(devpg.Immediate)},
	{name: "pg-kill-backend", says: "kill -9 of a backend that serves a pool: Postgres starts all over", kind: kindPostgres, begin: killingBackend("taskfeed")},
	{name: "pg-kill-listener", says: "kill -9 of the backend of the leader's session", kind: kindPostgres, begin: killingBackend("taskfeed listener")},
	{name: "pg-freeze-listener", says: "SIGSTOP of the backend of the leader's session for 5 s", kind: kindPostgres, begin: freezeListener},
	{name: "pg-terminate-listener", says: "pg_terminate_backend of the leader's session", kind: kindPostgres, begin: terminateListener},
	{name: "pg-terminate-all", says: "pg_terminate_backend of all sessions of the servers, every 2 s, three times", kind: kindPostgres, begin: terminateAll},
	{name: "pg-cancel", says: "pg_cancel_backend of all sessions of the servers, forty times in 2 s", kind: kindPostgres, begin: cancelAll},
	{name: "pg-async", says: "commits that do not wait for the disk, and immediate stops that lose some of them", kind: kindPostgres, begin: asyncCommits},
}

func restarting(mode devpg.Mode) func(context.Context, *round, *history.Fault) (deed, error) {
	return func(ctx context.Context, r *round, _ *history.Fault) (deed, error) {
		before := r.db.cluster().PID()
		return deed{felt: r.restarted(before)}, r.db.cluster().Restart(ctx, mode)
	}
}

// restarted is the effect that another postmaster answers.
func (r *round) restarted(before int) felt {
	return func(ctx context.Context) (string, error) {
		if pid := r.db.cluster().PID(); pid == before {
			return "", fmt.Errorf("postmaster %d goes on", pid)
		}
		_, err := one[int](ctx, r.db, "SELECT 1")
		return "another postmaster answers", err
	}
}

const sqlBackendOf = `
SELECT a.pid
FROM pg_stat_activity AS a
LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'advisory' AND (l.classid, l.objid) = (1952543595, 2) AND l.granted
WHERE a.application_name = $1
  AND a.datname = current_database()
ORDER BY l.pid IS NULL, random()
LIMIT 1`

// backend finds a backend of the servers; of the listeners' it is the leader's.
func (r *round) backend(ctx context.Context, application string) (pid int, err error) {
	err = await(ctx, 10*time.Second, func() error {
		pid, err = one[int](ctx, r.db, sqlBackendOf, application)
		return err
	})
	return pid, err
}

func killingBackend(application string) func(context.Context, *round, *history.Fault) (deed, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (deed, error) {
		pid, err := r.backend(ctx, application)
		if err != nil {
			return deed{}, err
		}
		f.Target = fmt.Sprintf("backend %d", pid)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return deed{}, fmt.Errorf("kill the backend: %w", err)
		}
		return deed{felt: func(ctx context.Context) (string, error) {
			if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				return "", errors.New("the backend is there")
			}
			_, err := one[int](ctx, r.db, "SELECT 1") // once Postgres has started all over
			return "killed", err
		}, lasts: 200 * time.Millisecond}, nil
	}
}

// freezeListener keeps the backend of the leader's session from doing anything,
// releasing its locks among it: nobody can lead meanwhile.
func freezeListener(ctx context.Context, r *round, f *history.Fault) (deed, error) {
	s, err := r.leader(ctx)
	if err != nil {
		return deed{}, err
	}
	pid, err := r.backend(ctx, "taskfeed listener")
	if err != nil {
		return deed{}, err
	}
	f.Target = fmt.Sprintf("backend %d", pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return deed{}, fmt.Errorf("stop the backend: %w", err)
	}
	unled := func(ctx context.Context) (string, error) {
		figures, err := s.metrics(ctx)
		if err == nil && figures["taskfeed_is_leader"] != 0 {
			err = fmt.Errorf("%s leads", s.name)
		}
		return s.name + " lost its session", err
	}
	return deed{felt: unled, lasts: 5 * time.Second, undo: func(context.Context) error {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("continue the backend: %w", err)
		}
		return nil
	}}, nil
}

const sqlBackendThere = `
SELECT count(*)
FROM pg_stat_activity
WHERE pid = $1`

func terminateListener(ctx context.Context, r *round, f *history.Fault) (deed, error) {
	pid, err := r.backend(ctx, "taskfeed listener")
	if err != nil {
		return deed{}, err
	}
	f.Target = fmt.Sprintf("backend %d", pid)
	if _, err := one[bool](ctx, r.db, "SELECT pg_terminate_backend($1)", pid); err != nil {
		return deed{}, err
	}
	return deed{felt: func(ctx context.Context) (string, error) {
		n, err := one[int](ctx, r.db, sqlBackendThere, pid)
		if err == nil && n > 0 {
			err = errors.New("the backend is there")
		}
		return "terminated", err
	}, lasts: time.Second}, nil
}

const sqlSignalAll = `
SELECT count(%s(pid))
FROM pg_stat_activity
WHERE application_name IN ('taskfeed', 'taskfeed listener')
  AND datname = current_database()`

func terminateAll(_ context.Context, r *round, _ *history.Fault) (deed, error) {
	return deed{felt: times(3, 2*time.Second, "sessions", func(ctx context.Context) (int, error) {
		return one[int](ctx, r.db, fmt.Sprintf(sqlSignalAll, "pg_terminate_backend"))
	})}, nil
}

// cancelAll goes on until a statement was under way when its cancel came, which
// Postgres says in its log.
func cancelAll(ctx context.Context, r *round, _ *history.Fault) (deed, error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return deed{}, err
	}
	cancel := func(ctx context.Context) (n int, err error) {
		err = conn.QueryRow(ctx, fmt.Sprintf(sqlSignalAll, "pg_cancel_backend")).Scan(&n)
		return n, err
	}
	again := func(ctx context.Context) (string, error) {
		_, err := cancel(ctx)
		return "", err
	}
	return deed{felt: all(times(40, 50*time.Millisecond, "sessions", cancel), again, r.db.logs("canceling statement due to user request")),
		undo: func(context.Context) error { query.Close(conn); return nil }}, nil
}

// asyncCommits has writers commit without waiting for the disk and pulls the plug.
// What a client has seen by then must survive: the move's own commit did wait.
func asyncCommits(_ context.Context, r *round, _ *history.Fault) (deed, error) {
	unflushed := func() int64 { return sum(r.writers, func(s *actor.Status) int64 { return s.Async }) }
	pull := func(ctx context.Context) (int, error) {
		before := unflushed()
		pause.For(ctx, 1500*time.Millisecond)
		err := await(ctx, patience, func() error {
			if unflushed() == before {
				return errors.New("nobody wrote without waiting for the disk")
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		return int(unflushed() - before), r.db.cluster().Restart(ctx, devpg.Immediate)
	}
	return deed{felt: times(2, 0, "commits that did not wait", pull),
		undo: func(context.Context) error { return tell(r.writers, actor.Command{Do: actor.DoAsync}) }}, tell(r.writers, actor.Command{Do: actor.DoAsync, On: true})
}

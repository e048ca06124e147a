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
	{name: "pg-kill-backend", says: "kill -9 of a backend that serves a pool: Postgres restarts all backends", kind: kindPostgres, begin: killingBackend("taskfeed")},
	{name: "pg-kill-listener", says: "kill -9 of the backend of the leader's session", kind: kindPostgres, begin: killingBackend("taskfeed listener")},
	{name: "pg-freeze-listener", says: "SIGSTOP of the backend of the leader's session for 5 s", kind: kindPostgres, begin: freezeListener},
	{name: "pg-terminate-listener", says: "pg_terminate_backend of the leader's session", kind: kindPostgres, begin: terminateListener},
	{name: "pg-terminate-all", says: "pg_terminate_backend of all sessions of the servers, every 2 s, three times", kind: kindPostgres, begin: terminateAll},
	{name: "pg-cancel", says: "pg_cancel_backend of all sessions of the servers, forty times in 2 s", kind: kindPostgres, begin: cancelAll},
	{name: "pg-async", says: "commits that do not wait for the disk, and immediate stops that lose some of them", kind: kindPostgres, begin: asyncCommits},
}

func restarting(mode devpg.Mode) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
		before := r.db.cluster().PID()
		return injection{effect: r.restarted(before), patience: recovery}, r.restart(ctx, mode)
	}
}

// restart restarts the round's private Postgres. Recovery may take longer than a fault
// may wait for its effect, so it has a limit of its own: no fault leaves Postgres
// stopped.
func (r *round) restart(ctx context.Context, mode devpg.Mode) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), recovery)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) { // the user ends the run
			cancel()
		}
	})()
	return await(limited, recovery, func() error { return r.db.cluster().Restart(limited, mode) })
}

// restarted is the effect that another postmaster answers.
func (r *round) restarted(before int) effect {
	return func(ctx context.Context) (string, error) {
		if pid := r.db.cluster().PID(); pid == before {
			return "", fmt.Errorf("postmaster %d still runs", pid)
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

// backend finds a backend of the servers. Among the listeners' it prefers the
// leader's.
func (r *round) backend(ctx context.Context, application string) (pid int, err error) {
	err = await(ctx, 10*time.Second, func() error {
		pid, err = one[int](ctx, r.db, sqlBackendOf, application)
		return err
	})
	return pid, err
}

func killingBackend(application string) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		pid, err := r.backend(ctx, application)
		if err != nil {
			return injection{}, err
		}
		f.Target = fmt.Sprintf("backend %d", pid)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return injection{}, fmt.Errorf("kill the backend: %w", err)
		}
		return injection{effect: func(ctx context.Context) (string, error) {
			if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				return "", errors.New("the backend still exists")
			}
			_, err := one[int](ctx, r.db, "SELECT 1") // once Postgres has restarted
			return "killed", err
		}, lasts: 200 * time.Millisecond, patience: recovery}, nil
	}
}

// freezeListener freezes the backend of the leader's session. It then cannot release
// its locks, so no server can lead meanwhile.
func freezeListener(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	s, err := r.leader(ctx)
	if err != nil {
		return injection{}, err
	}
	pid, err := r.backend(ctx, "taskfeed listener")
	if err != nil {
		return injection{}, err
	}
	f.Target = fmt.Sprintf("backend %d", pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return injection{}, fmt.Errorf("stop the backend: %w", err)
	}
	unled := func(ctx context.Context) (string, error) {
		figures, err := s.metrics(ctx)
		if err == nil && figures["taskfeed_is_leader"] != 0 {
			err = fmt.Errorf("%s leads", s.name)
		}
		return s.name + " lost its session", err
	}
	return injection{effect: unled, lasts: 5 * time.Second, undo: func(context.Context) error {
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

func terminateListener(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	pid, err := r.backend(ctx, "taskfeed listener")
	if err != nil {
		return injection{}, err
	}
	f.Target = fmt.Sprintf("backend %d", pid)
	if _, err := one[bool](ctx, r.db, "SELECT pg_terminate_backend($1)", pid); err != nil {
		return injection{}, err
	}
	return injection{effect: func(ctx context.Context) (string, error) {
		n, err := one[int](ctx, r.db, sqlBackendThere, pid)
		if err == nil && n > 0 {
			err = errors.New("the backend still exists")
		}
		return "terminated", err
	}, lasts: time.Second}, nil
}

const sqlSignalAll = `
SELECT count(%s(pid))
FROM pg_stat_activity
WHERE application_name IN ('taskfeed', 'taskfeed listener')
  AND datname = current_database()`

func terminateAll(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	return injection{effect: times(3, 2*time.Second, "sessions", func(ctx context.Context) (int, error) {
		return one[int](ctx, r.db, fmt.Sprintf(sqlSignalAll, "pg_terminate_backend"))
	})}, nil
}

// cancelAll repeats until a cancel hits a running statement, which Postgres logs.
func cancelAll(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return injection{}, err
	}
	cancel := func(ctx context.Context) (n int, err error) {
		err = conn.QueryRow(ctx, fmt.Sprintf(sqlSignalAll, "pg_cancel_backend")).Scan(&n)
		return n, err
	}
	again := func(ctx context.Context) (string, error) {
		_, err := cancel(ctx)
		return "", err
	}
	return injection{effect: all(times(40, 50*time.Millisecond, "sessions", cancel), again, r.db.logs("canceling statement due to user request")),
		undo: func(context.Context) error { query.Close(conn); return nil }}, nil
}

// asyncCommits lets writers commit without waiting for the disk and stops Postgres
// immediately. Events that a client has seen by then must survive: the move's own
// commit did wait.
func asyncCommits(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	unflushed := func() int64 { return sum(r.writers, func(s *actor.Status) int64 { return s.Async }) }
	pull := func(ctx context.Context) (int, error) {
		before := unflushed()
		pause.For(ctx, 1500*time.Millisecond)
		err := await(ctx, patience, func() error {
			if unflushed() == before {
				return errors.New("no writer committed without waiting for the disk")
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		return int(unflushed() - before), r.restart(ctx, devpg.Immediate)
	}
	return injection{effect: times(2, 0, "commits that did not wait", pull), patience: 2*recovery + patience,
		undo: func(context.Context) error { return tell(r.writers, actor.Command{Do: actor.DoAsync}) }}, tell(r.writers, actor.Command{Do: actor.DoAsync, On: true})
}

package verify

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/verify/actor"
	"github.com/taskfeed/taskfeed/internal/verify/history"
)

var postgresFaults = []fault{
	{name: "pg-restart", says: "fast restart of Postgres", kind: kindPostgres, run: restarting(devpg.Fast)},
	{name: "pg-immediate", says: "immediate stop of Postgres, and recovery", kind: kindPostgres, run: restarting(devpg.Immediate)},
	{name: "pg-kill-backend", says: "kill -9 of a backend that serves a pool: Postgres starts all over", kind: kindPostgres, run: killingBackend("taskfeed")},
	{name: "pg-kill-listener", says: "kill -9 of the backend of the leader's session", kind: kindPostgres, run: killingBackend("taskfeed listener")},
	{name: "pg-freeze-listener", says: "SIGSTOP of the backend of the leader's session for 5 s", kind: kindPostgres, run: freezeListener},
	{name: "pg-terminate-listener", says: "pg_terminate_backend of the leader's session", kind: kindPostgres, run: terminateListener},
	{name: "pg-terminate-all", says: "pg_terminate_backend of all sessions of the servers, every 2 s, three times", kind: kindPostgres, run: terminateAll},
	{name: "pg-cancel", says: "pg_cancel_backend of all sessions of the servers, forty times in 2 s", kind: kindPostgres, run: cancelAll},
	{name: "pg-async", says: "commits that do not wait for the disk, and immediate stops that lose some of them", kind: kindPostgres, run: asyncCommits},
}

func restarting(mode devpg.Mode) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		err := r.db.cluster().Restart(ctx, mode)
		f.Fired = err == nil
		return err
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

func killingBackend(application string) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		pid, err := r.backend(ctx, application)
		if err != nil {
			return err
		}
		f.Target = fmt.Sprintf("backend %d", pid)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill the backend: %w", err)
		}
		f.Fired = true
		pause(ctx, 200*time.Millisecond)
		return r.awaitDatabase(ctx)
	}
}

// awaitDatabase waits until Postgres answers.
func (r *round) awaitDatabase(ctx context.Context) error {
	return await(ctx, 20*time.Second, func() error {
		_, err := one[int](ctx, r.db, "SELECT 1")
		return err
	})
}

// freezeListener keeps the backend of the leader's session from doing anything,
// releasing its locks among it: nobody can lead meanwhile.
func freezeListener(ctx context.Context, r *round, f *history.Fault) error {
	pid, err := r.backend(ctx, "taskfeed listener")
	if err != nil {
		return err
	}
	f.Target = fmt.Sprintf("backend %d", pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop the backend: %w", err)
	}
	f.Fired = true
	pause(ctx, 5*time.Second)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return fmt.Errorf("continue the backend: %w", err)
	}
	return nil
}

func terminateListener(ctx context.Context, r *round, f *history.Fault) error {
	pid, err := r.backend(ctx, "taskfeed listener")
	if err != nil {
		return err
	}
	f.Target = fmt.Sprintf("backend %d", pid)
	f.Fired, err = one[bool](ctx, r.db, "SELECT pg_terminate_backend($1)", pid)
	pause(ctx, time.Second)
	return err
}

const sqlSignalAll = `
SELECT count(%s(pid))
FROM pg_stat_activity
WHERE application_name IN ('taskfeed', 'taskfeed listener')
  AND datname = current_database()`

func terminateAll(ctx context.Context, r *round, f *history.Fault) error {
	return repeatOnAll(ctx, r, f, "pg_terminate_backend", 3, 2*time.Second)
}

func cancelAll(ctx context.Context, r *round, f *history.Fault) error {
	return repeatOnAll(ctx, r, f, "pg_cancel_backend", 40, 50*time.Millisecond)
}

func repeatOnAll(ctx context.Context, r *round, f *history.Fault, function string, times int, every time.Duration) error {
	hit := 0
	for range times {
		n, err := one[int](ctx, r.db, fmt.Sprintf(sqlSignalAll, function))
		if err != nil {
			return err
		}
		hit += n
		pause(ctx, every)
	}
	f.Fired = hit >= times
	f.Detail = fmt.Sprintf("%d sessions", hit)
	return nil
}

// asyncCommits has writers commit without waiting for the disk and pulls the plug.
// What a client has seen by then must survive: the move's own commit did wait.
func asyncCommits(ctx context.Context, r *round, f *history.Fault) error {
	if err := tell(r.writers, actor.Command{Do: actor.DoAsync, On: true}); err != nil {
		return err
	}
	var errs []error
	for range 2 {
		pause(ctx, 1500*time.Millisecond)
		err := r.db.cluster().Restart(ctx, devpg.Immediate)
		f.Fired = err == nil
		errs = append(errs, err)
	}
	errs = append(errs, tell(r.writers, actor.Command{Do: actor.DoAsync, On: false}))
	return errors.Join(errs...)
}

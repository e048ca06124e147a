package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/verify/actor"
	"github.com/taskfeed/taskfeed/internal/verify/history"
)

var limitFaults = []fault{
	{name: "pg-kill-postmaster", says: "kill -9 of the postmaster, and recovery", kind: kindPostgres, run: killPostmaster},
	{name: "pg-full", says: "all of Postgres's connections are taken, and those of the servers ended, for 3 s", kind: kindPostgres, run: fillConnections},
	{name: "pg-refuse", says: "the database refuses connections, and those of the servers are ended, for 3 s", kind: kindPostgres, run: refuseConnections},
	{name: "disk-full", says: "the disk under changes and log is full for 3 s", kind: kindData, needs: needsTinyDisk, run: fillDisk},
	{name: "log-blocked", says: "nobody reads a server's log for 3 s while all clients connect again", kind: kindServer, safe: true, run: blockLog},
	{name: "out-of-files", says: "a server may open no more files for 4 s while all clients connect again", kind: kindServer, safe: true, needs: needsLinux, run: runOutOfFiles},
}

// killPostmaster leaves the backends orphaned; Postgres does not start again
// before they have noticed.
func killPostmaster(ctx context.Context, r *round, f *history.Fault) error {
	pg := r.db.cluster()
	if err := syscall.Kill(pg.PID(), syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the postmaster: %w", err)
	}
	<-pg.Done()
	f.Fired = true
	pause(ctx, 300*time.Millisecond)
	return await(ctx, 20*time.Second, func() error { return pg.Restart(ctx, devpg.Immediate) })
}

// fillConnections takes every connection that there is, those kept for
// superusers too.
func fillConnections(ctx context.Context, r *round, f *history.Fault) error {
	hand, err := r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(hand)
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			closeConn(conn)
		}
	}()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		conn, err := r.db.connect(ctx)
		if err == nil {
			taken = append(taken, conn)
			continue
		}
		f.Fired = true // there are no more
		var n int
		if err := hand.QueryRow(ctx, fmt.Sprintf(sqlSignalAll, "pg_terminate_backend")).Scan(&n); err != nil {
			return fmt.Errorf("end the servers' sessions: %w", err)
		}
		pause(ctx, 20*time.Millisecond)
	}
	f.Detail = fmt.Sprintf("%d connections taken", len(taken))
	return nil
}

// refuseConnections is what a mistake in pg_hba.conf or in a password comes to.
func refuseConnections(ctx context.Context, r *round, f *history.Fault) error {
	allow := func(yes bool) error {
		return r.db.execIn(ctx, "postgres", fmt.Sprintf("ALTER DATABASE "+databaseName+" ALLOW_CONNECTIONS %t", yes))
	}
	err := errors.Join(r.db.execIn(ctx, "postgres", sqlEndServers), allow(false), r.db.execIn(ctx, "postgres", sqlEndServers))
	f.Fired = err == nil
	pause(ctx, 3*time.Second)
	return errors.Join(err, allow(true))
}

const sqlEndServers = `
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE application_name IN ('taskfeed', 'taskfeed listener')`

// tinyBytes is the size of the disk that becomes full: little enough to fill at
// once, enough for what changes and log hold by then.
const tinyBytes = 64 << 20

// needsTinyDisk mounts the disk, or says why it cannot be.
func needsTinyDisk(r *round) string {
	if r.db == nil || r.db.cluster() == nil {
		return "it needs a private Postgres"
	}
	if r.tinyDisk != "" {
		return ""
	}
	pg := r.db.cluster()
	dir := filepath.Join(filepath.Dir(pg.DataDir()), "tiny")
	err := mountTiny(dir, tinyBytes, pg.DataDir())
	if err != nil {
		return fmt.Sprintf("it needs a small file system of its own, which takes root to mount: %v", err)
	}
	r.tinyDisk = dir
	return ""
}

// fillDisk moves changes and the present partition of the log to a small disk,
// fills it, and takes all that back.
func fillDisk(ctx context.Context, r *round, f *history.Fault) (err error) {
	k, err := one[int64](ctx, r.db, sqlPresentPartition)
	if err != nil {
		return err
	}
	moveTo := func(space string) error {
		return r.db.exec(ctx, fmt.Sprintf("ALTER TABLE taskfeed.changes SET TABLESPACE %[1]s; ALTER TABLE taskfeed.events_%[2]d SET TABLESPACE %[1]s", space, k))
	}
	if err := r.db.exec(ctx, "CREATE TABLESPACE verify_tiny LOCATION '"+r.tinyDisk+"'"); err != nil {
		return err
	}
	defer func() {
		back := await(ctx, 20*time.Second, func() error { return moveTo("pg_default") })
		err = errors.Join(err, back, r.db.exec(ctx, "DROP TABLESPACE verify_tiny"))
	}()
	if err := moveTo("verify_tiny"); err != nil {
		return err
	}
	filler := filepath.Join(r.tinyDisk, "filler")
	defer os.Remove(filler)
	if err := os.WriteFile(filler, make([]byte, 2*tinyBytes), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk did not become full: %w", err)
	}
	// What the tables have of free pages is used up first.
	if err := tell(r.writers, actor.Command{Do: actor.DoBurst, User: r.users[0].ID}); err != nil {
		return err
	}
	full := await(ctx, 4*time.Second, func() error {
		err := r.db.exec(ctx, "CREATE TABLE verify_filler TABLESPACE verify_tiny AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
		if err != nil {
			return nil
		}
		return errors.Join(errors.New("there is room left"), r.db.exec(ctx, "DROP TABLE verify_filler"))
	})
	f.Fired = full == nil
	pause(ctx, 3*time.Second)
	return full
}

// runOutOfFiles keeps a server from opening files while all clients come back. It
// must live on, and let them in later.
func runOutOfFiles(ctx context.Context, r *round, f *history.Fault) error {
	s, err := r.follower(ctx)
	if err != nil {
		return err
	}
	f.Target = s.name
	p := s.current()
	// Clients that hang up make room; the limit comes while they are away.
	if err := tell(r.clients, actor.Command{Do: actor.DoPark, For: 800 * time.Millisecond}); err != nil {
		return err
	}
	pause(ctx, 500*time.Millisecond)
	restore, err := limitFiles(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	defer restore()
	pause(ctx, 500*time.Millisecond)
	_, _, err = s.get(ctx, "/healthz")
	f.Fired = err != nil // it cannot accept
	pause(ctx, time.Second)
	if p.ended() {
		f.Wrong = "it ended with " + p.exit()
		return s.start()
	}
	return nil
}

// blockLog fills the pipe that a server logs to. The server must not wait for it.
func blockLog(ctx context.Context, r *round, f *history.Fault) error {
	s, err := r.follower(ctx)
	if err != nil {
		return err
	}
	f.Target = s.name
	s.gate.Lock()
	open := sync.OnceFunc(s.gate.Unlock)
	defer open()
	before := s.logged.Load()
	for range 3 {
		if err := tell(r.clients, actor.Command{Do: actor.DoStorm}); err != nil {
			return err
		}
		pause(ctx, time.Second)
	}
	if _, _, err := s.get(ctx, "/v1/me"); err != nil { // which is logged, too
		f.Wrong = "it did not answer while nobody read its log: " + err.Error()
	}
	open()
	err = await(ctx, 5*time.Second, func() error {
		if s.logged.Load() < before+int64(2*os.Getpagesize()) {
			return errors.New("the pipe was never full")
		}
		return nil
	})
	f.Fired = err == nil
	return err
}

func needsLinux(*round) string {
	if runtime.GOOS != "linux" {
		return "it needs Linux"
	}
	return ""
}

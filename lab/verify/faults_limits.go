package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var limitFaults = []fault{
	{name: "pg-kill-postmaster", says: "kill -9 of the postmaster, and recovery", kind: kindPostgres, begin: killPostmaster},
	{name: "pg-full", says: "all connections of Postgres are taken, and those of the servers are ended, for 3 s", kind: kindPostgres, begin: fillConnections},
	{name: "pg-refuse", says: "the database refuses connections, and those of the servers are ended, for 3 s", kind: kindPostgres, begin: refuseConnections},
	{name: "disk-full", says: "the disk under changes and log is full for 3 s", kind: kindData, needs: needsTinyDisk, begin: fillDisk},
	{name: "log-blocked", says: "nothing reads a server's log for 3 s while all clients reconnect", kind: kindServer, safe: true, needs: needsLinux, begin: blockLog},
	{name: "out-of-files", says: "a server may open no more files for 4 s while all clients reconnect", kind: kindServer, safe: true, needs: needsLinux, begin: runOutOfFiles},
}

// killPostmaster leaves the backends orphaned; Postgres starts again only after they
// have noticed and ended.
func killPostmaster(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	pg := r.db.cluster()
	pid := pg.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return injection{}, fmt.Errorf("kill the postmaster: %w", err)
	}
	<-pg.Done()
	return injection{effect: happened("postmaster %d is gone", pid), lasts: 300 * time.Millisecond, undo: func(ctx context.Context) error {
		return r.restart(ctx, devpg.Immediate)
	}}, nil
}

// filling takes all connections of Postgres, including those reserved for superusers.
type filling struct {
	r    *round
	conn *pgx.Conn // ends sessions while no new connection is possible

	mu    sync.Mutex
	taken []*pgx.Conn
	full  time.Time // since when Postgres refuses connections because there are too many
}

const (
	fillParallel = 6               // connections opened at once
	fullFor      = 3 * time.Second // how long no other session can connect
)

func fillConnections(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return injection{}, err
	}
	fill := &filling{r: r, conn: conn}
	return injection{effect: fill.effect, patience: 2 * patience, undo: fill.undo}, nil
}

func (f *filling) undo(context.Context) error {
	for _, conn := range append(f.taken, f.conn) {
		query.Close(conn)
	}
	return nil
}

// effect takes connections until none is left, then ends the sessions of the servers
// and takes their places, until Postgres has been full for long enough.
func (f *filling) effect(ctx context.Context) (string, error) {
	refused, err := f.take(ctx)
	switch {
	case err != nil:
		return "", err
	case !refused:
		return "", fmt.Errorf("%d connections taken and none refused", len(f.taken))
	case f.full.IsZero():
		f.full = time.Now()
	}
	var n int
	if err := f.conn.QueryRow(ctx, fmt.Sprintf(sqlSignalAll, "pg_terminate_backend")).Scan(&n); err != nil {
		return "", fmt.Errorf("end the servers' sessions: %w", err)
	}
	if time.Since(f.full) < fullFor {
		return "", fmt.Errorf("full since %v", time.Since(f.full).Round(time.Millisecond))
	}
	return fmt.Sprintf("%d connections taken, and none left for %v", len(f.taken), fullFor), nil
}

// take opens some connections at once. It reports whether Postgres refused one
// because there are too many.
func (f *filling) take(ctx context.Context) (refused bool, err error) {
	var all sync.WaitGroup
	for range fillParallel {
		all.Go(func() {
			conn, failure := f.r.db.connect(ctx)
			f.mu.Lock()
			defer f.mu.Unlock()
			switch {
			case failure == nil:
				f.taken = append(f.taken, conn)
			case isState(failure, "53300"): // too_many_connections
				refused = true
			default:
				err = failure
			}
		})
	}
	all.Wait()
	return refused, err
}

// isState reports whether Postgres answered with the SQLSTATE code.
func isState(err error, code string) bool {
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refusal.Code == code
}

// refuseConnections has the effect of a mistake in pg_hba.conf or in a password.
func refuseConnections(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	allow := func(ctx context.Context, yes bool) error {
		return r.db.execIn(ctx, "postgres", fmt.Sprintf("ALTER DATABASE "+databaseName+" ALLOW_CONNECTIONS %t", yes))
	}
	refused := func(ctx context.Context) (string, error) {
		conn, err := r.db.connect(ctx)
		if err == nil {
			query.Close(conn)
			return "", errors.New("a connection was accepted")
		}
		if !isState(err, "55000") { // object_not_in_prerequisite_state
			return "", err
		}
		return "connections are refused", r.db.execIn(ctx, "postgres", sqlEndServers)
	}
	return injection{effect: refused, lasts: 3 * time.Second, undo: func(ctx context.Context) error {
		return await(ctx, patience, func() error { return allow(ctx, true) })
	}}, errors.Join(r.db.execIn(ctx, "postgres", sqlEndServers), allow(ctx, false))
}

const sqlEndServers = `
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE application_name IN ('taskfeed', 'taskfeed listener')`

// tinyBytes is the size of the disk that becomes full: small enough to fill at once,
// large enough for the changes and the log.
const tinyBytes = 64 << 20

// needsTinyDisk mounts the disk, or returns why it cannot.
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
		return fmt.Sprintf("it needs a small file system of its own, which only root can mount: %v", err)
	}
	r.tinyDisk = dir
	return ""
}

// fillDisk moves the changes and the current partition of the log to a small disk and
// fills it; undo moves them back.
func fillDisk(ctx context.Context, r *round, _ *history.Fault) (d injection, err error) {
	k, err := one[int64](ctx, r.db, sqlPresentPartition)
	if err != nil {
		return d, err
	}
	filler := filepath.Join(r.tinyDisk, "filler")
	moveTo := func(ctx context.Context, space string) error {
		return r.db.exec(ctx, fmt.Sprintf("ALTER TABLE taskfeed.changes SET TABLESPACE %[1]s; ALTER TABLE taskfeed.events_%[2]d SET TABLESPACE %[1]s", space, k))
	}
	if err := r.db.exec(ctx, "CREATE TABLESPACE verify_tiny LOCATION '"+r.tinyDisk+"'"); err != nil {
		return d, err
	}
	d.undo = func(ctx context.Context) error {
		err := os.Remove(filler)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		back := await(ctx, patience, func() error { return moveTo(ctx, "pg_default") })
		return errors.Join(err, back, r.db.exec(ctx, "DROP TABLESPACE verify_tiny"))
	}
	if err := await(ctx, patience, func() error { return moveTo(ctx, "verify_tiny") }); err != nil {
		return d, err
	}
	if err := os.WriteFile(filler, make([]byte, 2*tinyBytes), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return d, fmt.Errorf("the disk did not become full: %w", err)
	}
	d.effect, d.lasts = r.noRoom(r.db.logs("No space left on device")), 5*time.Second
	return d, nil
}

// burstPause is how long a burst takes on a slow machine: without it, bursts would
// pile up and continue after the disk has room again.
const burstPause = 2 * time.Second

// noRoom is the effect that a write fails for lack of space. It causes writes until
// the free pages of the tables are used up.
func (r *round) noRoom(logged effect) effect {
	return func(ctx context.Context) (string, error) {
		text, err := logged(ctx)
		if err == nil {
			return text, nil
		}
		err = errors.Join(err, tell(r.writers, actor.Command{Do: actor.DoBurst, User: r.users[0].ID}))
		pause.For(ctx, burstPause)
		return "", err
	}
}

// runOutOfFiles keeps a server from opening files while all clients reconnect. The
// server must survive and accept them later.
func runOutOfFiles(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	s, err := r.follower(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = s.name
	p := s.current()
	// Clients that disconnect free descriptors, so the limit is set while they are away.
	if err := tell(r.clients, actor.Command{Do: actor.DoPark, For: 800 * time.Millisecond}); err != nil {
		return injection{}, err
	}
	pause.For(ctx, 500*time.Millisecond)
	restore, err := limitFiles(p.PID())
	if err != nil {
		return injection{}, err
	}
	var held []net.Conn // use up descriptors that the server has closed since
	deaf := func(ctx context.Context) (string, error) {
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			held = append(held, conn)
		}
		if text, err := silent(s)(ctx); err != nil || p.Ended() {
			return text, err
		}
		return "it accepts no connection", nil
	}
	return injection{effect: deaf, lasts: 2 * time.Second, undo: func(context.Context) error {
		for _, conn := range held {
			_ = conn.Close() // the server may have closed it
		}
		restore()
		if p.Ended() {
			f.Wrong = "it ended with " + p.Exit()
			return s.start()
		}
		return nil
	}}, nil
}

// blockLog stops reading the pipe that a server logs to, until the pipe is full. The
// server must not wait for it.
func blockLog(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	s, err := r.follower(ctx)
	if err != nil {
		return injection{}, err
	}
	f.Target = s.name
	s.gate.Lock()
	storms := times(3, time.Second, "storms", func(context.Context) (int, error) {
		return 1, tell(r.clients, actor.Command{Do: actor.DoStorm})
	})
	full := func(ctx context.Context) (string, error) {
		if !s.logBlocked() {
			err := tell(r.clients, actor.Command{Do: actor.DoStorm})
			pause.For(ctx, time.Second)
			return "", errors.Join(errors.New("there is room left in the pipe"), err)
		}
		if _, _, err := s.get(ctx, "/v1/me"); err != nil { // a request that is logged
			f.Wrong = "it did not answer while nothing read its log: " + err.Error()
		}
		return "the pipe was full", nil
	}
	return injection{effect: all(storms, full), undo: func(context.Context) error { s.gate.Unlock(); return nil }}, nil
}

func needsLinux(*round) string {
	if runtime.GOOS != "linux" {
		return "it needs Linux"
	}
	return ""
}

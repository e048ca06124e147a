package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var clusterFaults = []fault{
	{name: "failover", says: "a standby that lags is promoted: the last commits are lost; beside gateways, the old primary lives on for a while with a server of its own", kind: kindCluster, needs: needsBaseBackup, paths: []string{"commits lost to a fork"}, begin: failOver},
	{name: "restore", says: "the database is restored from a backup that is some seconds old", kind: kindCluster, needs: needsBaseBackup, paths: []string{"commits lost to a fork"}, begin: restore},
}

// needsBaseBackup returns why the cluster cannot be copied, "" when it can.
func needsBaseBackup(r *round) string {
	if r.db == nil || r.db.cluster() == nil {
		return "it needs a private Postgres"
	}
	if _, err := os.Stat(baseBackup(r.db.cluster())); err != nil {
		return "there is no pg_basebackup beside the server binaries"
	}
	return ""
}

func baseBackup(pg *devpg.Server) string { return filepath.Join(pg.BinDir(), "pg_basebackup") }

// failOver promotes a standby that has not received the last commits.
func failOver(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	standby, err := r.db.copyCluster(ctx, "standby.signal", "")
	if err != nil {
		return injection{}, err
	}
	at := clusterAt(r.db, standby)
	if err := await(ctx, patience, func() error { return r.caughtUp(ctx, at) }); err != nil {
		return injection{}, err
	}
	if r.engine != nil {
		if err := r.park(time.Minute); err != nil {
			return injection{}, err
		}
	}
	// From here on it receives nothing: later commits will be lost.
	if err := errors.Join(at.exec(ctx, "ALTER SYSTEM SET primary_conninfo = ''"), at.exec(ctx, "SELECT pg_reload_conf()")); err != nil {
		return injection{}, err
	}
	if err := await(ctx, patience, func() error { return receivesNothing(ctx, at) }); err != nil {
		return injection{}, err
	}
	if r.engine != nil {
		return r.keepOldPrimary(ctx, at, standby, f)
	}
	return r.switchTo(ctx, at, standby, promote, r.db.cluster().StopMode)
}

const promote = "SELECT pg_promote(true, 30)"

func receivesNothing(ctx context.Context, at *database) error {
	n, err := one[int](ctx, at, "SELECT count(*) FROM pg_stat_wal_receiver")
	if err == nil && n > 0 {
		err = errors.New("the standby still receives WAL")
	}
	return err
}

// caughtUp returns nil when a standby has replayed what the primary has written.
func (r *round) caughtUp(ctx context.Context, at *database) error {
	lag, err := one[int64](ctx, at, "SELECT coalesce(pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn(), 1)::bigint")
	if err == nil && lag > 0 {
		err = fmt.Errorf("the standby is %d bytes behind", lag)
	}
	return err
}

// restore continues with a backup from a little earlier, as backup tools do: recovery
// ends on a new timeline.
func restore(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	backup, err := r.db.copyCluster(ctx, "recovery.signal", "restore_command = 'false'\n")
	if err != nil {
		return injection{}, err
	}
	return r.switchTo(ctx, clusterAt(r.db, backup), backup, "", r.db.cluster().StopMode)
}

// copyCluster replaces the data of a new cluster by a copy of the current one and
// starts it. signal is the name of the signal file, settings are added to its
// configuration.
func (d *database) copyCluster(ctx context.Context, signal, settings string) (*devpg.Server, error) {
	from := d.cluster()
	pg, err := d.start(ctx)
	if err != nil {
		return nil, err
	}
	if err := pg.StopMode(devpg.Fast); err != nil {
		return nil, err
	}
	info, err := os.Stat(pg.DataDir())
	if err != nil {
		return nil, err
	}
	owner := info.Sys().(*syscall.Stat_t) // of any Unix
	if err := errors.Join(os.RemoveAll(pg.DataDir()), os.Mkdir(pg.DataDir(), 0o700), os.Chown(pg.DataDir(), int(owner.Uid), int(owner.Gid))); err != nil {
		return nil, err
	}
	u, err := url.Parse(d.direct())
	if err != nil {
		return nil, err
	}
	password, _ := u.User.Password()
	cmd := exec.CommandContext(ctx, baseBackup(from), "-D", pg.DataDir(), "-h", u.Hostname(), "-p", u.Port(), "-U", u.User.Username(),
		"-X", "stream", "-c", "fast", "-w", "-R", "--no-sync")
	cmd.Env = []string{"PGPASSWORD=" + password, "PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Dir = pg.DataDir()
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w: %.500s", err, out)
	}
	if err := prepareCopy(pg.DataDir(), signal, settings); err != nil {
		return nil, err
	}
	return pg, pg.Restart(ctx, devpg.Fast)
}

// prepareCopy writes the signal file and the settings of a copy.
func prepareCopy(data, signal, settings string) error {
	standby := filepath.Join(data, "standby.signal") // made by pg_basebackup -R
	if filepath.Base(standby) != signal {
		if err := os.Rename(standby, filepath.Join(data, signal)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	auto, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = auto.WriteString(settings)
	return errors.Join(err, auto.Close())
}

// clusterAt returns direct access to the copy of the database in another cluster.
func clusterAt(d *database, pg *devpg.Server) *database {
	other := &database{progress: d.progress, url: d.direct()}
	if other.redirect(pg) != nil {
		return d // cannot happen: the URL was parsed before
	}
	return other
}

// toBeLost is the minimum number of commits that the copy must lack.
const toBeLost = 20

// switchTo makes the copy the database of all actors and servers, once enough commits
// are missing from it: it cuts off the old database, records its last commits as lost,
// and only then opens the copy. retire ends the old cluster.
func (r *round) switchTo(ctx context.Context, at *database, copied *devpg.Server, promote string, retire func(devpg.Mode) error) (d injection, err error) {
	before := r.truth.commits.Load()
	err = await(ctx, patience, func() error {
		if n := r.truth.commits.Load() - before; n < toBeLost {
			return fmt.Errorf("%d commits will be lost", n)
		}
		return nil
	})
	if err != nil {
		return d, err
	}
	for _, p := range r.db.proxies {
		p.Set(netfault.Mode{Refuse: true})
		p.Reset()
	}
	d.undo = func(context.Context) error {
		for _, p := range r.db.proxies {
			p.Set(netfault.Mode{})
		}
		return nil
	}
	// Tasks on the copy may differ from what writers remember.
	if err := tell(r.writers, actor.Command{Do: actor.DoForget}); err != nil {
		return d, err
	}
	for _, w := range append(r.bells, r.writer) {
		w.Forget()
	}
	pause.For(ctx, 200*time.Millisecond) // backends notice that their clients are gone
	if err := r.truth.drain(ctx); err != nil {
		return d, err
	}
	if err := retire(devpg.Immediate); err != nil {
		return d, err
	}
	lsn, err := openCopy(ctx, at, promote)
	if err != nil {
		return d, err
	}
	if err := r.db.redirect(copied); err != nil {
		return d, err
	}
	lost := r.truth.after(lsn)
	if err := r.truth.fork(ctx, lsn); err != nil {
		return d, err
	}
	d.effect = func(context.Context) (string, error) {
		if !lost {
			return "", fmt.Errorf("the copy ends at %d and lacks nothing", lsn)
		}
		return fmt.Sprintf("the copy ends at %d, and later commits are lost", lsn), nil
	}
	d.patience = time.Second // the effect does not change any more
	return d, nil
}

// openCopy waits for the end of a copy's recovery, and returns its position.
func openCopy(ctx context.Context, at *database, promote string) (lsn uint64, err error) {
	if promote != "" {
		if err := at.exec(ctx, promote); err != nil {
			return 0, err
		}
	}
	err = await(ctx, patience, func() error {
		recovering, err := one[bool](ctx, at, "SELECT pg_is_in_recovery()")
		if err == nil && recovering {
			err = errors.New("the copy is still recovering")
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	text, err := one[string](ctx, at, "SELECT coalesce((pg_last_wal_replay_lsn() - '0/0')::text, '0')")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

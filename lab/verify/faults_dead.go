package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var deadFaults = []fault{
	{name: "old-snapshot", says: "a snapshot is held over three million dead changes, and the leader is killed, twice; half of the other faults also run under it",
		kind: kindCluster, needs: needsDeadRows, paths: []string{"takeover"}, begin: killOverDeadRows},
}

// The number of dead rows: deadPieces transactions with deadPiece rows each.
const (
	deadPieces = 10
	deadPiece  = 300_000
)

const sqlInsertDead = `
INSERT INTO taskfeed.changes (type)
SELECT 'verify_dead'
FROM generate_series(1, $1)`

const sqlDeleteDead = `DELETE FROM taskfeed.changes`

// deadRows are dead rows of the changes that cannot be vacuumed because a forgotten
// session holds an older snapshot.
type deadRows struct {
	db       *database
	snapshot *pgx.Conn // holds the old snapshot; nil once it is released
}

// makeDeadRows takes a snapshot and makes dead rows under it. No other session may
// write yet, and the slot must not exist yet: it would read all of these rows.
func makeDeadRows(ctx context.Context, db *database) (*deadRows, error) {
	g := &deadRows{db: db}
	var err error
	if g.snapshot, err = db.connect(ctx); err != nil {
		return nil, err
	}
	for _, sql := range []string{"SET idle_in_transaction_session_timeout = 0", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT FROM taskfeed.tasks"} {
		if _, err := g.snapshot.Exec(ctx, sql); err != nil {
			return nil, errors.Join(fmt.Errorf("hold a snapshot: %w", err), g.close())
		}
	}
	conn, err := db.connect(ctx)
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	defer query.Close(conn)
	for range deadPieces {
		if _, err = conn.Exec(ctx, sqlInsertDead, deadPiece); err != nil {
			break
		}
	}
	if err == nil {
		_, err = conn.Exec(ctx, sqlDeleteDead)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make dead rows: %w", err), g.close())
	}
	return g, nil
}

func (g *deadRows) close() error {
	if g != nil && g.snapshot != nil {
		query.Close(g.snapshot)
		g.snapshot = nil
	}
	return nil
}

// sqlHeld selects how many transactions ago the snapshot was taken.
const sqlHeld = `
SELECT coalesce(max(age(backend_xmin)), 0)
FROM pg_stat_activity
WHERE pid = $1`

// held is the effect that the snapshot exists and is older than the dead rows.
func (g *deadRows) held(ctx context.Context) (string, error) {
	age, err := one[int](ctx, g.db, sqlHeld, int32(g.snapshot.PgConn().PID()))
	if err == nil && age <= deadPieces {
		err = fmt.Errorf("the snapshot is %d transactions old", age)
	}
	return fmt.Sprintf("%d dead changes under a snapshot that is %d transactions old", deadPieces*deadPiece, age), err
}

// remove releases the snapshot and removes the dead rows: the following faults copy
// the cluster or fill a small disk.
func (g *deadRows) remove(ctx context.Context) error {
	if err := g.close(); err != nil {
		return err
	}
	return await(ctx, patience, func() error { return g.db.exec(ctx, "VACUUM FULL taskfeed.changes") })
}

// needsDeadRows returns why there can be no dead rows, "" when there are some.
func needsDeadRows(r *round) string {
	if r.dead == nil {
		return "it needs a private Postgres"
	}
	return ""
}

// keepsDead reports whether an old snapshot and the dead rows survive the fault.
func (f fault) keepsDead() bool {
	return f.kind != kindPostgres && f.kind != kindCluster && f.name != "disk-full" && f.name != "vacuum-full"
}

// place orders the faults of a round with an old snapshot: first the fault
// old-snapshot, then those that the snapshot survives, then the others.
func (f fault) place() int {
	switch {
	case f.name == "old-snapshot":
		return 0
	case f.keepsDead():
		return 1
	}
	return 2
}

// removeDeadBefore removes the dead rows if the next fault would. It reports whether
// the round can continue.
func (r *round) removeDeadBefore(ctx context.Context, f fault) bool {
	if r.dead == nil || r.dead.snapshot == nil || f.place() < 2 {
		return true
	}
	return r.removeDead(ctx)
}

// removeDead removes the dead rows, and records whether the snapshot was held until
// then, which the fault old-snapshot has to show.
func (r *round) removeDead(ctx context.Context) bool {
	r.now("releasing the old snapshot")
	record := history.Fault{Name: "old-snapshot", Begin: history.Now(), Phase: "alone"}
	what, lost := r.dead.held(ctx)
	if lost != nil {
		what = "it was lost: " + lost.Error()
	}
	err := r.dead.remove(ctx)
	if err != nil {
		what = joinText(what, err.Error())
	}
	record.Detail, record.Fired, record.End = joinText("until the end", what), lost == nil, history.Now()
	r.faults.Append(record)
	return err == nil
}

// deadBound is how long it may take until another server leads and has moved a
// change. A leader that ignores dead rows needs seconds, even on the slowest machine.
const deadBound = 15 * time.Second

// killOverDeadRows kills the leader. The next leader must not read the dead rows
// before it can lead.
func killOverDeadRows(_ context.Context, r *round, f *history.Fault) (injection, error) {
	if r.dead.snapshot == nil {
		return injection{}, errors.New("the snapshot was released")
	}
	kill := func(ctx context.Context) (int, error) {
		if f.Wrong != "" {
			return 1, nil // a second kill would show the same
		}
		return 1, r.killAndDeliver(ctx, f)
	}
	return injection{effect: all(r.dead.held, times(2, 0, "leaders killed", kill)), patience: 3 * patience}, nil
}

// killAndDeliver kills the leader and records a violation when no other server takes
// over in time, when a change written then is not delivered, or when another server is
// not ready.
func (r *round) killAndDeliver(ctx context.Context, f *history.Fault) error {
	s, err := r.leader(ctx)
	if err != nil {
		return err
	}
	f.Target = joinText(f.Target, s.name)
	before, err := one[int64](ctx, r.db, sqlEntriesRead)
	if err != nil {
		return err
	}
	s.current().Kill()
	err = await(ctx, deadBound, func() error {
		if _, err := r.succeeded(s)(ctx); err != nil {
			return err
		}
		return r.delivered(ctx)
	})
	for _, other := range r.servers {
		if err == nil && other != s {
			err = await(ctx, deadBound, func() error { return other.ready(ctx) })
		}
	}
	if err == nil {
		err = r.readLittle(ctx, f, before)
	}
	if err != nil && ctx.Err() == nil {
		f.Breaks, f.Wrong = "P11", fmt.Sprintf("with %d dead changes: %v", deadPieces*deadPiece, err)
	}
	return errors.Join(s.start(), r.allReady(ctx))
}

// sqlEntriesRead selects how many index entries of the changes have been read.
const sqlEntriesRead = `
SELECT coalesce(sum(idx_tup_read), 0)::bigint
FROM pg_stat_user_indexes
WHERE schemaname = 'taskfeed'
  AND relname = 'changes'`

// statsDelay is longer than sessions take to report their statistics.
const statsDelay = 2 * time.Second

// readLittle checks that no server has read the dead rows. On a fast machine that
// would take less than a second, so time does not show it.
func (r *round) readLittle(ctx context.Context, f *history.Fault, before int64) error {
	pause.For(ctx, statsDelay)
	now, err := one[int64](ctx, r.db, sqlEntriesRead)
	f.Detail = joinText(f.Detail, fmt.Sprintf("%d of their index entries read", now-before))
	if err == nil && now-before > deadPieces*deadPiece/2 {
		err = fmt.Errorf("the servers read %d index entries of the changes before they were ready", now-before)
	}
	return err
}

// delivered writes a change and waits until clients get events after it.
func (r *round) delivered(ctx context.Context) error {
	count := func() int64 { return sum(r.clients, func(s *actor.Status) int64 { return s.Deliveries }) }
	before := count()
	if err := r.writer.Flurry(ctx, 1); err != nil {
		return err
	}
	return await(ctx, deadBound, func() error {
		if count() == before {
			return errors.New("no event was delivered")
		}
		return nil
	})
}

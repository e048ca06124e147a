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
	{name: "old-snapshot", says: "a snapshot is held over three million dead changes, and whoever leads is killed, twice; half of the other faults come over them, too",
		kind: kindCluster, needs: needsGrave, paths: []string{"takeover"}, begin: killOverDeadRows},
}

// How many dead rows there are, and how they are made: each piece commits by
// itself, as the changes of an app do.
const (
	deadPieces = 10
	deadPiece  = 300_000
)

const sqlBury = `
INSERT INTO taskfeed.changes (type)
SELECT 'verify_dead'
FROM generate_series(1, $1)`

const sqlDie = `DELETE FROM taskfeed.changes`

// grave is what a forgotten session does to the changes: those that were moved long
// since are dead and cannot be cleaned away.
type grave struct {
	db       *database
	snapshot *pgx.Conn // holds the old snapshot; nil once it has been let go
}

// dig makes dead rows under a snapshot that is older. Nobody may write yet, and
// nothing may read the database's log: it would have to read all of them.
func dig(ctx context.Context, db *database) (*grave, error) {
	g := &grave{db: db}
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
		if _, err = conn.Exec(ctx, sqlBury, deadPiece); err != nil {
			break
		}
	}
	if err == nil {
		_, err = conn.Exec(ctx, sqlDie)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make dead rows: %w", err), g.close())
	}
	return g, nil
}

func (g *grave) close() error {
	if g != nil && g.snapshot != nil {
		query.Close(g.snapshot)
		g.snapshot = nil
	}
	return nil
}

// sqlHeld is how many transactions ago the oldest snapshot was taken.
const sqlHeld = `
SELECT coalesce(max(age(backend_xmin)), 0)
FROM pg_stat_activity
WHERE pid = $1`

// held is the effect that the snapshot is there, and older than the dead rows are.
func (g *grave) held(ctx context.Context) (string, error) {
	age, err := one[int](ctx, g.db, sqlHeld, int32(g.snapshot.PgConn().PID()))
	if err == nil && age <= deadPieces {
		err = fmt.Errorf("the snapshot is %d transactions old", age)
	}
	return fmt.Sprintf("%d dead changes under a snapshot that is %d transactions old", deadPieces*deadPiece, age), err
}

// level lets the snapshot go and takes the dead rows away: what comes next copies
// the cluster, or fills a small disk.
func (g *grave) level(ctx context.Context) error {
	if err := g.close(); err != nil {
		return err
	}
	return await(ctx, patience, func() error { return g.db.exec(ctx, "VACUUM FULL taskfeed.changes") })
}

// needsGrave says why there can be no dead rows.
func needsGrave(r *round) string {
	if r.grave == nil {
		return "it needs a private Postgres"
	}
	return ""
}

// overDead reports whether a fault leaves an old snapshot and what is dead where
// they are, so that it can come over them.
func (f fault) overDead() bool {
	return f.kind != kindPostgres && f.kind != kindCluster && f.name != "disk-full" && f.name != "vacuum-full"
}

// place orders the faults of a round with an old snapshot: the one about it, those
// that it outlives, the others.
func (f fault) place() int {
	switch {
	case f.name == "old-snapshot":
		return 0
	case f.overDead():
		return 1
	}
	return 2
}

// levelBefore ends the part of a round that goes on over dead rows when the fault
// that comes next would. It reports whether the round can go on.
func (r *round) levelBefore(ctx context.Context, f fault) bool {
	if r.grave == nil || r.grave.snapshot == nil || f.place() < 2 {
		return true
	}
	return r.endDead(ctx)
}

// endDead takes dead rows away, and writes down that they were there up to then,
// which is the last thing that the fault about them has to show.
func (r *round) endDead(ctx context.Context) bool {
	r.now("the old snapshot is let go")
	record := history.Fault{Name: "old-snapshot", Begin: history.Now(), Phase: "alone"}
	what, lost := r.grave.held(ctx)
	if lost != nil {
		what = "it was lost: " + lost.Error()
	}
	err := r.grave.level(ctx)
	if err != nil {
		what = joinText(what, err.Error())
	}
	record.Detail, record.Fired, record.End = joinText("until the end", what), lost == nil, history.Now()
	r.faults.Append(record)
	return err == nil
}

// deadBound is how long it may take until another server leads and has moved a
// change. That is seconds on the slowest machine when it depends on nothing dead.
const deadBound = 15 * time.Second

// killOverDeadRows kills whoever leads. The next one must not look through what is
// dead before it can lead.
func killOverDeadRows(_ context.Context, r *round, f *history.Fault) (deed, error) {
	if r.grave.snapshot == nil {
		return deed{}, errors.New("the snapshot was let go")
	}
	kill := func(ctx context.Context) (int, error) {
		if f.Wrong != "" {
			return 1, nil // another one would say the same
		}
		return 1, r.killAndDeliver(ctx, f)
	}
	return deed{felt: all(r.grave.held, times(2, 0, "leaders killed", kill)), patience: 3 * patience}, nil
}

// killAndDeliver notes as wrong that nobody takes over from a leader in time, or
// that what is written then is not delivered, or that the server that lives is not
// ready.
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

// sqlEntriesRead is how many entries of the indexes of the changes have been read.
const sqlEntriesRead = `
SELECT coalesce(sum(idx_tup_read), 0)::bigint
FROM pg_stat_user_indexes
WHERE schemaname = 'taskfeed'
  AND relname = 'changes'`

// statsDelay is longer than sessions keep to themselves what they have read.
const statsDelay = 2 * time.Second

// readLittle sees that nobody has looked through what is dead: on a fast machine
// that is over within a second, and takes as much longer as there is more of it.
func (r *round) readLittle(ctx context.Context, f *history.Fault, before int64) error {
	pause.For(ctx, statsDelay)
	now, err := one[int64](ctx, r.db, sqlEntriesRead)
	f.Detail = joinText(f.Detail, fmt.Sprintf("%d entries of their index read", now-before))
	if err == nil && now-before > deadPieces*deadPiece/2 {
		err = fmt.Errorf("the servers read %d entries of the changes' index before they were well", now-before)
	}
	return err
}

// delivered writes a change and sees events reach clients after it.
func (r *round) delivered(ctx context.Context) error {
	count := func() int64 { return sum(r.clients, func(s *actor.Status) int64 { return s.Deliveries }) }
	before := count()
	if err := r.hand.Flurry(ctx, 1); err != nil {
		return err
	}
	return await(ctx, deadBound, func() error {
		if count() == before {
			return errors.New("no event was delivered")
		}
		return nil
	})
}

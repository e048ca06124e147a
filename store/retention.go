package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/eventlog"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// partitionWidth is how many ids one partition of the log spans. Partition k
// holds the ids from k*partitionWidth up to the next one's first.
const partitionWidth = 10_000_000

// rotations is into how many partitions a log with few events is cut over its retention
// time, so that at most one part in so many is kept longer than asked for.
const rotations = 30

// Maintain makes partitions ahead of the head, starts a new one when the current one
// has covered its share of the retention time, and drops those whose newest event is
// older than retention; 0 or less keeps everything. It also drops refs of messages that
// the app has received, and clients that were not there for as long as retention. Only
// the leader may call it, between moves. It waits 0.1 s for a lock, so readers queue behind it no longer; then
// it returns an error, and the next call tries again.
func (s *Session) Maintain(ctx context.Context, retention time.Duration) error {
	return s.patiently(ctx, 10*s.timeout, func(ctx context.Context) error {
		return s.maintain(ctx, retention)
	})
}

func (s *Session) maintain(ctx context.Context, retention time.Duration) error {
	current, err := s.currentPartition(ctx)
	if err != nil {
		return err
	}
	partitions, err := s.partitions(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(s.makeAhead(ctx, partitions, current), s.dropRefs(ctx)); err != nil || retention <= 0 {
		return err
	}
	return errors.Join(s.dropExpired(ctx, partitions, current, retention),
		s.rotate(ctx, current, max(retention/rotations, time.Minute)),
		s.dropEnded(ctx, retention),
		s.dropClients(ctx, retention))
}

func (s *Session) currentPartition(ctx context.Context) (int64, error) {
	var head taskfeed.Cursor
	err := s.conn.QueryRow(ctx, sqlHead).Scan(&head)
	return int64(head+1) / partitionWidth, pg.Wrap("read head of log", err)
}

const sqlPartitions = `
SELECT substr(c.relname, length('events_') + 1)::bigint AS k
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'taskfeed.events'::regclass
  AND c.relname ~ '^events_[0-9]+$'
ORDER BY k
LIMIT 100000`

// partitions lists the numbered partitions of the log, oldest first.
func (s *Session) partitions(ctx context.Context) ([]int64, error) {
	rows, err := s.conn.Query(ctx, sqlPartitions)
	if err != nil {
		return nil, pg.Wrap("list partitions", err)
	}
	ks, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return ks, pg.Wrap("list partitions", err)
}

// Events whose partition was not made in time are in the default partition. They move
// to the new one in the same transaction: otherwise ATTACH would fail.
const sqlMakePartition = `
SET LOCAL lock_timeout = '100ms';
CREATE TABLE taskfeed.events_{k} (LIKE taskfeed.events INCLUDING ALL);
COMMENT ON TABLE taskfeed.events_{k} IS 'Events from {from} up to {to}, made ahead by the sequencer.';
WITH early AS (
    DELETE FROM taskfeed.events_default
    WHERE id >= {from}
      AND id < {to}
    RETURNING ` + eventlog.Columns + `
)
INSERT INTO taskfeed.events_{k} (` + eventlog.Columns + `)
SELECT ` + eventlog.Columns + `
FROM early;
ALTER TABLE taskfeed.events ATTACH PARTITION taskfeed.events_{k} FOR VALUES FROM ({from}) TO ({to});
SELECT taskfeed.restrict_rights('table events_{k}')`

// Events stay in the default partition until theirs can be made, even when the head is
// in a later one by then. The statement looks only at ids that have no partition and
// never had one: elsewhere there are no such events, but perhaps many dead rows that an
// old snapshot keeps.
const sqlFirstWaiting = `
SELECT id / @width
FROM taskfeed.events_default
WHERE id > greatest(@from - 1, (SELECT expired_through FROM taskfeed.log_state))
  AND id < @to
ORDER BY id
LIMIT 1`

func (s *Session) makeAhead(ctx context.Context, partitions []int64, current int64) error {
	waiting, err := s.firstWaiting(ctx, partitions, current)
	if err != nil {
		return err
	}
	for _, k := range slices.Compact([]int64{waiting, current, current + 1}) {
		if slices.Contains(partitions, k) {
			continue
		}
		if err := s.alter(ctx, fmt.Sprintf("make partition %d", k), sqlMakePartition, k); err != nil {
			return err
		}
		s.log.Info("partition made", "first_id", k*partitionWidth)
	}
	return nil
}

// firstWaiting returns the first partition that is missing for events in the default
// one, or the current partition. It looks into the gaps between the partitions and
// beyond the last.
func (s *Session) firstWaiting(ctx context.Context, partitions []int64, current int64) (int64, error) {
	from := int64(0)
	for _, next := range append(slices.Clone(partitions), current+1) {
		if from < next {
			waiting := current
			args := pgx.NamedArgs{"width": int64(partitionWidth), "from": from * partitionWidth, "to": next * partitionWidth}
			err := s.conn.QueryRow(ctx, sqlFirstWaiting, args).Scan(&waiting)
			if !errors.Is(err, pgx.ErrNoRows) {
				return waiting, pg.Wrap("look into the default partition", err)
			}
		}
		from = max(from, next+1)
	}
	return current, nil
}

const sqlNewest = `
SELECT id, created_at < clock_timestamp() - @age::interval
FROM taskfeed.events
WHERE id >= @from
  AND id < @to
ORDER BY id DESC
LIMIT 1`

const sqlOldest = `
SELECT id, created_at < clock_timestamp() - @age::interval
FROM taskfeed.events
WHERE id >= @from
  AND id < @to
ORDER BY id
LIMIT 1`

// edge reads the newest or oldest event of a partition and reports whether it is
// older than age. The id is 0 when the partition is empty.
func (s *Session) edge(ctx context.Context, statement string, k int64, age time.Duration) (id taskfeed.Cursor, old bool, err error) {
	err = s.conn.QueryRow(ctx, statement, pgx.NamedArgs{
		"from": k * partitionWidth, "to": (k + 1) * partitionWidth, "age": age,
	}).Scan(&id, &old)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	return id, old, pg.Wrap("read age of partition", err)
}

// The same transaction stores the id of the last event that was dropped: a cursor
// before that id has missed events.
const sqlDropPartition = `
SET LOCAL lock_timeout = '100ms';
DROP TABLE taskfeed.events_{k};
UPDATE taskfeed.log_state
SET expired_through = greatest(expired_through, {last})`

func (s *Session) dropExpired(ctx context.Context, partitions []int64, current int64, retention time.Duration) error {
	for _, k := range partitions {
		if k >= current {
			return nil
		}
		last, old, err := s.edge(ctx, sqlNewest, k, retention)
		if err != nil || (last > 0 && !old) {
			return err // the partitions after it are younger
		}
		statement := strings.ReplaceAll(sqlDropPartition, "{last}", last.String())
		if err := s.alter(ctx, fmt.Sprintf("drop partition %d", k), statement, k); err != nil {
			return err
		}
		s.log.Info("expired partition dropped", "first_id", k*partitionWidth, "last_id", int64(last))
	}
	return nil
}

const sqlRotate = `
SELECT setval('taskfeed.event_id', @last)
FROM taskfeed.event_id
WHERE last_value < @last`

// rotate leaves the rest of a partition's ids unused once its first event is
// older than age.
func (s *Session) rotate(ctx context.Context, current int64, age time.Duration) error {
	_, old, err := s.edge(ctx, sqlOldest, current, age)
	if err != nil || !old {
		return err
	}
	_, err = s.conn.Exec(ctx, sqlRotate, pgx.NamedArgs{"last": (current+1)*partitionWidth - 1})
	return pg.Wrap("rotate partitions", err)
}

// alter runs a script about partition k as one transaction.
func (s *Session) alter(ctx context.Context, doing, script string, k int64) error {
	script = strings.NewReplacer("{k}", fmt.Sprint(k),
		"{from}", fmt.Sprint(k*partitionWidth), "{to}", fmt.Sprint((k+1)*partitionWidth)).Replace(script)
	err := s.exec(ctx, "BEGIN;"+script+";COMMIT")
	if err != nil && s.Alive() {
		_ = s.exec(ctx, "ROLLBACK") // the error of the script is the cause
	}
	return pg.Wrap(doing, err)
}

package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// refAge is how long the ref of a message that the app has received is kept, at least.
const refAge = 24 * time.Hour

// An acknowledged message must outlive a crash, whatever the role's settings are.
const sqlDurable = `
SELECT set_config('synchronous_commit', 'local', true)
WHERE current_setting('synchronous_commit') = 'off'`

// The statistics may be of tables that were empty.
const sqlByIndex = `
SELECT set_config('enable_seqscan', 'off', true)`

// A message whose ref is known is stored already: it gets the same answer, whatever has
// become of its task and of the limits. Ids are in the order of the batch. Refs are inserted in their own order, so that two
// servers with the same refs do not wait for each other. A ref that another server
// inserts at the same moment is neither inserted nor visible; such a row has no id and
// is asked for again. The app is woken once for all messages.
const sqlAddMessages = `
WITH sent AS MATERIALIZED (
    SELECT s.place, s.user_id, s.ref, s.topic, nullif(s.task_id, '') AS task_id, s.data::jsonb AS data, hashtextextended(s.data::jsonb::text, 0) AS digest
    FROM unnest(@users::text[], @refs::text[], @topics::text[], @tasks::text[], @data::text[])
        WITH ORDINALITY AS s (user_id, ref, topic, task_id, data, place)
), known AS MATERIALIZED (
    SELECT r.user_id, r.ref, r.id, r.topic, r.task_id, r.digest
    FROM (SELECT DISTINCT s.user_id, s.ref FROM sent AS s) AS d
    CROSS JOIN LATERAL (
        SELECT k.user_id, k.ref, k.id, k.topic, k.task_id, k.digest
        FROM taskfeed.inbox_refs AS k
        WHERE k.user_id = d.user_id
          AND k.ref = d.ref
        LIMIT 1) AS r -- the index for each
), unknown AS MATERIALIZED (
    SELECT DISTINCT ON (s.user_id, s.ref) s.place, s.user_id, s.ref, s.topic, s.task_id, s.data, s.digest
    FROM sent AS s
    WHERE (s.user_id, s.ref) NOT IN (SELECT k.user_id, k.ref FROM known AS k)
    ORDER BY s.user_id, s.ref, s.place
), viewers AS MATERIALIZED (
    SELECT v.place, array_agg(v.user_id) AS users
    FROM unnest(@viewed::bigint[], @viewers::text[]) AS v (place, user_id)
    GROUP BY v.place
), visible AS MATERIALIZED (
    SELECT u.place, u.user_id, u.ref, u.topic, u.task_id, u.data, u.digest
    FROM unknown AS u
    LEFT JOIN viewers AS v ON v.place = u.place
    WHERE u.task_id IS NULL
       OR EXISTS (
           SELECT
           FROM taskfeed.tasks AS t
           WHERE t.id = u.task_id
             AND (t.user_id = ANY (v.users) OR t.owners && v.users))
), waiting AS MATERIALIZED (
    SELECT w.user_id, (SELECT count(*) FROM (SELECT FROM taskfeed.inbox AS i WHERE i.user_id = w.user_id LIMIT @per_user) AS few) AS messages
    FROM (SELECT DISTINCT v.user_id FROM visible AS v) AS w
), allowed AS MATERIALIZED (
    SELECT n.place, n.user_id, n.ref, n.topic, n.task_id, n.data, n.digest
    FROM (SELECT v.place, v.user_id, v.ref, v.topic, v.task_id, v.data, v.digest,
                 row_number() OVER (PARTITION BY v.user_id ORDER BY v.place) AS of_user, row_number() OVER (ORDER BY v.place) AS of_all
          FROM visible AS v) AS n
    JOIN waiting AS w ON w.user_id = n.user_id
    WHERE n.of_user + w.messages <= @per_user
      AND n.of_all <= @room
), numbered AS MATERIALIZED (
    SELECT o.user_id, o.ref, o.topic, o.task_id, o.digest, nextval('taskfeed.message_id') AS id
    FROM (SELECT a.user_id, a.ref, a.topic, a.task_id, a.digest FROM allowed AS a ORDER BY a.place) AS o
), added AS (
    INSERT INTO taskfeed.inbox_refs (user_id, ref, id, topic, task_id, digest)
    SELECT n.user_id, n.ref, n.id, n.topic, n.task_id, n.digest
    FROM numbered AS n
    ORDER BY n.user_id, n.ref
    ON CONFLICT ON CONSTRAINT inbox_refs_pkey DO NOTHING
    RETURNING user_id, ref, id, topic, task_id, digest, created_at
), put AS (
    INSERT INTO taskfeed.inbox (id, user_id, ref, topic, task_id, data, created_at)
    SELECT n.id, n.user_id, n.ref, n.topic, n.task_id, a.data, n.created_at
    FROM added AS n
    JOIN allowed AS a ON a.user_id = n.user_id AND a.ref = n.ref
    RETURNING id
), rung AS MATERIALIZED (
    SELECT pg_notify('taskfeed_inbox', '') AS done
    FROM (SELECT FROM put LIMIT 1) AS any_of_them
), stored AS (
    SELECT k.user_id, k.ref, k.id, k.topic, k.task_id, k.digest FROM known AS k
    UNION ALL
    SELECT n.user_id, n.ref, n.id, n.topic, n.task_id, n.digest FROM added AS n
)
SELECT coalesce(m.id, 0),
       m.id IS NULL OR m.topic = s.topic AND m.task_id IS NOT DISTINCT FROM s.task_id AND m.digest = s.digest,
       v.place IS NOT NULL,
       a.place IS NOT NULL,
       (SELECT count(*) FROM rung)
FROM sent AS s
LEFT JOIN stored AS m ON m.user_id = s.user_id AND m.ref = s.ref
LEFT JOIN visible AS v ON v.user_id = s.user_id AND v.ref = s.ref
LEFT JOIN allowed AS a ON a.user_id = s.user_id AND a.ref = s.ref
ORDER BY s.place`

var (
	errNoTask   = &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no such task that this user may see"}
	errRefInUse = &taskfeed.Error{Code: taskfeed.CodeRefReused, Message: "this ref was used for another message; each message needs a ref of its own"}
	errFull     = &taskfeed.Error{Code: taskfeed.CodeInboxFull, Message: "too many messages wait for the app; this one was not stored"}
	errReadOnly = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database of this server is read-only, so it cannot store messages; try again later"}
)

// AddMessages stores messages, and returns for each what became of it. A message that was
// stored before gets the same id again, for at least a day. Either all that it reports as
// stored are durable or it returns an error; then some may be stored all the same, and
// the caller may send the same messages again. It returns CodeBadRequest when Postgres
// refuses the data of one of the messages: then none is stored.
func (s *Store) AddMessages(ctx context.Context, messages []taskfeed.Message, limits taskfeed.InboxLimits) (all []taskfeed.Stored, err error) {
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	for range 3 { // a ref that another server inserts meanwhile is visible to the next statement
		var again bool
		err = s.queries.Do(ctx, func(db pg.Conn) (err error) {
			all, again, err = addMessages(ctx, db, messages, limits)
			return err
		})
		if err != nil || !again {
			break
		}
	}
	if pg.IsReadOnly(err) {
		return nil, errReadOnly
	}
	return all, pg.Refused(pg.Wrap("store messages", err))
}

func addMessages(ctx context.Context, db pg.Querier, messages []taskfeed.Message, limits taskfeed.InboxLimits) (all []taskfeed.Stored, again bool, err error) {
	batch := &pgx.Batch{} // one transaction
	batch.Queue(sqlDurable)
	batch.Queue(sqlByIndex)
	batch.Queue(sqlAddMessages, messageArgs(messages, limits)).Query(func(rows pgx.Rows) error {
		var id, rung int64
		var same, visible, allowed bool
		_, err := pgx.ForEachRow(rows, []any{&id, &same, &visible, &allowed, &rung}, func() error {
			outcome := taskfeed.Stored{ID: id}
			switch {
			case !same:
				outcome = taskfeed.Stored{Err: errRefInUse}
			case id != 0:
			case !visible:
				outcome.Err = errNoTask
			case !allowed:
				outcome.Err = errFull
			default:
				again = true
			}
			all = append(all, outcome)
			return nil
		})
		return err
	})
	err = db.SendBatch(ctx, batch).Close()
	if err == nil && len(all) != len(messages) {
		err = fmt.Errorf("got %d answers to %d messages", len(all), len(messages))
	}
	return all, again, err
}

func messageArgs(messages []taskfeed.Message, limits taskfeed.InboxLimits) pgx.NamedArgs {
	n := len(messages)
	users, refs, topics, tasks, data := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	viewed, viewers := []int64{}, []string{}
	for i, m := range messages {
		users[i], refs[i], topics[i], tasks[i], data[i] = m.UserID, m.Ref, m.Topic, m.TaskID, string(m.Data)
		if m.TaskID == "" {
			continue
		}
		for _, user := range append([]string{m.UserID}, m.Feeds...) {
			viewed, viewers = append(viewed, int64(i)+1), append(viewers, user)
		}
	}
	return pgx.NamedArgs{"users": users, "refs": refs, "topics": topics, "tasks": tasks, "data": data,
		"viewed": viewed, "viewers": viewers, "per_user": limits.PerUser, "room": limits.Room}
}

// maxWaiting bounds how far InboxFigures counts.
const maxWaiting = 1_000_000

// InboxFigures are what metrics and limits know of the messages that wait.
type InboxFigures struct {
	Waiting int           // counted up to 1,000,000
	Oldest  time.Duration // how long the oldest has waited; 0 when none waits
}

const sqlInboxFigures = `
SELECT (SELECT count(*) FROM (SELECT FROM taskfeed.inbox LIMIT @most) AS few),
       coalesce((SELECT extract(epoch FROM clock_timestamp() - created_at) FROM taskfeed.inbox ORDER BY id LIMIT 1), 0)::float8`

// InboxFigures counts the messages that wait.
func (s *Store) InboxFigures(ctx context.Context) (f InboxFigures, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	var age float64 // seconds
	err = s.checks.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, sqlInboxFigures, pgx.NamedArgs{"most": maxWaiting}).Scan(&f.Waiting, &age)
	})
	f.Oldest = time.Duration(max(age, 0) * float64(time.Second))
	return f, pg.Wrap("count messages", err)
}

// WaitingMessages returns how many messages wait for the app.
func (s *Store) WaitingMessages(ctx context.Context) (int, error) {
	f, err := s.InboxFigures(ctx)
	return f.Waiting, err
}

// forgetBatch bounds how many refs one statement drops.
const forgetBatch = 10_000

const sqlDropRefs = `
DELETE FROM taskfeed.inbox_refs AS r
WHERE (r.user_id, r.ref) IN (
    SELECT o.user_id, o.ref
    FROM taskfeed.inbox_refs AS o
    WHERE o.created_at < clock_timestamp() - @age::interval
      AND NOT EXISTS (SELECT FROM taskfeed.inbox AS i WHERE i.id = o.id)
    ORDER BY o.created_at
    LIMIT @limit)`

// forgetRounds bounds one call of dropRefs; the rest is for the next.
const forgetRounds = 100

// dropRefs drops refs of messages that the app has received and that are old enough.
func (s *Session) dropRefs(ctx context.Context) error {
	for range forgetRounds {
		tag, err := s.conn.Exec(ctx, sqlDropRefs, pgx.NamedArgs{"age": refAge, "limit": forgetBatch})
		if err != nil || tag.RowsAffected() < forgetBatch {
			return pg.Wrap("drop refs of messages", err)
		}
	}
	return nil
}

const sqlMessages = `
SELECT r.id, r.user_id, r.ref, r.topic, coalesce(r.task_id, ''), i.data, r.created_at, i.id IS NOT NULL
FROM taskfeed.inbox_refs AS r
LEFT JOIN taskfeed.inbox AS i ON i.id = r.id
WHERE r.id < @before
{narrow}ORDER BY r.id DESC
LIMIT @limit`

func messagesStatement(q taskfeed.MessageQuery) string {
	narrow := ""
	if q.UserID != "" {
		narrow += "  AND r.user_id = @user_id\n"
	}
	if q.TaskID != "" {
		narrow += "  AND r.task_id = @task_id\n"
	}
	return strings.ReplaceAll(sqlMessages, "{narrow}", narrow)
}

// Messages lists messages that wait, and those of the last day that the app has received.
func (s *Store) Messages(ctx context.Context, q taskfeed.MessageQuery) (all []taskfeed.SentMessage, err error) {
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	args := pgx.NamedArgs{"user_id": q.UserID, "task_id": q.TaskID, "before": q.Before, "limit": q.Limit}
	if q.Before == 0 {
		args["before"] = int64(1) << 62
	}
	err = s.queries.Do(ctx, func(db pg.Conn) (err error) {
		rows := pg.Query(ctx, db, messagesStatement(q), args)
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m taskfeed.SentMessage, err error) {
			return m, row.Scan(&m.ID, &m.UserID, &m.Ref, &m.Topic, &m.TaskID, &m.Data, &m.CreatedAt, &m.Waiting)
		})
		return err
	})
	return slices.Clip(all), pg.Late(ctx, "list messages", err)
}

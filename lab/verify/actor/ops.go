package actor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// errRollback rolls a transaction back on purpose.
var errRollback = errors.New("rolled back on purpose")

const (
	ownTasks  = 40 // of one writer, at most
	manyTasks = 20 // changed in one statement
)

// mix lists the steps of a writer with their relative weights.
var mix = []struct {
	weight int
	step   func(*Writer, context.Context)
}{
	{45, one((*transaction).progress)},
	{8, one((*transaction).insert)},
	{10, one((*transaction).status)},
	{4, one((*transaction).remove)},
	{4, one((*transaction).handOver)},
	{3, one((*transaction).nothing)},
	{6, one((*transaction).notify)},
	{2, one((*transaction).broadcast)},
	{6, one((*transaction).shared)},
	{2, one((*transaction).many)},
	{1, one((*transaction).mistake)},
	{7, (*Writer).several},
	{3, (*Writer).late},
}

// one is a transaction of one change.
func one(change func(*transaction) error) func(*Writer, context.Context) {
	return func(w *Writer, ctx context.Context) { _ = w.do(ctx, change) } // the outcome is in the history
}

// step does one random step of the mix.
func (w *Writer) step(ctx context.Context) {
	if w.cfg.FirstJob > 0 {
		w.jobTransaction(ctx)
		return
	}
	if len(w.tasks) < ownTasks/4 {
		w.do(ctx, (*transaction).insert)
		return
	}
	total := 0
	for _, m := range mix {
		total += m.weight
	}
	n := w.rand.IntN(total)
	for _, m := range mix {
		if n -= m.weight; n < 0 {
			m.step(w, ctx)
			return
		}
	}
}

// several is a transaction of some changes, of which some are rolled back to a
// savepoint, or all are rolled back.
func (w *Writer) several(ctx context.Context) {
	w.do(ctx, func(t *transaction) error {
		for range 2 + w.rand.IntN(3) {
			if w.rand.IntN(4) == 0 {
				if err := t.takenBack(); err != nil {
					return err
				}
			}
			if err := t.any(); err != nil {
				return err
			}
		}
		if w.rand.IntN(4) == 0 {
			return errRollback
		}
		return nil
	})
}

// late is a transaction that makes its first change early and commits late. Meanwhile
// it changes a shared task that others have changed since.
func (w *Writer) late(ctx context.Context) {
	w.do(ctx, func(t *transaction) error {
		if err := t.any(); err != nil {
			return err
		}
		pause.For(t.ctx, time.Duration(20+w.rand.IntN(200))*time.Millisecond)
		if err := t.shared(); err != nil {
			return err
		}
		if w.rand.IntN(3) == 0 {
			pause.For(t.ctx, time.Duration(w.rand.IntN(100))*time.Millisecond)
		}
		return nil
	})
}

func (t *transaction) any() error {
	if t.w.cfg.FirstJob > 0 {
		return t.anyJob()
	}
	changes := []func(*transaction) error{(*transaction).progress, (*transaction).progress, (*transaction).status, (*transaction).notify, (*transaction).insert}
	return changes[t.w.rand.IntN(len(changes))](t)
}

// takenBack makes changes after a savepoint and rolls back to it. They are recorded as
// a failed transaction of their own.
func (t *transaction) takenBack() error {
	if err := t.exec("SAVEPOINT s"); err != nil {
		return err
	}
	kept := len(t.writes)
	tasks := slices.Clone(t.w.tasks)
	if err := t.any(); err != nil {
		return err
	}
	for _, write := range t.writes[kept:] {
		write.Begin, write.End, write.Outcome, write.Error = t.begin, now(), history.Fail, "taken back to a savepoint"
		t.w.out.Append(write)
	}
	t.writes, t.w.tasks = t.writes[:kept], tasks
	return t.exec("ROLLBACK TO SAVEPOINT s")
}

// pick chooses one of the writer's own tasks.
func (t *transaction) pick() (int, ownTask) {
	i := t.w.rand.IntN(len(t.w.tasks))
	return i, t.w.tasks[i]
}

func (t *transaction) user() history.User { return t.w.cfg.Users[t.w.rand.IntN(len(t.w.cfg.Users))] }

const sqlInsert = `
INSERT INTO taskfeed.tasks (id, user_id, kind, status, message)
VALUES ($1, $2, $3, $4, $5)`

// insert inserts a task. If the transaction fails, later changes of the task find no
// row and change nothing.
func (t *transaction) insert() error {
	if len(t.w.tasks) >= ownTasks {
		return t.remove()
	}
	u := t.user()
	id := fmt.Sprintf("%s%s-t%d", t.w.cfg.Prefix, t.w.cfg.Name, t.w.ops+1)
	op := t.op("insert", u.ID, id)
	status := []string{"queued", "running"}[t.w.rand.IntN(2)]
	if err := t.exec(sqlInsert, id, u.ID, "verify", status, message(op, u)); err != nil {
		return err
	}
	t.w.tasks = append(t.w.tasks, ownTask{id, u})
	return nil
}

const sqlProgress = `
UPDATE taskfeed.tasks
SET progress = (progress + 1) % 101, message = $2
WHERE id = $1`

func (t *transaction) progress() error {
	if len(t.w.tasks) == 0 {
		return t.insert()
	}
	_, task := t.pick()
	return t.exec(sqlProgress, task.id, message(t.op("progress", task.user.ID, task.id), task.user))
}

const sqlStatus = `
UPDATE taskfeed.tasks
SET status = $2, message = $3, result = $4, error = $5
WHERE id = $1`

func (t *transaction) status() error {
	if len(t.w.tasks) == 0 {
		return t.insert()
	}
	_, task := t.pick()
	status := []string{"queued", "running", "completed", "failed", "canceled"}[t.w.rand.IntN(5)]
	var result, reason *string
	switch status {
	case "completed":
		text := fmt.Sprintf(`{"count": %d, "of": [1, 2.50, null, "\u00e9"]}`, t.w.rand.IntN(1000))
		result = &text
	case "failed":
		text := "it said \"no\" \\ twice\n"
		reason = &text
	}
	return t.exec(sqlStatus, task.id, status, message(t.op("status", task.user.ID, task.id), task.user), result, reason)
}

// remove deletes a task, which is not changed again.
func (t *transaction) remove() error {
	if len(t.w.tasks) < ownTasks/4 {
		return t.insert()
	}
	i, task := t.pick()
	t.op("delete", task.user.ID, task.id)
	if err := t.exec(`DELETE FROM taskfeed.tasks WHERE id = $1`, task.id); err != nil {
		return err
	}
	t.w.tasks = slices.Delete(t.w.tasks, i, i+1)
	return nil
}

// handOver gives a task to another user.
func (t *transaction) handOver() error {
	if len(t.w.tasks) == 0 {
		return t.insert()
	}
	i, task := t.pick()
	to := t.user()
	op := t.op("owner", to.ID, task.id)
	if err := t.exec(`UPDATE taskfeed.tasks SET user_id = $2, message = $3 WHERE id = $1`, task.id, to.ID, message(op, to)); err != nil {
		return err
	}
	t.w.tasks[i].user = to
	return nil
}

// nothing is an update without a visible change.
func (t *transaction) nothing() error {
	if len(t.w.tasks) == 0 {
		return t.insert()
	}
	_, task := t.pick()
	return t.exec(`UPDATE taskfeed.tasks SET progress = progress, updated_at = now() WHERE id = $1`, task.id)
}

// shared changes a task that other writers change too.
func (t *transaction) shared() error {
	return t.sharedAt(t.w.rand.IntN(len(t.w.cfg.Shared)))
}

func (t *transaction) sharedAt(i int) error {
	if t.w.cfg.FirstJob > 0 {
		return t.sharedJob(i)
	}
	id, u := t.w.cfg.Shared[i], t.w.cfg.SharedUsers[i]
	return t.exec(sqlProgress, id, message(t.op("progress", u.ID, id), u))
}

const sqlMany = `
UPDATE taskfeed.tasks AS t
SET progress = (t.progress + 1) % 101, message = v.message
FROM unnest($1::text[], $2::text[]) AS v (id, message)
WHERE t.id = v.id`

// many changes many tasks in one statement.
func (t *transaction) many() error {
	var ids, messages []string
	for _, task := range t.w.tasks[:min(len(t.w.tasks), manyTasks)] {
		ids = append(ids, task.id)
		messages = append(messages, message(t.op("progress", task.user.ID, task.id), task.user))
	}
	return t.exec(sqlMany, ids, messages)
}

// mistake is a change that the schema refuses.
func (t *transaction) mistake() error {
	if len(t.w.tasks) == 0 {
		return t.insert()
	}
	_, task := t.pick()
	op := t.op("progress", task.user.ID, task.id)
	return t.exec(`UPDATE taskfeed.tasks SET progress = 101, message = $2 WHERE id = $1`, task.id, message(op, task.user))
}

func (t *transaction) notify() error {
	u := t.user()
	op := t.op("notify", u.ID, "")
	data, err := json.Marshal(map[string]any{"op": op, "canary": u.Canary, "n": t.w.rand.IntN(100)})
	if err != nil {
		return err
	}
	return t.taskless(op, &u.ID, string(data), sqlNotify)
}

func (t *transaction) broadcast() error {
	if !t.w.cfg.Broadcasts {
		return t.notify()
	}
	op := t.op("broadcast", "", "")
	return t.taskless(op, nil, fmt.Sprintf(`{"op": %q}`, op), sqlBroadcast)
}

const (
	sqlNotify    = `SELECT taskfeed.notify($1, $2, $3)`
	sqlBroadcast = `SELECT taskfeed.broadcast($2, $3) WHERE $1::text IS NULL`
)

// taskless writes an event without a task, and records it in the table Ops, from which
// the slot learns of it.
func (t *transaction) taskless(op string, user *string, data, sql string) error {
	typ := t.w.cfg.Prefix + "note"
	if err := t.exec(sql, user, typ, data); err != nil || t.w.cfg.Ops == "" {
		return err
	}
	return t.exec(`INSERT INTO `+t.w.cfg.Ops+` (op, user_id, type, data) VALUES ($1, $2, $3, $4)`, op, user, typ, data)
}

// Marker writes the events that end a run, one for each user, and returns the prefix
// of their ops. It retries until their commit is confirmed.
func (w *Writer) Marker(ctx context.Context) (marker string, err error) {
	w.disconnect() // the connection may be broken by now
	for ctx.Err() == nil {
		if err = w.connect(ctx); err != nil {
			pause.For(ctx, 50*time.Millisecond)
			continue
		}
		w.ops++
		marker = fmt.Sprintf("%s.%d", w.cfg.Name, w.ops)
		outcome := w.do(ctx, func(t *transaction) error { return t.mark(marker) })
		if outcome == history.OK {
			return marker, nil
		}
	}
	return "", errors.Join(errors.New("the last events could not be written"), context.Cause(ctx), err)
}

// markerOf returns the op of the last event of a user.
func markerOf(marker, user string) string { return marker + ":" + user }

func (t *transaction) mark(marker string) error {
	for _, u := range t.w.cfg.Users {
		op := markerOf(marker, u.ID)
		t.writes = append(t.writes, history.Write{Op: op, Writer: t.w.cfg.Name, Txn: t.w.txn, User: u.ID, Action: "marker"})
		if err := t.taskless(op, &u.ID, fmt.Sprintf(`{"op": %q}`, op), sqlNotify); err != nil {
			return err
		}
	}
	return nil
}

// MakeShared inserts the tasks that all writers change.
func (w *Writer) MakeShared(ctx context.Context) error {
	if err := w.connect(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	for i, id := range w.cfg.Shared {
		u := w.cfg.SharedUsers[i]
		outcome := w.do(ctx, func(t *transaction) error {
			return t.exec(sqlInsert, id, u.ID, "verify", "running", message(t.op("insert", u.ID, id), u))
		})
		if outcome != history.OK {
			return fmt.Errorf("the task %s could not be made", id)
		}
	}
	return nil
}

// flurryPatience is the number of changes of one flurry that may fail.
const flurryPatience = 5

// Flurry commits a number of changes of tasks as fast as possible. All are confirmed
// when it returns nil.
func (w *Writer) Flurry(ctx context.Context, times int) error {
	for failed := 0; times > 0 && ctx.Err() == nil; {
		if err := w.connect(ctx); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		if w.do(ctx, (*transaction).progress) == history.OK {
			times--
			continue
		}
		w.disconnect() // the connection may be broken by now
		if failed++; failed > flurryPatience {
			return errors.New("a change could not be made")
		}
	}
	return ctx.Err()
}

// Hold writes in a transaction that stays open for d and then commits.
func (w *Writer) Hold(ctx context.Context, d time.Duration) error {
	w.disconnect() // the connection may be broken by now
	if err := w.connect(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	outcome := w.do(ctx, func(t *transaction) error {
		if err := errors.Join(t.insert(), t.progress()); err != nil {
			return err
		}
		pause.For(ctx, d)
		return t.shared()
	})
	if outcome != history.OK {
		return errors.New("the transaction that was held open did not commit")
	}
	return nil
}

// ChangeLast changes a shared task after a transaction with a higher id has changed it.
// So the order of transaction ids is not the order of the task's versions.
func (w *Writer) ChangeLast(ctx context.Context) error {
	w.disconnect() // the connection may be broken by now
	if err := w.connect(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	outcome := w.do(ctx, func(t *transaction) error {
		if err := t.insert(); err != nil { // assigns the transaction's id
			return err
		}
		i := w.rand.IntN(len(w.cfg.Shared))
		if err := t.awaitChange(w.cfg.Shared[i]); err != nil {
			return err
		}
		return t.sharedAt(i)
	})
	if outcome != history.OK {
		return errors.New("the transaction that changes a task last did not commit")
	}
	return nil
}

// awaitChange waits until another writer has changed a task.
func (t *transaction) awaitChange(id string) error {
	const sqlVersion = `SELECT version FROM taskfeed.tasks WHERE id = $1`
	var before, version int64
	err := t.w.conn.QueryRow(t.ctx, sqlVersion, id).Scan(&before)
	for version = before; err == nil && version == before; {
		pause.For(t.ctx, 20*time.Millisecond)
		err = t.w.conn.QueryRow(t.ctx, sqlVersion, id).Scan(&version)
	}
	return err
}

// Prepare writes in a transaction that is prepared and, after d, committed or rolled
// back. Postgres refuses to prepare a transaction that has notified, so the session
// switches NOTIFY off.
func (w *Writer) Prepare(ctx context.Context, d time.Duration, commit bool) error {
	w.disconnect() // the connection may be broken by now
	if err := w.connect(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer w.disconnect() // ends the setting with the session
	if _, err := w.conn.Exec(ctx, `SET taskfeed.notify = 'off'`); err != nil {
		return err
	}
	name := fmt.Sprintf("verify-%s-%d", w.cfg.Name, w.txn)
	var prepared error
	w.finish = func(t *transaction) (history.Outcome, error) {
		if prepared = t.exec(`PREPARE TRANSACTION '` + name + `'`); prepared != nil {
			return history.Fail, prepared
		}
		pause.For(ctx, d)
		if commit {
			return outcomeOf(t.exec(`COMMIT PREPARED '` + name + `'`))
		}
		return history.Fail, errors.Join(errRollback, t.exec(`ROLLBACK PREPARED '`+name+`'`))
	}
	defer func() { w.finish = nil }()
	outcome := w.do(ctx, (*transaction).insert)
	if commit && outcome != history.OK {
		return errors.Join(errors.New("the prepared transaction did not commit"), prepared)
	}
	return prepared
}

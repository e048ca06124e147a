package actor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// A writer of jobs changes a table of the app that is attached, in the ways of queues.
// It uses the columns as the app has named them and knows nothing of tasks. Each
// statement names the owner that the writer believes in, so that a canary never gets
// into the row of another user.

const (
	jobPrefix  = "jobs:" // of the ids of tasks
	manyJobs   = 12      // in one statement
	cleanLimit = 5       // rows that one cleaning deletes
)

// jobScript is what a writer of jobs does first: everything once, so that a short run
// has it all.
var jobScript = []func(*transaction) error{
	(*transaction).jobsInsert, (*transaction).jobsInsert, (*transaction).jobsInsert, (*transaction).jobClaim, (*transaction).jobHandOver,
	(*transaction).jobFinish, (*transaction).jobSynonym, (*transaction).jobClean, (*transaction).jobAgain, (*transaction).jobProgress,
	(*transaction).jobCancel, (*transaction).jobDisown, (*transaction).jobHide, (*transaction).jobNothing, (*transaction).jobsProgress,
	(*transaction).jobRollback,
}

var jobMix = []struct {
	weight int
	step   func(*transaction) error
}{
	{6, (*transaction).jobsInsert},
	{12, (*transaction).jobClaim},
	{24, (*transaction).jobProgress},
	{14, (*transaction).jobFinish},
	{6, (*transaction).jobRetry},
	{7, (*transaction).jobAgain},
	{5, (*transaction).jobSynonym},
	{8, (*transaction).jobClean},
	{5, (*transaction).jobCancel},
	{6, (*transaction).jobHandOver},
	{3, (*transaction).jobDisown},
	{3, (*transaction).jobHide},
	{4, (*transaction).jobNothing},
	{5, (*transaction).jobsProgress},
	{6, (*transaction).shared},
	{3, (*transaction).jobRollback},
}

// jobStep returns the next change of a writer of jobs.
func (w *Writer) jobStep() func(*transaction) error {
	if w.scripted < len(jobScript) {
		w.scripted++
		return jobScript[w.scripted-1]
	}
	total := 0
	for _, m := range jobMix {
		total += m.weight
	}
	n := w.rand.IntN(total)
	for _, m := range jobMix {
		if n -= m.weight; n < 0 {
			return m.step
		}
	}
	return (*transaction).jobProgress
}

// jobTransaction is one change of a job, or once in a while a transaction of several or
// one that commits late.
func (w *Writer) jobTransaction(ctx context.Context) {
	n := len(jobScript)
	if w.scripted == n {
		n = w.rand.IntN(16)
	}
	switch n {
	case 0, 1:
		w.several(ctx)
	case 2:
		w.late(ctx)
	default:
		w.do(ctx, w.jobStep())
	}
}

func (t *transaction) anyJob() error {
	changes := []func(*transaction) error{(*transaction).jobProgress, (*transaction).jobProgress, (*transaction).jobFinish, (*transaction).jobAgain, (*transaction).jobsInsert}
	return changes[t.w.rand.IntN(len(changes))](t)
}

// jobID is the id of the row that a task is of.
func jobID(task string) int64 {
	id, _ := strconv.ParseInt(strings.TrimPrefix(task, jobPrefix), 10, 64) // the writer made it
	return id
}

const sqlJobsInsert = `
INSERT INTO app.jobs (id, customer, state, job_type, note)
SELECT v.id, v.customer, v.state, 'export', v.note
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS v (id, customer, state, note)`

// jobsInsert inserts some rows in one statement.
func (t *transaction) jobsInsert() error {
	if len(t.w.tasks) >= ownTasks {
		return t.jobClean()
	}
	var ids []int64
	var customers, states, notes []string
	for range 1 + t.w.rand.IntN(4) {
		u := t.user()
		id := t.w.cfg.FirstJob + int64(t.w.ops) + 1
		task := jobPrefix + strconv.FormatInt(id, 10)
		ids, customers = append(ids, id), append(customers, u.ID)
		states = append(states, []string{"pending", "pending", "working", "retrying"}[t.w.rand.IntN(4)])
		notes = append(notes, message(t.op("job", u.ID, task), u))
		t.w.tasks = append(t.w.tasks, ownTask{task, u})
	}
	return t.exec(sqlJobsInsert, ids, customers, states, notes)
}

const sqlJobClaim = `
UPDATE app.jobs
SET state = 'working', worker = $1, note = $2 || substring(note FROM ' .*')
WHERE id = (SELECT id FROM app.jobs WHERE state IN ('pending', 'retrying') AND customer IS NOT NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)`

// jobClaim takes the next row that waits, whosoever it is: the note keeps its canary.
func (t *transaction) jobClaim() error {
	return t.exec(sqlJobClaim, t.w.cfg.Name, t.op("claim", "", ""))
}

// onJob runs a statement for one of the writer's rows: its id, the owner, which is
// nobody if it is empty, and the note.
func (t *transaction) onJob(action, sql string, args ...any) error {
	if len(t.w.tasks) == 0 {
		return t.jobsInsert()
	}
	_, task := t.pick()
	return t.exec(sql, append([]any{jobID(task.id), task.user.ID, message(t.op(action, task.user.ID, task.id), task.user)}, args...)...)
}

// ownJob is the condition that the row is still what the writer believes.
const ownJob = ` WHERE id = $1 AND customer IS NOT DISTINCT FROM nullif($2, '')`

func (t *transaction) jobProgress() error {
	return t.onJob("job", `UPDATE app.jobs SET done = (done + 1) % 51, note = $3`+ownJob)
}

func (t *transaction) jobRetry() error {
	return t.onJob("job", `UPDATE app.jobs SET state = 'retrying', note = $3`+ownJob)
}

func (t *transaction) jobFinish() error {
	return t.onJob("job", `UPDATE app.jobs SET state = $4, failure = 'disk full at job ' || id || E'\nat main.go', note = $3`+ownJob,
		[]string{"done", "done", "error", "stopped"}[t.w.rand.IntN(4)])
}

// jobHide gives a row a status that the map excludes or does not name.
func (t *transaction) jobHide() error {
	return t.onJob("job", `UPDATE app.jobs SET state = $4, note = $3`+ownJob, []string{"hidden", "strange"}[t.w.rand.IntN(2)])
}

// jobSynonym gives rows another value of the same status: users see no difference.
func (t *transaction) jobSynonym() error {
	return t.exec(`UPDATE app.jobs SET state = 'finished' WHERE state = 'done' AND id = ANY ($1)`, t.jobIDs())
}

// jobNothing changes a column that the mapping does not read.
func (t *transaction) jobNothing() error {
	return t.exec(`UPDATE app.jobs SET touched = now() WHERE id = ANY ($1)`, t.jobIDs())
}

func (t *transaction) jobIDs() []int64 {
	ids := []int64{}
	for _, task := range t.w.tasks {
		ids = append(ids, jobID(task.id))
	}
	return ids
}

const sqlJobsProgress = `
UPDATE app.jobs AS j
SET done = (j.done + 3) % 51, note = v.note
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS v (id, customer, note)
WHERE j.id = v.id
  AND j.customer IS NOT DISTINCT FROM nullif(v.customer, '')`

// jobsProgress changes many rows in one statement.
func (t *transaction) jobsProgress() error {
	var ids []int64
	var customers, notes []string
	for _, task := range t.w.tasks[:min(len(t.w.tasks), manyJobs)] {
		ids, customers = append(ids, jobID(task.id)), append(customers, task.user.ID)
		notes = append(notes, message(t.op("job", task.user.ID, task.id), task.user))
	}
	return t.exec(sqlJobsProgress, ids, customers, notes)
}

// jobClean deletes rows that have ended, as queues do: users are told nothing.
func (t *transaction) jobClean() error {
	return t.deleteJobs("clean", `state IN ('done', 'finished', 'error', 'stopped')`, cleanLimit)
}

// jobCancel deletes a row that has not ended.
func (t *transaction) jobCancel() error {
	if len(t.w.tasks) < ownTasks/4 {
		return t.jobsInsert()
	}
	return t.deleteJobs("cancel", `state IN ('pending', 'retrying', 'working')`, 1)
}

func (t *transaction) deleteJobs(action, which string, most int) error {
	rows, err := t.w.conn.Query(t.ctx, `DELETE FROM app.jobs WHERE id = ANY (ARRAY(SELECT id FROM app.jobs WHERE id = ANY ($1) AND `+which+` ORDER BY id LIMIT $2)) RETURNING id`, t.jobIDs(), most)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		t.op(action, "", jobPrefix+strconv.FormatInt(id, 10))
		t.w.tasks = slices.DeleteFunc(t.w.tasks, func(o ownTask) bool { return jobID(o.id) == id })
	}
	return rows.Err()
}

// jobAgain deletes a row and inserts it again in one transaction, as pg-boss does when
// a job fails: the task changes, and is not deleted.
func (t *transaction) jobAgain() error {
	if len(t.w.tasks) == 0 {
		return t.jobsInsert()
	}
	_, task := t.pick()
	tag, err := t.w.conn.Exec(t.ctx, `DELETE FROM app.jobs`+ownJob, jobID(task.id), task.user.ID)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	note := message(t.op("again", task.user.ID, task.id), task.user)
	return t.exec(`INSERT INTO app.jobs (id, customer, state, job_type, note) VALUES ($1, nullif($2, ''), $3, 'retry', $4)`,
		jobID(task.id), task.user.ID, []string{"retrying", "error"}[t.w.rand.IntN(2)], note)
}

// jobHandOver gives a row to another user.
func (t *transaction) jobHandOver() error {
	if len(t.w.tasks) == 0 {
		return t.jobsInsert()
	}
	i, task := t.pick()
	to := t.user()
	for to.ID == task.user.ID {
		to = t.user()
	}
	return t.giveJob(i, task, to)
}

// jobDisown leaves a row without an owner.
func (t *transaction) jobDisown() error {
	if len(t.w.tasks) == 0 {
		return t.jobsInsert()
	}
	i, task := t.pick()
	return t.giveJob(i, task, history.User{})
}

func (t *transaction) giveJob(i int, task ownTask, to history.User) error {
	note := message(t.op("owner", to.ID, task.id), to)
	if err := t.exec(`UPDATE app.jobs SET customer = nullif($3, ''), note = $4`+ownJob, jobID(task.id), task.user.ID, to.ID, note); err != nil {
		return err
	}
	t.w.tasks[i].user = to
	return nil
}

// jobRollback writes and rolls back.
func (t *transaction) jobRollback() error {
	return errors.Join(t.anyJob(), t.jobProgress(), errRollback)
}

// sharedJob changes a row that all writers of jobs change. It never ends, so that its
// owner always has an open task.
func (t *transaction) sharedJob(i int) error {
	u := t.w.cfg.SharedUsers[i]
	return t.exec(`UPDATE app.jobs SET done = (done + 1) % 51, note = $3`+ownJob, int64(i+1), u.ID,
		message(t.op("job", u.ID, fmt.Sprintf("%s%d", jobPrefix, i+1)), u))
}

package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Rows of the attached table make tasks. While the attachment works, each captured
// change makes exactly the events that the fold of fold.go says. While it does not,
// changes are not seen. Once it works again, the rows are read: at any moment before
// the next captured change of a row, users are told of what it is then, and by the end
// they must be. So the events of the log decide between the two orders.

// jobStep is one change of a row of the attached table, a mark of what was done to the
// attachment, or a fork, which has neither.
type jobStep struct {
	row    *history.Row
	commit int
	place  int
	lost   bool
}

// attachment is the attached table as of a step.
type attachment struct {
	jobs  map[string]*job // by task
	state string          // the last mark
}

// job is a row of the attached table and what users were told of it.
type job struct {
	row     task // nil: there is none
	place   int  // of its last change
	told    folded
	pending pending
	must    bool // the pending one must come
	unread  bool // a change of the row could not be read, and its row may be read alone
}

// pending is a change that users are told of at any moment.
type pending string

const (
	pendingRow  pending = "row"  // the row is read
	pendingGone pending = "gone" // the task is found to have no row
)

func (a attachment) clone() attachment {
	jobs := make(map[string]*job, len(a.jobs))
	for id, j := range a.jobs {
		kept := *j
		jobs[id] = &kept
	}
	return attachment{jobs, a.state}
}

func (a attachment) find(id string) *job {
	if a.jobs[id] == nil {
		a.jobs[id] = &job{}
	}
	return a.jobs[id]
}

// jobEvent identifies an event of an attached task by all that it says.
type jobEvent struct {
	user, task, typ string
	version         int64
	data            uint64
}

// jobFolder derives the events of attached tasks.
type jobFolder struct {
	*subject
	now, fork attachment       // fork: with the commits that are lost
	logged    map[jobEvent]int // not matched yet
	loggedAt  map[jobEvent]int // place of the last one
	again     map[int]bool     // places of deletions whose row the transaction inserted again
	broken    []int            // places of changes that could not be read
}

// expectJobs derives the events of attached tasks. The log must have been read.
func (s *subject) expectJobs() {
	f := &jobFolder{subject: s, now: attachment{jobs: make(map[string]*job)}, logged: make(map[jobEvent]int), loggedAt: make(map[jobEvent]int), again: insertedAgain(s.jobSteps)}
	for _, r := range s.log {
		if strings.HasPrefix(r.task, jobPrefix) && !r.lost {
			e := jobEvent{r.user, r.task, r.typ, r.version, r.data}
			f.logged[e]++
			f.loggedAt[e] = r.place
		}
	}
	for _, step := range s.jobSteps {
		f.take(step)
	}
	for _, id := range slices.Sorted(maps.Keys(f.now.jobs)) {
		f.finish(id, f.now.jobs[id])
	}
	f.expectResets()
	if len(s.attached) > 0 && s.Header.Marker != "" && f.now.state == "attached" {
		f.checkTasks()
	}
}

// insertedAgain finds deletions of rows that the same transaction inserts again later:
// such a row changes.
func insertedAgain(steps []jobStep) map[int]bool {
	again, inserted := make(map[int]bool), make(map[string]int)
	for _, step := range slices.Backward(steps) {
		if step.row == nil || step.row.Table != "jobs" {
			continue
		}
		id := value(*step.row, "id")
		switch commit, found := inserted[id]; {
		case step.row.Change == "INSERT":
			inserted[id] = step.commit
		case step.row.Change == "DELETE" && found && commit == step.commit:
			again[step.place] = true
		}
	}
	return again
}

func (f *jobFolder) take(step jobStep) {
	a := &f.now
	switch {
	case step.row == nil:
		f.fork = attachment{}
		return
	case step.lost:
		if a = &f.fork; a.jobs == nil {
			f.fork = f.now.clone()
		}
	}
	if step.row.Table == "marks" {
		f.mark(a, value(*step.row, "mark"), step)
	} else {
		f.change(a, step)
	}
}

// mark notes what was done to the attachment.
func (f *jobFolder) mark(a *attachment, mark string, step jobStep) {
	switch mark {
	case "again", "compared":
		for _, j := range a.jobs {
			if j.row == nil && j.told.open() {
				j.pending, j.must = pendingGone, mark == "compared"
			}
		}
		return
	case "filled":
		f.wantRead(a, step)
		return
	case "deleted":
		for _, id := range slices.Sorted(maps.Keys(a.jobs)) {
			j := a.jobs[id]
			j.place = step.place
			f.apply(id, j, step, "", func(was folded) ([]expected, folded) {
				if !was.open() {
					return nil, folded{}
				}
				return foldGone(was, "deleted")
			})
		}
	case "attached":
		for _, j := range a.jobs {
			j.readAgain()
		}
	}
	a.state = mark
}

// readAgain notes that the row will be read. Rows that have ended become no tasks then,
// unless their last change is read alone.
func (j *job) readAgain() {
	if j.row == nil {
		return
	}
	status := jobStatuses[j.row.text("state")]
	j.must = j.told.exists() || status == "queued" || status == "running"
	if j.must || j.unread {
		j.pending = pendingRow
	}
}

// wantRead finds rows of which users were not told when all rows are said to have been
// read. A row whose last change was not readable may still be read alone.
func (f *jobFolder) wantRead(a *attachment, step jobStep) {
	for _, id := range slices.Sorted(maps.Keys(a.jobs)) {
		j := a.jobs[id]
		events, _ := j.foldPending()
		if j.pending != pendingRow || !j.must || j.unread || step.lost {
			continue
		}
		for _, e := range events {
			if at := f.loggedAt[eventOf(id, e)]; at == 0 || at > step.place {
				f.wrong(Violation{Property: "P2", User: e.user, Key: fmt.Sprintf("%s@%d", id, e.version),
					What: fmt.Sprintf("all rows of the attached table were read, and nobody was told %s of %s@%d", e.typ, id, e.version)})
			}
		}
	}
}

// jobRow is a row under the names that its columns had at first: a fault renames one.
func jobRow(r history.Row) task {
	row := maps.Clone(task(r.Columns))
	if total, renamed := row["amount"]; renamed {
		row["total"] = total
	}
	delete(row, "amount")
	return row
}

func (f *jobFolder) change(a *attachment, step jobStep) {
	id := jobPrefix + value(*step.row, "id")
	j := a.find(id)
	before := j.row
	j.place = step.place
	if f.again[step.place] {
		f.figures["attached_inserted_again"]++
		return
	}
	var after task
	deleted := step.row.Change == "DELETE"
	if !deleted {
		after = jobRow(*step.row)
	}
	defer func() { j.row = after }()
	switch {
	case a.state == "broken" && !deleted:
		f.settle(id, j, step)
		j.unread = true
		f.broken = append(f.broken, step.place)
	case a.state != "attached" && a.state != "broken":
		f.settle(id, j, step)
	case deleted:
		if j.told.exists() && !j.told.open() {
			f.figures["attached_cleaned"]++
		}
		f.apply(id, j, step, "", foldDelete)
	case step.row.Change == "UPDATE" && before.same(after, mappedColumns...):
	default:
		op := after.op()
		if before != nil && before.op() == op {
			op = "" // it is of an earlier write
		}
		if j.told.exists() && after.text("customer") != "" && after.text("customer") != j.told.owner {
			f.figures["attached_owners"]++
		}
		f.apply(id, j, step, op, func(was folded) ([]expected, folded) { return foldRow(was, after) })
		j.unread = false
	}
}

// apply expects the events of a captured change. If something is pending, users may
// have been told of that before.
func (f *jobFolder) apply(id string, j *job, step jobStep, op string, fold func(folded) ([]expected, folded)) {
	events, told := fold(j.told)
	if first, read := j.foldPending(); len(first) > 0 {
		then, toldThen := fold(read)
		switch both := f.areLogged(id, append(slices.Clone(first), then...)); {
		case step.lost: // both orders are allowed: a client may have seen either
			f.expectAll(id, append(first, events...), step, "")
			events, told = then, toldThen
		case both || !f.areLogged(id, events) && f.areLogged(id, first):
			f.expectAll(id, first, step, "")
			events, told = then, toldThen
		}
	}
	f.expectAll(id, events, step, op)
	j.told, j.pending, j.must = told, "", false
}

// settle decides, before a change that is not captured, whether users were told of what
// is pending.
func (f *jobFolder) settle(id string, j *job, step jobStep) {
	if events, told := j.foldPending(); len(events) > 0 && f.areLogged(id, events) {
		f.expectAll(id, events, step, "")
		j.told = told
	}
	j.pending, j.must = "", false
}

// foldPending returns the events of what is pending.
func (j *job) foldPending() ([]expected, folded) {
	switch {
	case j.pending == pendingRow && j.row != nil:
		return foldRow(j.told, j.row)
	case j.pending == pendingGone:
		return foldDelete(j.told)
	}
	return nil, j.told
}

// finish expects the events of what is still pending at the end.
func (f *jobFolder) finish(id string, j *job) {
	events, told := j.foldPending()
	if len(events) == 0 || !f.areLogged(id, events) && !(j.must && f.now.state == "attached") {
		return
	}
	f.expectAll(id, events, jobStep{place: j.place}, "")
	j.told = told
}

// areLogged reports whether the log has all the events.
func (f *jobFolder) areLogged(id string, events []expected) bool {
	return !slices.ContainsFunc(events, func(e expected) bool { return f.logged[eventOf(id, e)] == 0 })
}

func eventOf(id string, e expected) jobEvent {
	return jobEvent{e.user, id, e.typ, e.version, e.data}
}

func (f *jobFolder) expectAll(id string, events []expected, step jobStep, op string) {
	for _, e := range events {
		e.task, e.op, e.place, e.lost = id, op, step.place, step.lost
		if !step.lost {
			f.logged[eventOf(id, e)]--
			f.figures["attached_events"]++
		}
		f.expect(e)
	}
}

// checkTasks is P7 for what the API lists: at the end each task is what its owner was
// told.
func (f *jobFolder) checkTasks() {
	for _, id := range slices.Sorted(maps.Keys(f.now.jobs)) {
		told, is := f.now.jobs[id].told, f.attached[id]
		want := told.fields
		switch {
		case !told.exists() && is == nil:
			continue
		case told.exists() && is != nil && is.text("user_id") == told.owner && is.number("version") == told.version &&
			is.same(want, "status", "progress", "message", "kind", "error"):
			continue
		}
		f.wrong(Violation{Property: "P7", User: told.owner, Key: fmt.Sprintf("%s@%d", id, told.version),
			What: fmt.Sprintf("the task %s is %q with version %s of %q at the end, and should be %q with version %d of %q",
				id, is.text("status"), is.text("version"), is.text("user_id"), want.text("status"), told.version, told.owner)})
	}
}

// expectResets is P8 for the feed_reset frames that are events: changes must have been
// written before that could not be read. A user who was told of some is told again only
// of later ones.
func (f *jobFolder) expectResets() {
	for _, r := range f.log {
		if r.typ != typeReset {
			continue
		}
		if f.figures["reset_source_broken"]++; len(f.broken) == 0 {
			f.wrong(Violation{Property: "P8", ID: r.id, User: r.user,
				What: fmt.Sprintf("id %d tells %s that changes of an attached table could not be read, and all could be", r.id, r.user)})
		}
		f.expect(expected{op: r.key, user: r.user, typ: r.typ, lost: r.lost,
			data: hashData(map[string]any{"reason": "source_broken", "source": jobSource, "cursor": r.id})})
	}
}

package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// change is what the model knows of a captured change; times are by its clock.
type change struct {
	task      string
	captured  int
	committed int
}

// writer is one connection of the app.
type writer struct {
	conn    *pgx.Conn
	open    bool           // in a transaction
	pending map[int]change // of it, by the number of the write
	saves   []int          // open savepoints: the number of the next write when each was set
}

// machine runs transactions of several writers with moves in between, and keeps a model
// of the expected events.
type machine struct {
	ctx     context.Context
	session *store.Session
	lead    func() *store.Session // ends the session and leads with another one
	writers []*writer
	twoStep map[string]*writer // prepared transactions, by name; each as a writer without a connection
	prefix  string             // of this run's tasks
	holder  map[string]*writer // who has a task's row locked
	clock   int
	writes  int

	committed map[int]change
	moved     []int // numbers of the writes whose events came out, in order
	last      taskfeed.Cursor
}

const modelTasks = 4

func (m *machine) exec(t *rapid.T, w *writer, sql string, args ...any) {
	if _, err := w.conn.Exec(m.ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (m *machine) tick() int {
	m.clock++
	return m.clock
}

func (m *machine) pick(t *rapid.T, open bool) *writer {
	w := rapid.SampledFrom(m.writers).Draw(t, "writer")
	if w.open != open {
		t.Skip()
	}
	return w
}

func (m *machine) begin(t *rapid.T) {
	w := m.pick(t, false)
	m.exec(t, w, "BEGIN")
	if rapid.Bool().Draw(t, "takes its xid early") {
		m.exec(t, w, "SELECT pg_current_xact_id()")
	}
	w.open, w.pending, w.saves = true, map[int]change{}, nil
}

// write changes a row that no other writer has locked, in a transaction or not.
func (m *machine) write(t *rapid.T) {
	w := rapid.SampledFrom(m.writers).Draw(t, "writer")
	task := fmt.Sprint(m.prefix, rapid.IntRange(1, modelTasks).Draw(t, "task"))
	if h := m.holder[task]; h != nil && h != w {
		t.Skip()
	}
	m.writes++
	m.exec(t, w, `INSERT INTO taskfeed.tasks (id, user_id, message) VALUES ($1, 'alice', $2)
		ON CONFLICT (id) DO UPDATE SET message = excluded.message`, task, fmt.Sprint(m.writes))
	c := change{task: task, captured: m.tick()}
	if !w.open {
		c.committed = m.tick()
		m.committed[m.writes] = c
		return
	}
	w.pending[m.writes] = c
	m.holder[task] = w
}

func (m *machine) savepoint(t *rapid.T) {
	w := m.pick(t, true)
	m.exec(t, w, fmt.Sprint("SAVEPOINT s", len(w.saves)))
	w.saves = append(w.saves, m.writes+1)
}

func (m *machine) rollbackTo(t *rapid.T) {
	w := m.pick(t, true)
	if len(w.saves) == 0 {
		t.Skip()
	}
	n := rapid.IntRange(0, len(w.saves)-1).Draw(t, "savepoint")
	m.exec(t, w, fmt.Sprint("ROLLBACK TO s", n))
	for number := range w.pending {
		if number >= w.saves[n] {
			delete(w.pending, number)
		}
	}
	w.saves = w.saves[:n+1]
}

func (m *machine) end(t *rapid.T) {
	w := m.pick(t, true)
	if rapid.IntRange(0, 3).Draw(t, "rolls back") == 0 {
		m.rollback(t, w)
		return
	}
	m.commit(t, w)
}

func (m *machine) commit(t *rapid.T, w *writer) {
	m.exec(t, w, "COMMIT")
	m.note(w)
	m.close(w)
}

// note records what a writer has committed.
func (m *machine) note(w *writer) {
	now := m.tick()
	for number, c := range w.pending {
		c.committed = now
		m.committed[number] = c
	}
}

func (m *machine) rollback(t *rapid.T, w *writer) {
	m.exec(t, w, "ROLLBACK")
	m.close(w)
}

func (m *machine) close(w *writer) {
	w.open, w.pending, w.saves = false, nil, nil
	for task, h := range m.holder {
		if h == w {
			delete(m.holder, task)
		}
	}
}

// prepare leaves a transaction to be ended later.
func (m *machine) prepare(t *rapid.T) {
	w := m.pick(t, true)
	if len(m.twoStep) == 2 {
		t.Skip()
	}
	name := fmt.Sprint(m.prefix, m.tick())
	m.exec(t, w, "PREPARE TRANSACTION '"+name+"'")
	step := &writer{pending: w.pending}
	m.twoStep[name] = step
	for task, h := range m.holder {
		if h == w {
			m.holder[task] = step
		}
	}
	m.close(w)
}

func (m *machine) settle(t *rapid.T) {
	if len(m.twoStep) == 0 || !slices.ContainsFunc(m.writers, func(w *writer) bool { return !w.open }) {
		t.Skip()
	}
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(m.twoStep))).Draw(t, "prepared")
	m.settleOne(t, name, rapid.Bool().Draw(t, "commits"))
}

func (m *machine) settleOne(t *rapid.T, name string, commits bool) {
	free := m.writers[slices.IndexFunc(m.writers, func(w *writer) bool { return !w.open })]
	step := m.twoStep[name]
	delete(m.twoStep, name)
	if !commits {
		m.exec(t, free, "ROLLBACK PREPARED '"+name+"'")
	} else {
		m.exec(t, free, "COMMIT PREPARED '"+name+"'")
		m.note(step)
	}
	m.close(step)
}

// nextLeader crashes the leader, with or without a stored snapshot of its last look.
func (m *machine) nextLeader(t *rapid.T) {
	if rapid.Bool().Draw(t, "writes down its last look") {
		m.session.NoteNow()
		m.move(t)
	}
	if rapid.IntRange(0, 4).Draw(t, "crashes") == 0 { // the rest of the time it goes on: a crash takes long
		m.session = m.lead()
	}
}

func (m *machine) move(t *rapid.T) {
	m.session.SetPages(rapid.IntRange(1, 4).Draw(t, "page"), 2, 100)
	if err := m.session.AfterLook(m.ctx); err != nil {
		t.Fatalf("after the look before: %v", err)
	}
	m.compareLooks(t)
	moved, err := m.session.Move(m.ctx)
	if err != nil {
		t.Fatalf("move: %v", err)
	}
	m.take(t, moved.Events)
	if !moved.More {
		m.wantAll(t)
	}
}

func (m *machine) backlog(t *rapid.T) {
	m.session.SetPages(2, rapid.IntRange(1, 4).Draw(t, "page"), rapid.IntRange(3, 100).Draw(t, "most"))
	err := m.session.MoveBacklog(m.ctx, func(taskfeed.Moved) error {
		events, _, _, err := m.session.After(m.ctx, taskfeed.Filter{All: true}, m.last, 100)
		m.take(t, events)
		return err
	})
	if err != nil {
		t.Fatalf("move the backlog: %v", err)
	}
}

// take records the events of a move.
func (m *machine) take(t *rapid.T, events []taskfeed.Event) {
	for _, e := range events {
		var data struct {
			Message int `json:"message,string"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatalf("data of event %d: %v", e.ID, err)
		}
		if e.ID <= m.last {
			t.Fatalf("event %d came after event %d, want ascending ids", e.ID, m.last)
		}
		m.last = e.ID
		m.moved = append(m.moved, data.Message)
	}
}

// compareLooks fails unless the bounded look finds all changes that the full one does.
func (m *machine) compareLooks(t *rapid.T) {
	tx, err := m.session.Conn().BeginTx(m.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	defer tx.Rollback(m.ctx)
	bounded, err := store.Look(m.ctx, tx, m.session.Seen())
	if err != nil {
		t.Fatalf("look: %v", err)
	}
	full, err := store.Look(m.ctx, tx, store.SeenNothing)
	if err != nil {
		t.Fatalf("look: %v", err)
	}
	if !slices.Equal(bounded, full) {
		t.Fatalf("the look bounded by %s finds the changes %v, the full one %v", m.session.Seen(), bounded, full)
	}
}

// wantAll compares the events with what was committed: as sets, and in the order in
// which writers saw each other's changes.
func (m *machine) wantAll(t *rapid.T) {
	if len(m.moved) != len(m.committed) {
		t.Fatalf("%d events came out for %d committed changes", len(m.moved), len(m.committed))
	}
	for i, number := range m.moved {
		c, ok := m.committed[number]
		if !ok {
			t.Fatalf("the event of write %d came out, which was not committed", number)
		}
		for _, earlier := range m.moved[:i] {
			e := m.committed[earlier]
			switch {
			case earlier == number:
				t.Fatalf("the event of write %d came out twice", number)
			case e.task == c.task && e.captured > c.captured:
				t.Fatalf("writes %d and %d of one task came out inverted", number, earlier)
			case c.committed < e.captured:
				t.Fatalf("write %d was committed before write %d was made and came out after it", number, earlier)
			}
		}
	}
}

// finish commits what is open and moves the rest.
func (m *machine) finish(t *rapid.T) {
	for _, w := range m.writers {
		if w.open {
			m.commit(t, w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.twoStep)) {
		m.settleOne(t, name, true)
	}
	m.backlog(t)
	for {
		moved, err := m.session.Move(m.ctx)
		if err != nil {
			t.Fatalf("move: %v", err)
		}
		m.take(t, moved.Events)
		if !moved.More {
			break
		}
	}
	m.wantAll(t)
}

// TestSequencerModel checks moves against the model: nothing is lost, doubled or taken
// from a rollback; the changes of a task come out in their order, and a change comes
// after those that were committed before it was made, whoever leads. All runs share a
// database, so each begins with what the one before left there.
func TestSequencerModel(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var conns []*pgx.Conn
	for range 4 {
		conns = append(conns, pgtest.Connect(t, f.url))
	}
	takeOver(t, f.session, 0)
	lead := func() *store.Session {
		nextLeader(t, f)
		return f.session
	}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &machine{ctx: t.Context(), session: f.session, lead: lead, twoStep: map[string]*writer{}, prefix: fmt.Sprint("run", run, "-"),
			holder: map[string]*writer{}, committed: map[int]change{}}
		for _, conn := range conns {
			m.writers = append(m.writers, &writer{conn: conn})
		}
		defer func() { // a run that fails leaves the next one nothing but dead rows
			for _, conn := range conns {
				exec(t, conn, "ROLLBACK")
			}
			for name := range m.twoStep {
				exec(t, conns[0], "ROLLBACK PREPARED '"+name+"'")
			}
			moveAll(t, f.session)
		}()
		m.last = value[taskfeed.Cursor](t, f.app, "SELECT coalesce(max(id), 0) FROM taskfeed.events")
		rt.Repeat(map[string]func(*rapid.T){
			"begin": m.begin, "write": m.write, "write more": m.write, "savepoint": m.savepoint, "rollback to": m.rollbackTo,
			"end": m.end, "move": m.move, "backlog": m.backlog, "prepare": m.prepare, "settle": m.settle, "next leader": m.nextLeader,
		})
		m.finish(rt)
	})
}

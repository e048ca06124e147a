package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// modelRow is a row of the app's table; the model maps it without the product's
// code.
type modelRow struct {
	owners  []string
	state   string
	percent string
	note    string
}

var modelStatuses = map[string]string{"pending": "queued", "working": "running", "done": "completed", "error": "failed", "stopped": "canceled"}

// foldModel plays transactions of two writers on the table of an app, with moves and
// crashes in between, and knows what each user must have been told.
type foldModel struct {
	t       *testing.T
	f       *fixture
	writers []*pgx.Conn
	open    []bool
	locked  map[int]int // row: the writer that changed it
	dirty   [2]map[int]*modelRow
	rows    map[int]*modelRow // committed
	lead    func()
	base    int
}

func (m *foldModel) exec(t *rapid.T, w int, sql string, args ...any) {
	if _, err := m.writers[w].Exec(m.t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// row is the row as a writer sees it.
func (m *foldModel) row(w, id int) *modelRow {
	if r, ok := m.dirty[w][id]; ok {
		return r
	}
	return m.rows[id]
}

func (m *foldModel) begin(t *rapid.T) {
	w := rapid.IntRange(0, 1).Draw(t, "writer")
	if m.open[w] {
		t.Skip()
	}
	m.exec(t, w, "BEGIN")
	m.open[w] = true
}

func (m *foldModel) write(t *rapid.T) {
	w, id := rapid.IntRange(0, 1).Draw(t, "writer"), m.base+rapid.IntRange(1, 3).Draw(t, "row")
	if by, ok := m.locked[id]; ok && by != w {
		t.Skip()
	}
	was := m.row(w, id)
	if was != nil && rapid.IntRange(0, 3).Draw(t, "deletes") == 0 {
		m.exec(t, w, "DELETE FROM app.exports WHERE id = $1", id)
		m.note(w, id, nil)
		return
	}
	now := &modelRow{
		owners:  rapid.SampledFrom([][]string{{"alice"}, {"bob"}, {"alice", "bob"}, {"bob", "alice"}, nil}).Draw(t, "owners"),
		state:   rapid.SampledFrom([]string{"pending", "working", "working", "done", "error", "stopped", "hidden", "strange"}).Draw(t, "state"),
		percent: rapid.SampledFrom([]string{"0", "5", "50.4", "much"}).Draw(t, "percent"),
		note:    rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "note"),
	}
	m.exec(t, w, `INSERT INTO app.exports (id, owner, state, percent, note) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, state = excluded.state, percent = excluded.percent, note = excluded.note`,
		id, now.owners, now.state, now.percent, now.note)
	m.note(w, id, now)
}

// note keeps what a writer wrote until it commits.
func (m *foldModel) note(w, id int, r *modelRow) {
	m.locked[id] = w
	m.dirty[w][id] = r
	if !m.open[w] {
		m.settle(w, true)
	}
}

func (m *foldModel) end(t *rapid.T) {
	w := rapid.IntRange(0, 1).Draw(t, "writer")
	if !m.open[w] {
		t.Skip()
	}
	commits := rapid.IntRange(0, 3).Draw(t, "rolls back") > 0
	m.exec(t, w, map[bool]string{true: "COMMIT", false: "ROLLBACK"}[commits])
	m.settle(w, commits)
}

func (m *foldModel) settle(w int, commits bool) {
	for id, r := range m.dirty[w] {
		if commits {
			m.rows[id] = r
		}
		delete(m.locked, id)
	}
	m.open[w], m.dirty[w] = false, map[int]*modelRow{}
}

func (m *foldModel) move(t *rapid.T) {
	m.f.session.SetPages(rapid.IntRange(1, 5).Draw(t, "page"), 2, 100)
	if _, err := m.f.session.Move(m.t.Context()); err != nil {
		t.Fatalf("move: %v", err)
	}
}

func (m *foldModel) backlog(t *rapid.T) {
	m.f.session.SetPages(2, rapid.IntRange(1, 4).Draw(t, "page"), rapid.IntRange(3, 100).Draw(t, "most"))
	if err := m.f.session.MoveBacklog(m.t.Context(), func(taskfeed.Moved) error { return nil }); err != nil {
		t.Fatalf("move the backlog: %v", err)
	}
}

func (m *foldModel) crash(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "crashes") == 0 {
		m.lead()
	}
}

// told replays the log as clients would, for every user: what each has of each task.
func (m *foldModel) told(t *rapid.T) map[string]string {
	has, versions := map[string]string{}, map[string]int64{}
	for _, e := range readLog(m.t, m.f.store) {
		key := e.UserID + " " + e.TaskID
		if e.Version <= versions[key] {
			t.Fatalf("%s went from version %d to %d", key, versions[key], e.Version)
		}
		versions[key] = e.Version
		var data struct {
			Progress int    `json:"progress"`
			Message  string `json:"message"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatalf("data of event %d: %v", e.ID, err)
		}
		switch status := strings.TrimPrefix(string(e.Type), "task_"); status {
		case "deleted":
			delete(has, key)
			versions[key] = 0
		case "progress":
			status, _, _ := strings.Cut(has[key], " ")
			if status == "" {
				t.Fatalf("event %d is about progress of a task that %s does not have", e.ID, key)
			}
			has[key] = fmt.Sprint(status, " ", data.Progress, " ", data.Message)
		default:
			if status == "started" {
				status = "running"
			}
			next := fmt.Sprint(status, " ", data.Progress, " ", data.Message)
			if has[key] == next {
				t.Fatalf("event %d tells %s nothing new: %s", e.ID, key, next)
			}
			has[key] = next
		}
	}
	return has
}

// check compares what users have with what the rows say, where a row alone decides
// it: its status has a meaning.
func (m *foldModel) check(t *rapid.T) {
	for w := range m.writers {
		if m.open[w] {
			m.exec(t, w, "COMMIT")
			m.settle(w, true)
		}
	}
	for idle := 0; idle < 2; idle++ {
		moved, err := m.f.session.Move(m.t.Context())
		if err != nil {
			t.Fatalf("move: %v", err)
		}
		if moved.More || moved.Count > 0 {
			idle = -1
		}
	}
	has := m.told(t)
	for id, r := range m.rows {
		task := fmt.Sprint("exports:", id)
		for _, user := range []string{"alice", "bob"} {
			got, ok := has[user+" "+task]
			switch {
			case r == nil: // what a deletion means depends on what was: no open task stays
				if ok && (strings.HasPrefix(got, "queued") || strings.HasPrefix(got, "running")) {
					t.Fatalf("row %d is gone and %s has %s", id, user, got)
				}
			case modelStatuses[r.state] == "": // users keep what they have
			case slices.Contains(r.owners, user) != ok:
				t.Fatalf("row %d is %v's, and it is %t that %s has the task", id, r.owners, ok, user)
			case ok:
				parts := strings.SplitN(got, " ", 3)
				if parts[0] != modelStatuses[r.state] || parts[2] != r.note {
					t.Fatalf("row %d is %+v, and %s has %q", id, *r, user, got)
				}
				if want := map[string]string{"0": "0", "5": "5", "50.4": "50"}[r.percent]; want != "" && parts[1] != want {
					t.Fatalf("row %d is %+v, and %s has %q", id, *r, user, got)
				}
			}
		}
	}
	m.compareTable(t, has)
}

// compareTable holds the table of tasks to what users were told.
func (m *foldModel) compareTable(t *rapid.T, has map[string]string) {
	rows, _ := m.f.app.Query(m.t.Context(), `
		SELECT concat_ws(' ', u, id, status, progress) || ' ' || coalesce(message, '')
		FROM taskfeed.tasks, unnest(coalesce(owners, ARRAY[user_id])) AS u`)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("read the tasks: %v", err)
	}
	var want []string
	for key, state := range has {
		want = append(want, key+" "+state)
	}
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Fatalf("tasks:\n%q\nand users were told\n%q", got, want)
	}
}

// TestFoldModel checks folding against a model that maps rows on its own: whatever
// writers do and whenever the sequencer moves or crashes, what users were told is in
// the end what the rows say, and the table of tasks agrees. No event says nothing.
func TestFoldModel(t *testing.T) {
	t.Parallel()
	f := attached(t, exportsMapping)
	takeOver(t, f.session, 0)
	conns := []*pgx.Conn{pgtest.Connect(t, f.url), pgtest.Connect(t, f.url)}
	base := 0
	rapid.Check(t, func(rt *rapid.T) {
		base += 10
		m := &foldModel{t: t, f: f, writers: conns, open: make([]bool, 2), locked: map[int]int{}, rows: map[int]*modelRow{}, base: base,
			dirty: [2]map[int]*modelRow{{}, {}}, lead: func() { nextLeader(t, f) }}
		defer func() {
			for _, conn := range conns {
				exec(t, conn, "ROLLBACK")
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"begin": m.begin, "write": m.write, "write more": m.write, "write even more": m.write, "end": m.end, "move": m.move, "backlog": m.backlog, "crash": m.crash,
		})
		m.check(rt)
	})
}

package history_test

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// Bad input 43, 45 and 47: each query is refused with the name of the field, before the
// database is asked.
func TestBadQueries(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{URL: "postgres://nobody@127.0.0.1:1/nowhere"})
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	long := strings.Repeat("x", 256)
	for field, queries := range map[string][]history.TaskQuery{
		"limit":          {{}, {Limit: -1}, {Limit: 501}, {Limit: 1_000_000_000}},
		"sort":           {{Limit: 1, Sort: "name"}, {Limit: 1, Sort: history.SortID}, {Limit: 1, Sort: "created; DROP TABLE tasks"}},
		"status":         {{Limit: 1, Statuses: []taskfeed.Status{"done"}}, {Limit: 1, Statuses: []taskfeed.Status{taskfeed.StatusQueued, ""}}},
		"user_id":        {{Limit: 1, UserID: "a\x00"}, {Limit: 1, UserID: "\xff"}, {Limit: 1, UserID: long}},
		"kind":           {{Limit: 1, Kind: "a\x00"}, {Limit: 1, Kind: long}},
		"q":              {{Limit: 1, Text: "a\x00"}, {Limit: 1, Text: "\xff"}, {Limit: 1, Text: long}},
		"created_after":  {{Limit: 1, Created: history.TimeRange{From: year(2027), To: year(2026)}}, {Limit: 1, Created: history.TimeRange{From: year(0)}}},
		"created_before": {{Limit: 1, Created: history.TimeRange{To: year(10_000)}}},
		"updated_after":  {{Limit: 1, Updated: history.TimeRange{From: year(2027), To: year(2026)}}, {Limit: 1, Updated: history.TimeRange{From: year(99_999)}}},
		"updated_before": {{Limit: 1, Updated: history.TimeRange{To: year(-1)}}},
		"after":          {{Limit: 1, After: "x"}, {Limit: 1, After: "12"}, {Limit: 1, After: strings.Repeat("A", 100_000)}, {Limit: 1, After: "é\x00"}},
	} {
		for i, q := range queries {
			_, err := s.ListTasks(t.Context(), q)
			wantRefused(t, fmt.Sprintf("tasks, %s %d", field, i), field, err)
		}
	}
	for field, queries := range map[string][]history.EventQuery{
		"limit":         {{}, {Limit: -1}, {Limit: 501}},
		"sort":          {{Limit: 1, Sort: history.SortCreated}, {Limit: 1, Sort: "type"}},
		"type":          {{Limit: 1, Types: []taskfeed.Type{"\xff"}}, {Limit: 1, Types: make([]taskfeed.Type, 101)}},
		"user_id":       {{Limit: 1, UserID: "a\x00"}},
		"task_id":       {{Limit: 1, TaskID: long}},
		"created_after": {{Limit: 1, Time: history.TimeRange{From: year(2027), To: year(2026)}}},
		"after":         {{Limit: 1, After: "-1"}},
	} {
		for i, q := range queries {
			_, err := s.ListEvents(t.Context(), q)
			wantRefused(t, fmt.Sprintf("events, %s %d", field, i), field, err)
		}
	}
	_, err := s.TaskEvents(t.Context(), "t", "", 0)
	wantRefused(t, "timeline", "limit", err)
	_, err = s.TaskEvents(t.Context(), "t", "x", 1)
	wantRefused(t, "timeline", "after", err)
	_, err = s.TaskEvents(t.Context(), long, "", 1)
	wantRefused(t, "timeline", "task_id", err)
	_, err = s.StalledTasks(t.Context(), 0)
	wantRefused(t, "stats", "stalled_after", err)
	for _, err := range s.ExportTasks(t.Context(), history.TaskQuery{Sort: "name"}) {
		wantRefused(t, "export", "sort", err)
	}
}

// Bad input 46, for filters that are compared as a whole; TestListTasksAgainstModel
// does so for parts of texts.
func TestSQLIsData(t *testing.T) {
	t.Parallel()
	f := setup(t)
	add(t, f.app, "x")
	moveAll(t, f.session)
	for _, odd := range oddTexts[1:] {
		if got := listTasks(t, f.history, history.TaskQuery{UserID: odd, Limit: 1}, func() {}); len(got) > 0 {
			t.Errorf("tasks of user %q: got %v, want none", odd, taskIDs(got))
		}
		if got := listTasks(t, f.history, history.TaskQuery{Kind: odd, Limit: 1}, func() {}); len(got) > 0 {
			t.Errorf("tasks of kind %q: got %v, want none", odd, taskIDs(got))
		}
		if got := listEvents(t, f.history, history.EventQuery{UserID: odd, Types: []taskfeed.Type{taskfeed.Type(odd)}, Limit: 1}, func() {}); len(got) > 0 {
			t.Errorf("events of user and type %q: got %v, want none", odd, eventIDs(got))
		}
		_, err := f.history.TaskEvents(t.Context(), odd, "", 1)
		wantCode(t, err, taskfeed.CodeNotFound)
	}
	if got := taskIDs(table(t, f.history)); !slices.Equal(got, []string{"x"}) {
		t.Errorf("tasks: got %q, want x alone", got)
	}
}

// A page token is valid for its own list only.
func TestPageTokens(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, store.Config{URL: url})
	conn := pgtest.Connect(t, url)
	addMany(t, conn, "t", 5)
	insertEvents(t, conn, []taskfeed.Event{{ID: 1, TaskID: "t1", Type: "a", Data: []byte("{}"), Timestamp: epoch}, {ID: 2, TaskID: "t1", Type: "a", Data: []byte("{}"), Timestamp: epoch}})
	own := history.TaskQuery{Statuses: []taskfeed.Status{"queued", "running"}, UserID: "alice", Created: history.TimeRange{From: epoch}, Limit: 2}
	page, err := s.ListTasks(t.Context(), own)
	if err != nil || page.Next == "" {
		t.Fatalf("first page: got next %q, error %v, want a token", page.Next, err)
	}
	events, err := s.ListEvents(t.Context(), history.EventQuery{Limit: 1})
	if err != nil || events.Next == "" {
		t.Fatalf("first page of events: got next %q, error %v, want a token", events.Next, err)
	}
	try := func(change func(q *history.TaskQuery)) error {
		q := own
		q.After = page.Next
		change(&q)
		_, err := s.ListTasks(t.Context(), q)
		return err
	}
	for name, same := range map[string]func(q *history.TaskQuery){
		"another limit":                       func(q *history.TaskQuery) { q.Limit = 3 },
		"statuses in another order and twice": func(q *history.TaskQuery) { q.Statuses = []taskfeed.Status{"running", "queued", "running"} },
		"a time in another zone":              func(q *history.TaskQuery) { q.Created.From = epoch.In(time.FixedZone("", 3600)) },
		"the default sort by name":            func(q *history.TaskQuery) { q.Sort = history.SortCreatedDesc },
	} {
		if err := try(same); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
	for name, other := range map[string]func(q *history.TaskQuery){
		"another user":       func(q *history.TaskQuery) { q.UserID = "bob" },
		"fewer statuses":     func(q *history.TaskQuery) { q.Statuses = q.Statuses[:1] },
		"another range":      func(q *history.TaskQuery) { q.Created.To = epoch.AddDate(1, 0, 0) },
		"the other range":    func(q *history.TaskQuery) { q.Created, q.Updated = q.Updated, q.Created },
		"another sort":       func(q *history.TaskQuery) { q.Sort = history.SortUpdatedDesc },
		"another direction":  func(q *history.TaskQuery) { q.Sort = history.SortCreated },
		"another text":       func(q *history.TaskQuery) { q.Text = "x" },
		"a token of events":  func(q *history.TaskQuery) { q.After = events.Next },
		"padding":            func(q *history.TaskQuery) { q.After += "=" },
		"a letter too many":  func(q *history.TaskQuery) { q.After += "A" },
		"half a token":       func(q *history.TaskQuery) { q.After = q.After[:len(q.After)/2] },
		"a line break in it": func(q *history.TaskQuery) { q.After = q.After[:8] + "\n" + q.After[8:] },
	} {
		wantRefused(t, name, "after", try(other))
	}
	t.Run("an altered token is refused or leads elsewhere", rapid.MakeCheck(func(t *rapid.T) {
		token, _ := base64.RawURLEncoding.DecodeString(page.Next)
		token = slices.Replace(token, rapid.IntRange(0, len(token)).Draw(t, "from"), len(token), rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "rest")...)
		err := try(func(q *history.TaskQuery) { q.After = base64.RawURLEncoding.EncodeToString(token) })
		if err != nil && taskfeed.CodeOf(err) != taskfeed.CodeBadRequest {
			t.Fatalf("got %v, want no error or %s", err, taskfeed.CodeBadRequest)
		}
	}))
}

// Rows are written and deleted between pages: every row that exists throughout is shown
// exactly once.
func TestPagesAreStable(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const kept = `SELECT format('kept%s', i), 'alice', (ARRAY['running', 'queued'])[1 + i % 2], timestamptz '2026-11-22 10:00:00Z' + i / 4 * interval '1 minute' FROM generate_series(10, 49) AS i`
	churn := func() {
		exec(t, f.app, "DELETE FROM taskfeed.tasks WHERE id IN (SELECT id FROM taskfeed.tasks WHERE id LIKE 'new%' ORDER BY random() LIMIT 4)")
		exec(t, f.app, `INSERT INTO taskfeed.tasks (user_id, status, id, created_at)
			SELECT 'alice', 'running', 'new' || gen_random_uuid(), timestamptz '2026-11-22 09:58:00Z' + floor(random() * 20) * interval '1 minute'
			FROM generate_series(1, 6)`)
	}
	exec(t, f.app, "INSERT INTO taskfeed.tasks (id, user_id, status, created_at) "+kept)
	moveAll(t, f.session)
	for _, q := range []history.TaskQuery{{}, {UserID: "alice"}, {Statuses: []taskfeed.Status{"running", "queued"}}, {Sort: history.SortCreated},
		{Text: "e", Sort: history.SortCreated}, {Created: history.TimeRange{From: epoch}}} {
		q.Limit = 9
		wantOnce(t, fmt.Sprintf("%+v", q), 40, taskIDs(listTasks(t, f.history, q, churn)))
	}
	moveAll(t, f.session)
	for _, q := range []history.EventQuery{{}, {Sort: history.SortID}, {UserID: "alice", IncludeBroadcast: true}, {Time: history.TimeRange{From: epoch.AddDate(-1, 0, 0)}}} {
		q.Limit, q.Types = 50, []taskfeed.Type{taskfeed.TypeTaskQueued, taskfeed.TypeTaskStarted}
		wantOnce(t, fmt.Sprintf("%+v", q), 40, tasksOf(listEvents(t, f.history, q, func() {
			exec(t, f.app, "SELECT taskfeed.broadcast('notice') FROM generate_series(1, 3)")
			moveAll(t, f.session)
		})))
	}
}

// wantOnce fails unless no id comes twice and n begin with "kept".
func wantOnce(t *testing.T, name string, n int, ids []string) {
	t.Helper()
	seen := map[string]bool{}
	kept := 0
	for _, id := range ids {
		if seen[id] {
			t.Errorf("%s: %s is shown twice", name, id)
		}
		seen[id] = true
		if strings.HasPrefix(id, "kept") {
			kept++
		}
	}
	if kept != n {
		t.Errorf("%s: got %d of what is there throughout, want %d", name, kept, n)
	}
}

// Pages end before they are large.
func TestLargeItems(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, "ALTER TABLE taskfeed.tasks ALTER COLUMN result SET STORAGE EXTERNAL") // uncompressed
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, result)
		SELECT i, 'alice', to_jsonb(repeat('x', 900000))
		FROM generate_series(1, 9) AS i`)
	pages := 0
	all := allPages(t, 500, func() {}, func(after string) ([]taskfeed.Task, string, error) {
		page, err := f.history.ListTasks(t.Context(), history.TaskQuery{Sort: history.SortCreated, After: after, Limit: 500})
		bytes := 0
		for _, task := range page.Items[:max(len(page.Items)-1, 0)] {
			bytes += len(task.Result)
		}
		if bytes > history.MaxListBytes {
			t.Errorf("page %d: got %d bytes before the last item, want at most %d", pages, bytes, history.MaxListBytes)
		}
		pages++
		return page.Items, page.Next, err
	})
	if ids := strings.Join(taskIDs(all), ""); ids != "123456789" || pages < 2 {
		t.Errorf("got tasks %s in %d pages, want 123456789 in several", ids, pages)
	}
	if got := taskIDs(exported(t, f.history.ExportTasks(t.Context(), history.TaskQuery{Sort: history.SortCreated}))); strings.Join(got, "") != "123456789" {
		t.Errorf("export: got %q, want 123456789", got)
	}
}

// TestLargeFieldsInLists is bad input 2 as lists show it: what is too large or too
// deep is left out and named, and the task by itself is whole.
func TestLargeFieldsInLists(t *testing.T) {
	t.Parallel()
	f := setup(t)
	nested := func(levels int) string {
		return fmt.Sprintf(`(repeat('{"a\"[":[', %[1]d) || repeat(']}', %[1]d))::jsonb`, levels/2)
	}
	for i, c := range []struct{ storage, message, result, fault, cut string }{
		{"EXTENDED", "NULL", "NULL", "NULL", ""},
		{"EXTENDED", "'m'", `'"null"'`, "'e'", ""},
		{"EXTENDED", "'m'", "to_jsonb(repeat('x', 1000000))", "repeat('e', 1000000)", ""},
		{"EXTENDED", "'m'", "to_jsonb(repeat('x', 5000000))", "'e'", "result"},
		{"EXTERNAL", "'m'", "to_jsonb(repeat('x', 5000000))", "'e'", "result"},
		{"EXTERNAL", "repeat('m', 1100000)", "to_jsonb(repeat('x', 1040000))", "repeat('e', 1100000)", "message error"},
		{"EXTENDED", "'m'", nested(512), "'e'", ""},
		{"EXTENDED", "'m'", nested(514), "'e'", "result"},
		{"EXTENDED", "'m'", nested(10_000), "'e'", "result"},
		{"EXTENDED", "'m'", `to_jsonb(repeat('[', 600))`, "'e'", ""},
	} {
		id := fmt.Sprint(i)
		for _, column := range []string{"message", "result", "error"} {
			exec(t, f.app, "ALTER TABLE taskfeed.tasks ALTER COLUMN "+column+" SET STORAGE "+c.storage)
		}
		exec(t, f.app, fmt.Sprintf("INSERT INTO taskfeed.tasks (id, user_id, status, message, result, error) VALUES ('%s', 'alice', 'running', %s, %s, %s)", id, c.message, c.result, c.fault))
		found, err := f.history.FindTask(t.Context(), id)
		whole := found.Task
		if err != nil || whole.Truncated != nil {
			t.Fatalf("task %s: truncated %q, error %v, want it whole", id, whole.Truncated, err)
		}
		page, err := f.history.ListTasks(t.Context(), history.TaskQuery{Limit: 1})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != id {
			t.Fatalf("list: got %d tasks, error %v, want task %s", len(page.Items), err, id)
		}
		listed := page.Items[0]
		if got := strings.Join(listed.Truncated, " "); got != c.cut {
			t.Errorf("task %s: %q is left out, want %q", id, got, c.cut)
		}
		for _, name := range listed.Truncated {
			switch name {
			case "message":
				whole.Message = ""
			case "result":
				whole.Result = nil
			case "error":
				whole.Error = ""
			}
		}
		if listed.Truncated = nil; !reflect.DeepEqual(listed, whole) {
			t.Errorf("task %s in a list: got message, result and error of %d, %d and %d bytes, version %d; want %d, %d and %d, version %d, and all else equal too", id,
				len(listed.Message), len(listed.Result), len(listed.Error), listed.Version, len(whole.Message), len(whole.Result), len(whole.Error), whole.Version)
		}
	}
	stalled, err := f.history.StalledTasks(t.Context(), time.Nanosecond)
	if err != nil || len(stalled) == 0 {
		t.Errorf("stalled: got %d tasks, error %v, want some", len(stalled), err)
	}
}

// Bad input 51: the error of a read that takes too long says what to do, and that of an
// export where to resume.
func TestLateReads(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn, other := pgtest.Connect(t, url), pgtest.Connect(t, url)
	addMany(t, conn, "t", history.ExportLimit+10)
	r := open(t, store.Config{URL: url, ReadTimeout: 3 * time.Second, LockTimeout: time.Minute})
	var read []taskfeed.Task
	var late error
	for task, err := range r.ExportTasks(t.Context(), history.TaskQuery{}) {
		if late = err; err != nil {
			break
		}
		if read = append(read, task); len(read) == history.ExportLimit {
			exec(t, other, "BEGIN; LOCK TABLE taskfeed.tasks")
		}
	}
	exec(t, other, "ROLLBACK")
	_, after, found := strings.Cut(fmt.Sprint(late), "after=")
	if taskfeed.CodeOf(late) != taskfeed.CodeUnavailable || !mention(late, "took too long", "narrow the filter") || !found {
		t.Fatalf("got %v after %d tasks, want %s with advice", late, len(read), taskfeed.CodeUnavailable)
	}
	after, _, _ = strings.Cut(after, ":")
	read = append(read, exported(t, open(t, store.Config{URL: url}).ExportTasks(t.Context(), history.TaskQuery{After: after}))...)
	if ids := slices.Compact(slices.Sorted(slices.Values(taskIDs(read)))); len(ids) != history.ExportLimit+10 || len(read) != len(ids) {
		t.Errorf("got %d tasks, %d different ones, when gone on, want %d", len(read), len(ids), history.ExportLimit+10)
	}
}

// The history can be read on a standby and under default_transaction_read_only.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	f := setup(t)
	add(t, f.app, "x")
	moveAll(t, f.session)
	exec(t, f.app, "ALTER DATABASE "+value[string](t, f.app, "SELECT quote_ident(current_database())")+" SET default_transaction_read_only = on")
	s := openStore(t, store.Config{URL: f.url})
	r := history.New(s.Queries())
	if got := taskIDs(table(t, r)); !slices.Equal(got, []string{"x"}) {
		t.Errorf("tasks: got %q, want x", got)
	}
	if _, err := r.TaskEvents(t.Context(), "x", "", 1); err != nil {
		t.Errorf("timeline: %v", err)
	}
	if _, err := r.Stats(t.Context()); err != nil {
		t.Errorf("stats: %v", err)
	}
	wantCode(t, s.Command(t.Context(), taskfeed.CommandDisconnectUser, "alice"), taskfeed.CodeUnavailable)
}

// The history can be read through a pooler that shares sessions.
func TestPooledHistory(t *testing.T) {
	t.Parallel()
	f := setup(t)
	add(t, f.app, "x")
	moveAll(t, f.session)
	separator := "?"
	if strings.Contains(f.url, "?") {
		separator = "&"
	}
	s := openStore(t, store.Config{URL: f.url, ListenURL: f.url + separator + "application_name=direct"})
	r := history.New(s.Queries())
	if got := taskIDs(table(t, r)); !slices.Equal(got, []string{"x"}) {
		t.Errorf("tasks: got %q, want x", got)
	}
	timeline, err := r.TaskEvents(t.Context(), "x", "", 1)
	if err != nil || len(timeline.Items) != 1 {
		t.Errorf("timeline: got %v, error %v, want one event", timeline.Items, err)
	}
	if err := s.Command(t.Context(), taskfeed.CommandDisconnectUser, "alice"); err != nil {
		t.Errorf("command: %v", err)
	}
	if got, err := s.CommandsAfter(t.Context(), 0); err != nil || len(got) != 1 || got[0].Argument != "alice" {
		t.Errorf("commands: got %v, error %v, want one for alice", got, err)
	}
}

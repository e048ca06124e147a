package store_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// A surface is one thing that store or history does; it returns what it read, in a form
// that does not depend on the time.
type surface struct {
	name string
	run  func(ctx context.Context, w *world) (any, error)
}

// world is a database with the changes of an app whose users and texts are not ASCII.
type world struct {
	*fixture
	at time.Time // created_at of its tasks
}

const (
	zoe    = "zoë"
	zoeTwo = "zoÃ«" // what zoë becomes when UTF-8 is read as LATIN1
)

// surfaces is everything that store and history do.
func surfaces() []surface {
	return slices.Concat(sessionSurfaces(), feedSurfaces(), listSurfaces(), checkSurfaces())
}

func sessionSurfaces() []surface {
	return []surface{
		{"lead", func(ctx context.Context, w *world) (any, error) { return w.session.TryLead(ctx) }},
		{"take over", func(ctx context.Context, w *world) (any, error) { return w.session.TakeOver(ctx, 0) }},
		{"lineage", func(ctx context.Context, w *world) (any, error) {
			_, epoch, err := w.session.Lineage(ctx)
			return epoch, err
		}},
		{"listen and arm", func(ctx context.Context, w *world) (any, error) {
			if err := w.session.Listen(ctx); err != nil {
				return nil, err
			}
			armed, err := w.session.Arm(ctx)
			if err != nil {
				return nil, err
			}
			return armed, w.session.Disarm(ctx)
		}},
		{"move", func(ctx context.Context, w *world) (any, error) { m, err := w.session.Move(ctx); return m.Count, err }},
		{"after a look", func(ctx context.Context, w *world) (any, error) {
			w.session.NoteNow()
			w.session.SearchNow()
			return nil, w.session.AfterLook(ctx)
		}},
		{"make partitions", func(ctx context.Context, w *world) (any, error) { return nil, w.session.Maintain(ctx, time.Hour) }},
		{"move a backlog", func(ctx context.Context, w *world) (any, error) {
			const more = "INSERT INTO taskfeed.tasks (id, user_id, message, created_at) SELECT pg_catalog.format('more %s', i), 'alice', '\u20ac', $1 FROM pg_catalog.generate_series(1, 7) AS i"
			if _, err := w.app.Exec(ctx, more, w.at); err != nil {
				return nil, err
			}
			n := 0
			err := w.session.MoveBacklog(ctx, func(m taskfeed.Moved) error { n += m.Count; return nil })
			return n, err
		}},
		{"follow", func(ctx context.Context, w *world) (any, error) {
			if err := w.session.Follow(ctx); err != nil {
				return nil, err
			}
			return nil, w.session.Unfollow(ctx)
		}},
		{"end a stalled leader", func(ctx context.Context, w *world) (any, error) { return w.session.EndStalledLeader(ctx) }},
		{"read over the session", func(ctx context.Context, w *world) (any, error) {
			if _, err := w.session.LastID(ctx); err != nil {
				return nil, err
			}
			events, _, _, err := w.session.After(ctx, taskfeed.Filter{UserID: zoe}, 0, 100)
			return eventsOf(events), err
		}},
	}
}

func feedSurfaces() (all []surface) {
	for name, f := range map[string]taskfeed.Filter{
		"a user's": {UserID: zoe}, "another's": {UserID: zoeTwo}, "all": {All: true}, "some types": {UserID: zoe, Types: []taskfeed.Type{taskfeed.TypeTaskCompleted}},
		"a task": {UserID: zoe, TaskID: "t €"}, "a task of all": {All: true, TaskID: "t €"},
	} {
		all = append(all, surface{"replay of " + name, func(ctx context.Context, w *world) (any, error) {
			events, _, more, err := w.store.After(ctx, f, 0, 100)
			return fmt.Sprint(eventsOf(events), more), err
		}})
	}
	return append(all,
		surface{"head", func(ctx context.Context, w *world) (any, error) { return w.store.Head(ctx) }},
		surface{"a page with the state of the log", func(ctx context.Context, w *world) (any, error) {
			_, events, _, _, err := w.store.AfterState(ctx, taskfeed.Filter{UserID: zoe}, 0, 100)
			return eventsOf(events), err
		}},
		surface{"state of the log", func(ctx context.Context, w *world) (any, error) {
			state, err := w.store.LogState(ctx)
			return state.Last, err
		}},
		surface{"last id", func(ctx context.Context, w *world) (any, error) { return w.store.LastID(ctx) }})
}

func listSurfaces() (all []surface) {
	for _, q := range taskQueries() {
		all = append(all, surface{fmt.Sprintf("tasks %+v", q), func(ctx context.Context, w *world) (any, error) {
			if !q.Created.From.IsZero() {
				q.Created.From, q.Created.To = w.at.Add(-time.Minute), w.at.Add(time.Minute)
			}
			page, err := w.history().ListTasks(ctx, q)
			if err == nil && page.Next != "" {
				q.After = page.Next
				_, err = w.history().ListTasks(ctx, q)
			}
			return rowsOf(page.Items), err
		}})
	}
	for _, q := range eventQueries() {
		all = append(all, surface{fmt.Sprintf("events %+v", q), func(ctx context.Context, w *world) (any, error) {
			page, err := w.history().ListEvents(ctx, q)
			if err == nil && page.Next != "" {
				q.After = page.Next
				_, err = w.history().ListEvents(ctx, q)
			}
			return eventsOf(page.Items), err
		}})
	}
	return append(all,
		surface{"a task", func(ctx context.Context, w *world) (any, error) {
			task, err := w.history().FindTask(ctx, "t €")
			return rowsOf([]taskfeed.Task{task.Task}), err
		}},
		surface{"an own task", func(ctx context.Context, w *world) (any, error) {
			task, err := w.history().FindUserTask(ctx, []string{zoe}, "t €")
			return rowsOf([]taskfeed.Task{task.Task}), err
		}},
		surface{"the text of a task", func(ctx context.Context, w *world) (any, error) {
			task, err := w.history().FindUserTask(ctx, []string{zoe}, "t €")
			if err != nil {
				return nil, err
			}
			for _, err = range w.history().TaskText(ctx, &task, history.LargeField{Name: "result", Mark: 1}) {
				break // there is no text with this mark
			}
			return taskfeed.CodeOf(err), nil
		}},
		surface{"a timeline", func(ctx context.Context, w *world) (any, error) {
			line, err := w.history().UserTaskEvents(ctx, []string{zoe}, "t €", "", 2)
			if err != nil {
				return nil, err
			}
			if _, err := w.history().TaskEvents(ctx, "t €", "", 2); err != nil {
				return nil, err
			}
			more, err := w.history().UserTaskEvents(ctx, []string{zoe}, "t €", line.Next, 2)
			return fmt.Sprint(line.Summary.Events, line.Summary.Attempts, eventsOf(line.Items), eventsOf(more.Items)), err
		}},
		surface{"statistics", func(ctx context.Context, w *world) (any, error) {
			stats, err := w.history().Stats(ctx)
			return fmt.Sprint(stats.Counts, len(stats.PerMinute)), err
		}},
		surface{"stalled tasks", func(ctx context.Context, w *world) (any, error) {
			stalled, err := w.history().StalledTasks(ctx, time.Nanosecond)
			return fmt.Sprint(len(stalled)), err
		}},
		surface{"export of tasks", func(ctx context.Context, w *world) (any, error) {
			return drained(w.history().ExportTasks(ctx, history.TaskQuery{UserID: zoe}))
		}},
		surface{"export of events", func(ctx context.Context, w *world) (any, error) {
			return drained(w.history().ExportEvents(ctx, history.EventQuery{UserID: zoe}))
		}})
}

func taskQueries() (queries []history.TaskQuery) {
	for _, sort := range []history.Sort{history.SortCreated, history.SortCreatedDesc, history.SortUpdated, history.SortUpdatedDesc} {
		for _, q := range []history.TaskQuery{
			{}, {UserID: zoe}, {Statuses: []taskfeed.Status{taskfeed.StatusCompleted, taskfeed.StatusQueued}}, {UserID: zoe, Statuses: []taskfeed.Status{taskfeed.StatusCompleted}},
			{Kind: "käse", Text: "€"}, {Created: history.TimeRange{From: time.Unix(1, 0)}},
		} {
			q.Sort, q.Limit = sort, 2
			queries = append(queries, q)
		}
	}
	return queries
}

func eventQueries() (queries []history.EventQuery) {
	for _, sort := range []history.Sort{history.SortID, history.SortIDDesc} {
		for _, q := range []history.EventQuery{
			{}, {UserID: zoe, IncludeBroadcast: true}, {TaskID: "t €"}, {TaskID: "t €", UserID: zoe}, {Types: []taskfeed.Type{taskfeed.TypeTaskProgress}},
		} {
			q.Sort, q.Limit = sort, 2
			queries = append(queries, q)
		}
	}
	return queries
}

func checkSurfaces() []surface {
	return []surface{
		{"ping", func(ctx context.Context, w *world) (any, error) { return nil, w.store.Ping(ctx) }},
		{"figures", func(ctx context.Context, w *world) (any, error) {
			f, err := w.store.Figures(ctx)
			return fmt.Sprint(f.BufferDepth), err
		}},
		{"temp file limit", func(ctx context.Context, w *world) (any, error) { return w.store.TempFileLimit(ctx) }},
		{"hazards", func(ctx context.Context, w *world) (any, error) {
			found, err := w.store.Hazards(ctx)
			return fmt.Sprint(found), err
		}},
		{"capturing", func(ctx context.Context, w *world) (any, error) { return w.store.Capturing(ctx) }},
		{"commands", func(ctx context.Context, w *world) (any, error) {
			last, err := w.store.LastCommand(ctx)
			if err != nil {
				return nil, err
			}
			if err := w.store.Command(ctx, taskfeed.CommandDisconnectUser, zoe); err != nil {
				return nil, err
			}
			commands, err := w.store.CommandsAfter(ctx, last)
			return fmt.Sprint(len(commands) == 1 && commands[0].Argument == zoe), err
		}},
		{"forward", func(ctx context.Context, w *world) (any, error) { return forwardOnce(ctx, w) }},
		{"check of listening", func(ctx context.Context, w *world) (any, error) { return nil, w.store.CheckListen(ctx) }},
	}
}

// forwardOnce takes a forward, moves it, and has a failure.
func forwardOnce(ctx context.Context, w *world) (any, error) {
	const name, holder = "surface", "a"
	start, taken, err := w.store.TakeForward(ctx, name, holder, 1, time.Hour)
	if err != nil {
		return nil, err
	}
	moved, err := w.store.MoveForward(ctx, name, holder, 2, 0, time.Hour)
	if err != nil {
		return nil, err
	}
	if _, err := w.store.AddForwardFailure(ctx, name, holder, store.ForwardFailure{EventID: 2, UserID: zoe, Type: "x", Body: "{}", Tries: 1, Reason: zoe}); err != nil {
		return nil, err
	}
	if err := w.store.RetriedForwardFailure(ctx, name, 2, zoe); err != nil {
		return nil, err
	}
	failures, err := w.store.ForwardFailures(ctx, name, 0, 10)
	if err != nil {
		return nil, err
	}
	if err := w.store.DropForwardFailure(ctx, name, 2); err != nil {
		return nil, err
	}
	got := fmt.Sprint(start > 0, taken, moved, len(failures), failures[0].UserID, failures[0].Tries, failures[0].Reason)
	return got, w.store.ReleaseForward(ctx, name, holder)
}

func drained[T any](items iter.Seq2[T, error]) (n int, err error) {
	for _, err := range items {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func eventsOf(events []taskfeed.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%q %q %s %d %s;", e.UserID, e.TaskID, e.Type, e.Version, e.Data)
	}
	return b.String()
}

func rowsOf(tasks []taskfeed.Task) string {
	var b strings.Builder
	for _, t := range tasks {
		fmt.Fprintf(&b, "%q %q %s %s %d %q %q %s %v;", t.ID, t.UserID, t.Kind, t.Status, t.Progress, t.Message, t.Error, t.Result, t.CreatedAt.Format(time.RFC3339Nano))
	}
	return b.String()
}

// newWorld makes changes as an app that show in every surface.
func newWorld(t *testing.T, f *fixture) *world {
	t.Helper()
	w := &world{fixture: f, at: time.Date(2026, 3, 29, 0, 59, 59, 123456000, time.UTC)} // an hour that summer time begins in
	const sqlInsert = `INSERT INTO taskfeed.tasks (id, user_id, kind, message, result, created_at) VALUES ($1, $2, 'käse', $3, $4, $5)`
	for id, user := range map[string]string{"t €": zoe} {
		exec(t, f.app, sqlInsert, id, user, `50 € \ 'x'`, `{"f": 0.1, "big": 12345678901234567890, "s": "€\\u00eb"}`, w.at)
	}
	exec(t, f.app, sqlInsert, "other", zoeTwo, "x", `[]`, w.at)
	exec(t, f.app, "UPDATE taskfeed.tasks SET status = 'running' WHERE id = 't €'")
	exec(t, f.app, "UPDATE taskfeed.tasks SET progress = 40::smallint, message = '€ 2' WHERE id = 't €'")
	exec(t, f.app, `UPDATE taskfeed.tasks SET status = 'completed', result = '{"€": 1e-7}' WHERE id = 't €'`)
	exec(t, f.app, `SELECT taskfeed.notify($1, 'hello', '{"€": 1}'::pg_catalog.jsonb)`, zoe)
	exec(t, f.app, `SELECT taskfeed.broadcast('all', '{"€": 2}'::pg_catalog.jsonb)`)
	return w
}

// run runs all surfaces and returns their answers.
func (w *world) run(t *testing.T, how string) map[string]string {
	t.Helper()
	answers := make(map[string]string)
	for _, s := range surfaces() {
		answer, err := s.run(t.Context(), w)
		if err != nil {
			t.Errorf("%s: %s: %v", how, s.name, err)
			continue
		}
		answers[s.name] = fmt.Sprint(answer)
	}
	return answers
}

func wantSame(t *testing.T, how string, got, want map[string]string) {
	t.Helper()
	for name, answer := range want {
		if a, ok := got[name]; ok && a != answer {
			t.Errorf("%s: %s: got %s, want %s as everywhere", how, name, a, answer)
		}
	}
}

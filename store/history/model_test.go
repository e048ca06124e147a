package history_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// What lists show is compared with a plain model: all rows in memory, filtered
// and sorted.

// epoch is when the history of these tests begins.
var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// oddTexts are what people search for and what must stay data.
var oddTexts = []string{"", "rendering", "RENDERING 50%", "a_b", `back\slash`, `\`, "%", "_", "'; DROP TABLE taskfeed.tasks; --",
	`") OR 1=1 --`, ".*", "$1 @text {where}", "grün", "раypal", "line\nbreak", "\u2028"}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomTime is one of few, so that many are equal, some an hour apart and some a
// microsecond.
func randomTime(r *rand.Rand) time.Time {
	return epoch.Add(time.Duration(r.IntN(4))*time.Hour + time.Duration(r.IntN(3))*time.Microsecond)
}

func randomTasks(r *rand.Rand, n int) []taskfeed.Task {
	tasks := make([]taskfeed.Task, n)
	for i := range tasks {
		tasks[i] = taskfeed.Task{ID: fmt.Sprintf("Task-%04d", i), UserID: pick(r, "alice", "bob", "carol"), Kind: pick(r, "", "render", "mail"),
			Status: pick(r, taskfeed.Statuses...), Message: pick(r, oddTexts...), Error: pick(r, oddTexts...), Version: 1,
			CreatedAt: randomTime(r), UpdatedAt: randomTime(r)}
	}
	return tasks
}

func insertTasks(t *testing.T, conn *pgx.Conn, tasks []taskfeed.Task) {
	t.Helper()
	rows := make([][]any, len(tasks))
	for i, k := range tasks {
		rows[i] = []any{k.ID, k.UserID, orNil(k.Kind), string(k.Status), orNil(k.Message), orNil(k.Error), k.CreatedAt, k.UpdatedAt}
	}
	_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"taskfeed", "tasks"},
		[]string{"id", "user_id", "kind", "status", "message", "error", "created_at", "updated_at"}, pgx.CopyFromRows(rows))
	if err != nil {
		t.Fatalf("insert tasks: %v", err)
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func randomEvents(r *rand.Rand, n int) []taskfeed.Event {
	events := make([]taskfeed.Event, n)
	for i := range events {
		id := partitionWidth - n/3 + i // two partitions
		if i%10 == 0 {
			id = 5*partitionWidth + i // the default one
		}
		e := taskfeed.Event{ID: taskfeed.Cursor(id), Type: pick[taskfeed.Type](r, "notice", "alert"), Data: []byte(`{}`), Timestamp: randomTime(r)}
		if e.UserID = pick(r, "", "alice", "bob", "carol"); e.UserID != "" && r.IntN(3) > 0 {
			e.Type, e.TaskID, e.Version = pick(r, taskfeed.TaskTypes...), pick(r, "t1", "t2", "t3"), int64(i+1)
		}
		events[i] = e
	}
	return events
}

func insertEvents(t testing.TB, conn *pgx.Conn, events []taskfeed.Event) {
	t.Helper()
	rows := make([][]any, len(events))
	for i, e := range events {
		rows[i] = []any{int64(e.ID), orNil(e.UserID), orNil(e.TaskID), string(e.Type), e.Version, e.Data, e.Timestamp}
	}
	_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"taskfeed", "events"},
		[]string{"id", "user_id", "task_id", "type", "version", "data", "created_at"}, pgx.CopyFromRows(rows))
	if err != nil {
		t.Fatalf("insert events: %v", err)
	}
}

func within(r history.TimeRange, t time.Time) bool {
	return (r.From.IsZero() || !t.Before(r.From)) && (r.To.IsZero() || t.Before(r.To))
}

func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// wantTasks is what ListTasks should show, all pages in one.
func wantTasks(all []taskfeed.Task, q history.TaskQuery) []string {
	var found []taskfeed.Task
	for _, t := range all {
		if (q.UserID == "" || t.UserID == q.UserID) && (q.Kind == "" || t.Kind == q.Kind) &&
			(len(q.Statuses) == 0 || slices.Contains(q.Statuses, t.Status)) && within(q.Created, t.CreatedAt) && within(q.Updated, t.UpdatedAt) &&
			(contains(t.ID, q.Text) || contains(t.Message, q.Text) || contains(t.Error, q.Text)) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b taskfeed.Task) int {
		order := a.CreatedAt.Compare(b.CreatedAt)
		if strings.HasSuffix(string(q.Sort), "updated") {
			order = a.UpdatedAt.Compare(b.UpdatedAt)
		}
		return cmp.Or(order, cmp.Compare(a.ID, b.ID))
	})
	if q.Sort == "" || q.Sort[0] == '-' {
		slices.Reverse(found)
	}
	return taskIDs(found)
}

// wantEvents is what ListEvents should show, all pages in one.
func wantEvents(all []taskfeed.Event, q history.EventQuery) []taskfeed.Cursor {
	var found []taskfeed.Event
	for _, e := range all {
		if (q.UserID == "" || e.UserID == q.UserID || q.IncludeBroadcast && e.UserID == "") && (q.TaskID == "" || e.TaskID == q.TaskID) &&
			(len(q.Types) == 0 || slices.Contains(q.Types, e.Type)) && within(q.Time, e.Timestamp) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b taskfeed.Event) int {
		order := 0
		if q.Time != (history.TimeRange{}) {
			order = a.Timestamp.Compare(b.Timestamp)
		}
		return cmp.Or(order, cmp.Compare(a.ID, b.ID))
	})
	if q.Sort != history.SortID {
		slices.Reverse(found)
	}
	return eventIDs(found)
}

func taskIDs(tasks []taskfeed.Task) []string {
	ids := make([]string, len(tasks))
	for i, t := range tasks {
		ids[i] = t.ID
	}
	return ids
}

func eventIDs(events []taskfeed.Event) []taskfeed.Cursor {
	ids := make([]taskfeed.Cursor, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

// lister is what testing.T and rapid.T have in common.
type lister interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

// listTasks reads all pages and calls between after each.
func listTasks(t lister, r *history.Reader, q history.TaskQuery, between func()) []taskfeed.Task {
	t.Helper()
	return allPages(t, q.Limit, between, func(after string) ([]taskfeed.Task, string, error) {
		q.After = after
		page, err := r.ListTasks(t.Context(), q)
		if page.Next != "" && len(page.Items) == 0 {
			t.Fatalf("an empty page of %+v has next %q", q, page.Next)
		}
		return page.Items, page.Next, err
	})
}

// listEvents does so for events.
func listEvents(t lister, r *history.Reader, q history.EventQuery, between func()) []taskfeed.Event {
	t.Helper()
	return allPages(t, q.Limit, between, func(after string) ([]taskfeed.Event, string, error) {
		q.After = after
		page, err := r.ListEvents(t.Context(), q)
		if page.Next != "" && len(page.Items) == 0 && len(q.Types) == 0 && q.Time == (history.TimeRange{}) {
			t.Fatalf("an empty page of %+v has next %q, want something where nothing is left out", q, page.Next)
		}
		return page.Items, page.Next, err
	})
}

func allPages[T any](t lister, limit int, between func(), page func(after string) ([]T, string, error)) (all []T) {
	t.Helper()
	for after, pages := "", 0; ; pages++ {
		items, next, err := page(after)
		if err != nil {
			t.Fatalf("page %d: %v", pages, err)
		}
		if len(items) > limit || next != "" && next == after {
			t.Fatalf("page %d has %d items and next %q, want at most %d and another place than it began at", pages, len(items), next, limit)
		}
		all = append(all, items...)
		if next == "" {
			return all
		}
		if pages > 5000 {
			t.Fatalf("%d pages and no end", pages)
		}
		after = next
		between()
	}
}

// exported reads a whole export.
func exported[T any](t lister, items iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for item, err := range items {
		if err != nil {
			t.Fatalf("export after %d items: %v", len(all), err)
		}
		all = append(all, item)
	}
	return all
}

// drawRange draws a range whose bounds are near the times there are: at one, or
// less than a microsecond beside it.
func drawRange(t *rapid.T, name string) history.TimeRange {
	bound := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "open") {
			return time.Time{}
		}
		hours, nanos := rapid.IntRange(-1, 4).Draw(t, "hours"), rapid.SampledFrom([]int{-1, 0, 1, 1000, 1001, 2000}).Draw(t, "ns")
		zone := time.FixedZone("", rapid.SampledFrom([]int{0, 3600, -5400}).Draw(t, "zone"))
		return epoch.Add(time.Duration(hours)*time.Hour + time.Duration(nanos)).In(zone)
	})
	r := history.TimeRange{From: bound.Draw(t, name+" from"), To: bound.Draw(t, name+" to")}
	if !r.From.IsZero() && !r.To.IsZero() && r.From.After(r.To) {
		r.From, r.To = r.To, r.From
	}
	return r
}

func TestListTasksAgainstModel(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, store.Config{URL: url})
	all := randomTasks(rand.New(rand.NewPCG(1, 2)), 300)
	insertTasks(t, pgtest.Connect(t, url), all)
	rapid.Check(t, func(t *rapid.T) {
		q := history.TaskQuery{
			UserID:   rapid.SampledFrom([]string{"", "", "alice", "nobody"}).Draw(t, "user"),
			Statuses: rapid.SliceOfN(rapid.SampledFrom(taskfeed.Statuses), 0, 6).Draw(t, "statuses"),
			Kind:     rapid.SampledFrom([]string{"", "", "render"}).Draw(t, "kind"),
			Created:  drawRange(t, "created"),
			Updated:  drawRange(t, "updated"),
			Text:     rapid.SampledFrom(append([]string{"", "", "", "", "task-00", "RENDER", "50%", "A_B", "H\\s", "(", "ün"}, oddTexts...)).Draw(t, "text"),
			Sort: rapid.SampledFrom([]history.Sort{"", history.SortCreated, history.SortCreatedDesc,
				history.SortUpdated, history.SortUpdatedDesc}).Draw(t, "sort"),
			Limit: rapid.SampledFrom([]int{3, 10, 50, 500}).Draw(t, "limit"),
		}
		want := wantTasks(all, q)
		if got := taskIDs(listTasks(t, s, q, func() {})); !slices.Equal(got, want) {
			t.Fatalf("pages:\ngot  %q\nwant %q", got, want)
		}
		if got := taskIDs(exported(t, s.ExportTasks(t.Context(), q))); !slices.Equal(got, want) {
			t.Fatalf("export:\ngot  %q\nwant %q", got, want)
		}
	})
}

func TestListEventsAgainstModel(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, store.Config{URL: url})
	conn := pgtest.Connect(t, url)
	makePartition(t, conn, 1)
	all := randomEvents(rand.New(rand.NewPCG(3, 4)), 300)
	insertEvents(t, conn, all)
	rapid.Check(t, func(t *rapid.T) {
		s.SetScan(rapid.SampledFrom([]int{1, 2, 7, 40, 300, 50_000}).Draw(t, "scan"))
		q := history.EventQuery{
			UserID:           rapid.SampledFrom([]string{"", "alice", "alice", "nobody"}).Draw(t, "user"),
			IncludeBroadcast: rapid.Bool().Draw(t, "with broadcasts"),
			TaskID:           rapid.SampledFrom([]string{"", "", "t1", "none"}).Draw(t, "task"),
			Types:            rapid.SliceOfN(rapid.SampledFrom(append([]taskfeed.Type{"notice"}, taskfeed.TaskTypes...)), 0, 5).Draw(t, "types"),
			Sort:             rapid.SampledFrom([]history.Sort{"", history.SortID, history.SortIDDesc}).Draw(t, "sort"),
			Limit:            rapid.SampledFrom([]int{1, 3, 10, 50, 500}).Draw(t, "limit"),
		}
		if rapid.Bool().Draw(t, "by time") {
			q.Time = drawRange(t, "time")
		}
		want := wantEvents(all, q)
		if got := eventIDs(listEvents(t, s, q, func() {})); !slices.Equal(got, want) {
			t.Fatalf("pages:\ngot  %v\nwant %v", got, want)
		}
		if got := eventIDs(exported(t, s.ExportEvents(t.Context(), q))); !slices.Equal(got, want) {
			t.Fatalf("export:\ngot  %v\nwant %v", got, want)
		}
	})
}

// makePartition makes a partition of the log.
func makePartition(t testing.TB, conn *pgx.Conn, k int) {
	t.Helper()
	sql := fmt.Sprintf("CREATE TABLE taskfeed.events_%d PARTITION OF taskfeed.events FOR VALUES FROM (%d) TO (%d)",
		k, k*partitionWidth, (k+1)*partitionWidth)
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("make partition %d: %v", k, err)
	}
}

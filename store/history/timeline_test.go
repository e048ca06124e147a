package history_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// step is an event of a task so many seconds after epoch.
type step struct {
	kind    taskfeed.Type
	version int64
	at      int
}

func TestTaskSummary(t *testing.T) {
	t.Parallel()
	const (
		queued, started, progress = taskfeed.TypeTaskQueued, taskfeed.TypeTaskStarted, taskfeed.TypeTaskProgress
		completed, failed         = taskfeed.TypeTaskCompleted, taskfeed.TypeTaskFailed
		deleted                   = taskfeed.TypeTaskDeleted
	)
	url := pgtest.New(t)
	s := open(t, store.Config{URL: url})
	conn := pgtest.Connect(t, url)
	for i, c := range []struct {
		name            string
		steps           []step
		attempts        int
		queued, running int // seconds
	}{
		{"an ordinary life", []step{{queued, 1, 0}, {started, 2, 10}, {progress, 3, 15}, {progress, 4, 20}, {completed, 5, 40}}, 1, 10, 30},
		{"a second attempt", []step{{queued, 1, 0}, {started, 2, 5}, {failed, 3, 6}, {queued, 4, 10}, {started, 5, 13}, {completed, 6, 20}}, 2, 8, 8},
		{"an attempt without a queue", []step{{started, 1, 0}, {failed, 2, 3}, {started, 3, 4}, {completed, 4, 5}}, 2, 0, 4},
		{"a visible change while running is no attempt", []step{{started, 1, 0}, {started, 2, 3}, {completed, 3, 5}}, 1, 0, 5},
		{"a stall is no step", []step{{started, 1, 0}, {taskfeed.TypeTaskStalled, 1, 3}, {completed, 2, 5}}, 1, 0, 5},
		{"another owner is no end and no attempt", []step{{started, 1, 0}, {deleted, 2, 3}, {started, 2, 3}, {completed, 3, 5}}, 1, 0, 5},
		{"deleted", []step{{queued, 1, 0}, {started, 2, 1}, {deleted, 3, 3}}, 1, 1, 2},
		{"deleted and made again", []step{{started, 1, 0}, {deleted, 2, 3}, {started, 1, 10}, {completed, 2, 11}}, 2, 0, 4},
		{"what retention left begins in the middle", []step{{progress, 7, 0}, {progress, 8, 10}, {completed, 9, 20}}, 0, 0, 0},
		{"the clock was set back", []step{{queued, 1, 10}, {started, 2, 5}, {completed, 3, 6}}, 1, 0, 1},
		{"queued, but the row is gone without an event", []step{{queued, 1, 0}}, 0, 0, 0},
	} {
		id := fmt.Sprint("task ", i)
		var events []taskfeed.Event
		want := history.TaskSummary{Events: len(c.steps), Attempts: c.attempts,
			Queued: time.Duration(c.queued) * time.Second, Running: time.Duration(c.running) * time.Second}
		for j, e := range c.steps {
			at := epoch.Add(time.Duration(e.at) * time.Second)
			events = append(events, taskfeed.Event{ID: taskfeed.Cursor(100*i + j + 1), UserID: "alice", TaskID: id, Type: e.kind,
				Version: e.version, Data: []byte("{}"), Timestamp: at})
			if e.kind == progress {
				want.ProgressSteps++
			}
			if j == 0 || at.Before(want.First) {
				want.First = at
			}
			if at.After(want.Last) {
				want.Last = at
			}
		}
		insertEvents(t, conn, events)
		timeline, err := s.TaskEvents(t.Context(), id, "", 500)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := *timeline.Summary; got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, got, want)
		}
	}
}

// A task that is still queued or running is counted until now.
func TestUnfinishedSummary(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.app, "INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('q', 'alice', 'queued'), ('r', 'alice', 'running')")
	moveAll(t, f.session)
	since := func() time.Duration {
		age := value[float64](t, f.app, "SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM taskfeed.events WHERE task_id = 'r'")
		return time.Duration(age * float64(time.Second))
	}
	for id, spent := range map[string]func(*history.TaskSummary) (so, other time.Duration){
		"q": func(s *history.TaskSummary) (so, other time.Duration) { return s.Queued, s.Running },
		"r": func(s *history.TaskSummary) (so, other time.Duration) { return s.Running, s.Queued },
	} {
		least := since() - time.Second // the two were not captured at the same moment
		timeline, err := f.history.TaskEvents(t.Context(), id, "", 10)
		if err != nil {
			t.Fatalf("timeline of %s: %v", id, err)
		}
		if so, other := spent(timeline.Summary); so < least || so > since()+time.Second || other != 0 {
			t.Errorf("%s: got %v and %v of the other, want about %v and 0", id, so, other, since())
		}
	}
}

func TestTaskEvents(t *testing.T) {
	t.Parallel()
	f := setup(t)
	add(t, f.app, "x")
	add(t, f.app, "silent")
	for _, sql := range []string{"status = 'running'", "progress = 10", "progress = 20, message = 'half'", "status = 'completed', result = '{\"n\": 1}'"} {
		exec(t, f.app, "UPDATE taskfeed.tasks SET "+sql+" WHERE id = 'x'")
	}
	moveAll(t, f.session)
	want := readLog(t, f.store, taskfeed.Filter{All: true, TaskID: "x"})
	exec(t, f.app, "DELETE FROM taskfeed.events WHERE task_id = 'silent'")

	t.Run("pages know the event before", func(t *testing.T) {
		var previous time.Time
		pages := 0
		all := allPages(t, 2, func() {}, func(after string) ([]taskfeed.Event, string, error) {
			page, err := f.history.TaskEvents(t.Context(), "x", after, 2)
			if err != nil {
				return nil, "", err
			}
			if !page.Previous.Equal(previous) || (page.Summary != nil) != (pages == 0) {
				t.Errorf("page %d: got previous %v and summary %v, want %v and a summary on the first page only", pages, page.Previous, page.Summary, previous)
			}
			pages, previous = pages+1, page.Items[len(page.Items)-1].Timestamp
			return page.Items, page.Next, nil
		})
		wantEqual(t, "versions", versions(all), []string{"x/1", "x/2", "x/3", "x/4", "x/5"})
		for i, e := range all {
			if fmt.Sprintf("%d %s %s", e.ID, e.Type, e.Data) != fmt.Sprintf("%d %s %s", want[i].ID, want[i].Type, want[i].Data) {
				t.Errorf("event %d: got %+v, want %+v", i, e, want[i])
			}
		}
	})
	t.Run("a deleted task keeps its events", func(t *testing.T) {
		exec(t, f.app, "DELETE FROM taskfeed.tasks WHERE id = 'x'")
		page, err := f.history.TaskEvents(t.Context(), "x", "", 10)
		if err != nil || len(page.Items) != 5 {
			t.Errorf("got %d events, error %v, want 5", len(page.Items), err)
		}
	})
	t.Run("a task without events", func(t *testing.T) {
		page, err := f.history.TaskEvents(t.Context(), "silent", "", 10)
		if err != nil || len(page.Items) > 0 || *page.Summary != (history.TaskSummary{}) {
			t.Errorf("got %+v, error %v, want an empty timeline", page, err)
		}
	})
	for _, id := range []string{"", "none", "X", "x%"} {
		_, err := f.history.TaskEvents(t.Context(), id, "", 10)
		if got := taskfeed.CodeOf(err); got != taskfeed.CodeNotFound {
			t.Errorf("timeline of %q: got %v, want %s", id, err, taskfeed.CodeNotFound)
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	f := setup(t)
	now := value[time.Time](t, f.app, "SELECT date_trunc('minute', now())")
	var events []taskfeed.Event
	for i, minutes := range []int{-500, -70, -50, -50, -50, -10, -1, 600} {
		events = append(events, taskfeed.Event{ID: taskfeed.Cursor(1000 + i), Type: "notice", Data: []byte("{}"),
			Timestamp: now.Add(time.Duration(minutes)*time.Minute + time.Duration(i)*time.Second)})
	}
	insertEvents(t, f.app, events)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (id, user_id, kind, status, created_at, updated_at)
		SELECT 'r' || i, 'alice', 'render', 'running', now() - i * interval '1 day', now() - interval '2 hours' - i % 60 * interval '1 minute'
		FROM generate_series(1, 60) AS i`)
	exec(t, f.app, `INSERT INTO taskfeed.tasks (user_id, status, created_at) VALUES
		('alice', 'queued', '2001-01-01'), ('bob', 'queued', now()), ('bob', 'running', now()), ('bob', 'failed', now())`)

	stats, err := f.history.Stats(t.Context())
	if err != nil {
		t.Fatalf("stats: %v", err)
	}
	wantEqual(t, "counts", stats.Counts, []history.StatusCount{{Status: "queued", Count: 2},
		{Status: "running", Kind: "render", Count: 60}, {Status: "running", Count: 1}, {Status: "failed", Count: 1}})
	if stats.OldestRunning == nil || stats.OldestRunning.ID != "r60" {
		t.Errorf("oldest running task: got %+v, want r60", stats.OldestRunning)
	}
	stalled, err := f.history.StalledTasks(t.Context(), time.Hour)
	if got := taskIDs(stalled); err != nil || len(got) != 50 || got[0] != "r59" || got[49] != "r10" {
		t.Errorf("stalled tasks: got %q, want 50 from r59 to r10 (%v)", got, err)
	}
	perMinute := map[time.Time]int64{}
	for i, m := range stats.PerMinute {
		if m.Count > 0 {
			perMinute[m.Minute] = m.Count
		}
		if i > 0 && !m.Minute.Equal(stats.PerMinute[i-1].Minute.Add(time.Minute)) {
			t.Errorf("minute %v follows %v, want each minute once", m.Minute, stats.PerMinute[i-1].Minute)
		}
	}
	want := map[time.Time]int64{now.UTC().Add(-50 * time.Minute): 3, now.UTC().Add(-10 * time.Minute): 1, now.UTC().Add(-time.Minute): 1}
	if len(stats.PerMinute) != 60 || fmt.Sprint(perMinute) != fmt.Sprint(want) {
		t.Errorf("events per minute: got %v in %d minutes, want %v in 60", perMinute, len(stats.PerMinute), want)
	}
}

func TestStatsOfNothing(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{URL: pgtest.New(t)})
	stats, err := s.Stats(t.Context())
	if err != nil || len(stats.Counts) > 0 || len(stats.PerMinute) != 60 || stats.OldestRunning != nil {
		t.Errorf("got %+v, error %v, want 60 empty minutes and nothing else", stats, err)
	}
	if stalled, err := s.StalledTasks(t.Context(), time.Hour); err != nil || len(stalled) > 0 {
		t.Errorf("stalled tasks: got %v, error %v, want none", stalled, err)
	}
}

// Each part of the statistics has its own time limit, and its error says what to do.
func TestLateStats(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, store.Config{URL: url, ReadTimeout: 200 * time.Millisecond})
	conn := pgtest.Connect(t, url)
	exec(t, conn, "BEGIN; LOCK TABLE taskfeed.events")
	_, err := s.Stats(t.Context())
	if taskfeed.CodeOf(err) != taskfeed.CodeUnavailable || !mention(err, "took too long") {
		t.Errorf("got %v, want %s with advice", err, taskfeed.CodeUnavailable)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Stats(ctx); mention(err, "took too long") {
		t.Errorf("when the caller gave up: got %v, want no advice to narrow", err)
	}
}

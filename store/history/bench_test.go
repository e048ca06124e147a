package history_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// benchEventsVar is how many events the log of BenchmarkHistory has.
const benchEventsVar = "TASKFEED_BENCH_EVENTS"

// BenchmarkHistory compares what the history costs with what it cannot cost less
// than, side by side in one run, by medians:
//
//   - the timeline of a task with 1,000 events, both pages and the summary, with a
//     SELECT of the same rows by primary key;
//   - page 10,000 of all events with page 1;
//   - the memory that an export of the whole log takes beside what was there.
func BenchmarkHistory(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv(benchEventsVar); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 400_000 {
			b.Fatalf("%s is %q, want a number from 400000", benchEventsVar, s)
		}
	}
	url := pgtest.New(b)
	conn := pgtest.Connect(b, url)
	fillLarge(b, conn, n)
	s := open(b, store.Config{URL: url})
	b.Run(fmt.Sprintf("timeline/events=%d", n), func(b *testing.B) { benchTimeline(b, s, conn) })
	b.Run(fmt.Sprintf("page/events=%d", n), func(b *testing.B) { benchPage(b, s, min(10_000, n/pageLimit-1)) })
	b.Run(fmt.Sprintf("export/events=%d", n), func(b *testing.B) { benchExport(b, s, n) })
}

func benchTimeline(b *testing.B, s *history.Reader, conn *pgx.Conn) {
	ids := eventIDs(timeline(b, s))
	if len(ids) != 1000 {
		b.Fatalf("events of a task: got %d, want 1000", len(ids))
	}
	keys := make([]int64, len(ids))
	for i, id := range ids {
		keys[i] = int64(id)
	}
	compare(b, func() { timeline(b, s) }, func() {
		rows, _ := conn.Query(b.Context(), `
			SELECT id, user_id, task_id, type, version, data, created_at
			FROM taskfeed.events
			WHERE id = ANY ($1)`, keys)
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e taskfeed.Event, err error) {
			err = row.Scan(&e.ID, &e.UserID, &e.TaskID, &e.Type, &e.Version, (*[]byte)(&e.Data), &e.Timestamp)
			return e, err
		})
		if err != nil || len(found) != len(keys) {
			b.Fatalf("select by key: got %d rows, error %v, want %d", len(found), err, len(keys))
		}
	})
}

// timeline reads the whole timeline of the task that has 1,000 events.
func timeline(b *testing.B, s *history.Reader) []taskfeed.Event {
	return allPages(b, 500, func() {}, func(after string) ([]taskfeed.Event, string, error) {
		page, err := s.TaskEvents(b.Context(), oldTask, after, 500)
		return page.Items, page.Next, err
	})
}

// pageLimit is the size of the pages whose depths are compared.
const pageLimit = 50

func benchPage(b *testing.B, s *history.Reader, depth int) {
	read := func(after string, limit int) (next string) {
		page, err := s.ListEvents(b.Context(), history.EventQuery{After: after, Limit: limit})
		if err != nil || len(page.Items) != limit {
			b.Fatalf("page after %q: got %d events, error %v, want %d", after, len(page.Items), err, limit)
		}
		return page.Next
	}
	deep := "" // a token leads to the same place whatever the limit
	for left := (depth - 1) * pageLimit; left > 0; {
		limit := min(left, history.MaxPageLimit)
		deep, left = read(deep, limit), left-limit
	}
	compare(b, func() { read(deep, pageLimit) }, func() { read("", pageLimit) })
}

// compare runs both in turn and reports how many times longer the first takes.
func compare(b *testing.B, what, with func()) {
	took := func(f func()) time.Duration {
		began := time.Now()
		f()
		return time.Since(began)
	}
	var these, those []time.Duration
	for b.Loop() {
		these, those = append(these, took(what)), append(those, took(with))
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2])
	}
	b.ReportMetric(median(these), "ns/this")
	b.ReportMetric(median(those), "ns/that")
	b.ReportMetric(median(these)/median(those), "this/that")
}

func benchExport(b *testing.B, s *history.Reader, n int) {
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	peak := uint64(0)
	runtime.GC()
	before := memory()
	for b.Loop() {
		count := 0
		for _, err := range s.ExportEvents(b.Context(), history.EventQuery{}) {
			if err != nil {
				b.Fatalf("export after %d events: %v", count, err)
			}
			if count++; count%10_000 == 0 {
				peak = max(peak, memory())
			}
		}
		if count < n {
			b.Fatalf("export: got %d events, want %d", count, n)
		}
	}
	b.ReportMetric(float64(peak-min(peak, before))/(1<<20), "MB-extra")
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

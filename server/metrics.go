package server

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// feedCollector collects the metrics of the listener and the database.
type feedCollector struct {
	feed  *listener.Listener
	st    *store.Store
	inbox bool // messages are taken
}

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("taskfeed_"+name, help, nil, nil)
}

func describeSource(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("taskfeed_source_"+name, help, []string{"source"}, nil)
}

func describeForward(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("taskfeed_forward_"+name, help, []string{"name"}, nil)
}

var (
	descUp       = describe("listener_up", "1 while the feed is up to date: the last look at the database succeeded.")
	descLeader   = describe("is_leader", "1 while this server is the sequencer.")
	descWakeups  = describe("wakeups_total", "Times that the doorbell woke the listener.")
	descMoves    = describe("moves_total", "Moves from changes to the log made by this server, empty ones included.")
	descCaptured = describe("events_captured_total", "Events that this server appended to the log.")
	descStalled  = describe("tasks_stalled_total", "Events that this server made for tasks that run and do not change.")
	descBuffer   = describe("buffer_depth", "Committed changes that are not in the log yet, counted up to 100000.")
	descWriter   = describe("oldest_writer_seconds", "Age of the oldest open transaction that has written.")
	descForeign  = prometheus.NewDesc("taskfeed_foreign_locks", "Sessions that hold a lock of taskfeed's without being a server, as far as this server has met them.", []string{"lock", "role", "pid"}, nil)
	descSourceOK = describeSource("ok", "1 while the attached table is seen: its trigger and the columns of its mapping are there.")
	descErrors   = describeSource("errors_total", "Rows of an attached table whose mapping failed.")
	descUnmapped = describeSource("unmapped_total", "Changes of an attached table to a status that its map does not name.")
	descUnowned  = describeSource("unowned_total", "Changes of an attached table without an owner.")
	descWaiting  = describe("inbox_waiting", "Messages of users that the app has not received, counted up to 1000000; only where the server takes messages.")
	descOldest   = describe("inbox_oldest_seconds", "How long the oldest message of a user has waited for the app.")
	descWorks    = describeForward("works", "1 while a process forwards events under this name.")
	descBehind   = describeForward("behind_seconds", "Age of the oldest event that was not forwarded under this name.")
	descFailures = describeForward("failures", "Events that could not be forwarded under this name, counted up to 10000.")
	descQueue    = describe("notification_queue_usage", "Part of Postgres's notification queue in use, from 0 to 1.")
)

// Describe sends the descriptions of all metrics.
func (c feedCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descLeader, descWakeups, descMoves, descCaptured, descStalled, descBuffer, descWriter, descQueue, descForeign,
		descSourceOK, descErrors, descUnmapped, descUnowned, descWaiting, descOldest, descWorks, descBehind, descFailures} {
		ch <- d
	}
}

// Collect sends the current values. Those of the database are left out when it does not
// answer within two seconds.
func (c feedCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	stats := c.feed.Stats()
	gauge(descUp, oneIf(stats.Up))
	gauge(descLeader, oneIf(stats.Leader))
	counter(descWakeups, stats.Wakeups)
	counter(descMoves, stats.Moves)
	counter(descCaptured, stats.Captured)
	counter(descStalled, stats.Stalled)

	foreignLocks(ch, stats.Intruders)

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	figures, err := c.st.Figures(ctx)
	if err != nil {
		return
	}
	gauge(descBuffer, float64(figures.BufferDepth))
	gauge(descWriter, figures.OldestWriter.Seconds())
	gauge(descQueue, figures.QueueUsage)
	if c.inbox {
		if f, err := c.st.InboxFigures(ctx); err == nil {
			gauge(descWaiting, float64(f.Waiting))
			gauge(descOldest, f.Oldest.Seconds())
		}
	}
	if sources, err := c.st.Sources(ctx); err == nil {
		collectSources(ch, sources)
	}
	if forwards, err := c.st.ForwardFigures(ctx); err == nil {
		collectForwards(ch, forwards)
	}
}

func collectForwards(ch chan<- prometheus.Metric, forwards []store.ForwardFigure) {
	for _, f := range forwards {
		for d, v := range map[*prometheus.Desc]float64{descWorks: oneIf(f.Works), descBehind: f.Behind.Seconds(), descFailures: float64(f.Failures)} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, f.Name)
		}
	}
}

func collectSources(ch chan<- prometheus.Metric, sources []store.Source) {
	for _, s := range sources {
		ch <- prometheus.MustNewConstMetric(descSourceOK, prometheus.GaugeValue, oneIf(s.Problem == ""), s.Name)
		for d, n := range map[*prometheus.Desc]int64{descErrors: s.Errors, descUnmapped: s.Unmapped, descUnowned: s.Unowned} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), s.Name)
		}
	}
}

// foreignLocks sends 1 for each intruder, and 0 for each lock without one.
func foreignLocks(ch chan<- prometheus.Metric, found []locks.Found) {
	type series struct{ lock, role, pid string }
	values := make(map[series]float64)
	for _, lock := range locks.Names() {
		kept := slices.ContainsFunc(found, func(f locks.Found) bool { return f.Lock == lock })
		if !kept {
			values[series{lock: lock}] = 0
		}
	}
	for _, f := range found {
		values[series{f.Lock, f.Role, strconv.Itoa(f.PID)}] = 1
	}
	for s, v := range values {
		ch <- prometheus.MustNewConstMetric(descForeign, prometheus.GaugeValue, v, s.lock, s.role, s.pid)
	}
}

// buildInfo is 1, with the version as a label.
func buildInfo(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "taskfeed_build_info",
		Help:        "1, with the version of this server and of the Go that built it.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

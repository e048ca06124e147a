package httpapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/cache"
)

// metrics are the server's own counters, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry

	latency    prometheus.Histogram
	slow       prometheus.Counter
	ignored    prometheus.Counter
	feedErrors prometheus.Counter
	panics     prometheus.Counter
	bytes      prometheus.Counter
	closes     *prometheus.CounterVec // by close code
	refusals   *prometheus.CounterVec // of handshakes, by error code
}

// newMetrics makes and registers the server's metrics and those of others.
func newMetrics(h *hub.Hub, maxUsers int, others []prometheus.Collector) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "taskfeed_commit_to_socket_seconds",
			Help:    "Time from the capture of a change, by the database's clock, to its frame being written to a socket; live events only.",
			Buckets: []float64{.0005, .001, .002, .003, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
		slow:       counter("taskfeed_slow_closes_total", "Connections closed because the client took too long to take what was sent."),
		ignored:    counter("taskfeed_inbound_ignored_total", "Messages of clients that meant nothing to the server."),
		feedErrors: counter("taskfeed_feed_errors_total", "Reads of the event log for a connection that failed and were tried again."),
		panics:     counter("taskfeed_connection_panics_total", "Panics that cost one connection."),
		bytes:      counter("taskfeed_sent_bytes_total", "Bytes written to sockets and streams."),
		closes:     vector("taskfeed_closes_total", "Connections that ended, by close code; 1006 is one without a close frame, and a stream whose client went.", "code"),
		refusals:   vector("taskfeed_handshake_refusals_total", "Connections to feeds that were refused, by error code.", "code"),
	}
	own := []prometheus.Collector{
		m.latency, m.slow, m.ignored, m.feedErrors, m.panics, m.bytes, m.closes, m.refusals,
		&hubCollector{hub: h, maxUsers: maxUsers},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	var errs []error
	for _, c := range append(own, others...) {
		if err := m.registry.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("httpapi: register metrics: %w", err))
		}
	}
	return m, errors.Join(errs...)
}

// gatherer hands out metrics that are kept: reading them costs queries, and a walk
// over all users, and whoever may read them needs no token.
func gatherer[T any](k *cache.Value[[]T]) keptGatherer[T] { return keptGatherer[T]{k} }

type keptGatherer[T any] struct{ kept *cache.Value[[]T] }

// Gather implements prometheus.Gatherer.
func (g keptGatherer[T]) Gather() ([]T, error) {
	a := g.kept.Get()
	return a.Value, a.Err
}

// delivered notes the frames of one write that were live events.
func (m *metrics) delivered(frames []*hub.Frame, now time.Time) {
	for _, f := range frames {
		if !f.Replayed && !f.Timestamp.IsZero() {
			m.latency.Observe(max(0, now.Sub(f.Timestamp).Seconds())) // the database's clock may be ahead
		}
	}
}

// refused counts a handshake that was answered with an error, or by nobody since
// its client hung up.
func (m *metrics) refused(ctx context.Context, err error) {
	code := string(request.AsError(err).Code)
	if request.ClientGone(request.BlameClient(ctx, err)) {
		code = request.CutGone
	}
	m.refusals.WithLabelValues(code).Inc()
}

// ended counts a connection that has ended with a close code.
func (m *metrics) ended(code int) {
	m.closes.WithLabelValues(codeLabel(code)).Inc()
	if code == taskfeed.CloseSlow {
		m.slow.Inc()
	}
}

// hubCollector shows what the hub counts itself.
type hubCollector struct {
	hub      *hub.Hub
	maxUsers int
}

// hubMetric is one number of the hub's.
type hubMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(hub.Stats) float64
}

func hubDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descUserConnections = hubDesc("websocket_connections", "Open connections of a user, for as many users as the server is set to name.", "user_id")
	descUnnamedUsers    = hubDesc("taskfeed_metrics_users_left_off", "Connected users that websocket_connections does not name.")

	hubMetrics = []hubMetric{
		{hubDesc("taskfeed_connections", "Open connections."),
			prometheus.GaugeValue, func(s hub.Stats) float64 { return float64(s.Subscribers) }},
		{hubDesc("taskfeed_users", "Users with an open connection."),
			prometheus.GaugeValue, func(s hub.Stats) float64 { return float64(s.Users) }},
		{hubDesc("taskfeed_head", "ID of the last event announced."),
			prometheus.GaugeValue, func(s hub.Stats) float64 { return float64(s.Head) }},
		{hubDesc("taskfeed_recent_bytes", "Memory that the shared recent frames take."),
			prometheus.GaugeValue, func(s hub.Stats) float64 { return float64(s.RecentBytes) }},
		{hubDesc("taskfeed_replays", "Reads of the event log that run now."),
			prometheus.GaugeValue, func(s hub.Stats) float64 { return float64(s.Replaying) }},
		{hubDesc("taskfeed_events_delivered_total", "Events handed to connections, once for each."),
			prometheus.CounterValue, func(s hub.Stats) float64 { return float64(s.Delivered) }},
		{hubDesc("taskfeed_frames_replayed_total", "Of the events delivered, those read from the log."),
			prometheus.CounterValue, func(s hub.Stats) float64 { return float64(s.Replayed) }},
		{hubDesc("taskfeed_log_reads_total", "Queries of the event log for connections."),
			prometheus.CounterValue, func(s hub.Stats) float64 { return float64(s.LogReads) }},
		{hubDesc("taskfeed_resets_total", "feed_reset frames: cursors that the log could not serve."),
			prometheus.CounterValue, func(s hub.Stats) float64 { return float64(s.Resets) }},
		{hubDesc("taskfeed_recent_shed_total", "Recent frames dropped while a connection still waited for them."),
			prometheus.CounterValue, func(s hub.Stats) float64 { return float64(s.Shed) }},
	}
)

// Describe implements prometheus.Collector.
func (c *hubCollector) Describe(out chan<- *prometheus.Desc) {
	out <- descUserConnections
	out <- descUnnamedUsers
	for _, m := range hubMetrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *hubCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.hub.Stats()
	for _, m := range hubMetrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
	named, all := []hub.UserCount(nil), stats.Users
	if c.maxUsers > 0 { // else nobody is named, and there is no need to list and sort them all
		named = c.hub.Users()
		all = len(named)
		named = named[:min(all, c.maxUsers)]
	}
	for _, u := range named {
		out <- prometheus.MustNewConstMetric(descUserConnections, prometheus.GaugeValue, float64(u.Subscribers), u.UserID)
	}
	out <- prometheus.MustNewConstMetric(descUnnamedUsers, prometheus.GaugeValue, float64(all-len(named)))
}

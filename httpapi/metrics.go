package httpapi

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/cache"
)

// newMetrics returns a registry with the metrics of the server and those of others.
func newMetrics(own, others []prometheus.Collector) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	own = append(own, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var errs []error
	for _, c := range append(own, others...) {
		if err := registry.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("httpapi: register metrics: %w", err))
		}
	}
	return registry, errors.Join(errs...)
}

// gatherer returns cached metrics: collecting them takes queries and a walk over all
// users, and reading them needs no token.
func gatherer[T any](k *cache.Value[[]T]) keptGatherer[T] { return keptGatherer[T]{k} }

type keptGatherer[T any] struct{ kept *cache.Value[[]T] }

// Gather implements prometheus.Gatherer.
func (g keptGatherer[T]) Gather() ([]T, error) {
	a := g.kept.Get()
	return a.Value, a.Err
}

// hubCollector collects the statistics of the hub.
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
		{hubDesc("taskfeed_frames_recalled_total", "Of the events delivered, those of the memory of recent events of all users."),
			prometheus.CounterValue, func(s hub.Stats) float64 { return float64(s.Recalled) }},
		{hubDesc("taskfeed_returns_without_read_total", "Clients that came back and had missed nothing, as was known without a read."),
			prometheus.CounterValue, func(s hub.Stats) float64 { return float64(s.Unread) }},
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
	if c.maxUsers > 0 { // otherwise no user is named, and listing them all is not needed
		named = c.hub.Users()
		all = len(named)
		named = named[:min(all, c.maxUsers)]
	}
	for _, u := range named {
		out <- prometheus.MustNewConstMetric(descUserConnections, prometheus.GaugeValue, float64(u.Subscribers), u.UserID)
	}
	out <- prometheus.MustNewConstMetric(descUnnamedUsers, prometheus.GaugeValue, float64(all-len(named)))
}

package feeds

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
)

// metrics counts what happens to connections.
type metrics struct {
	latency    prometheus.Histogram
	slow       prometheus.Counter
	ignored    prometheus.Counter
	feedErrors prometheus.Counter
	deferred   prometheus.Counter
	panics     prometheus.Counter
	bytes      prometheus.Counter
	closes     *prometheus.CounterVec // by close code
	refusals   *prometheus.CounterVec // of handshakes, by error code
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	return &metrics{
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "taskfeed_commit_to_socket_seconds",
			Help:    "Time from the capture of a change, by the database's clock, to its frame being written to a socket; live events only.",
			Buckets: []float64{.0005, .001, .002, .003, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
		slow:       counter("taskfeed_slow_closes_total", "Connections closed because the client took too long to take what was sent."),
		ignored:    counter("taskfeed_inbound_ignored_total", "Messages of clients that meant nothing to the server."),
		feedErrors: counter("taskfeed_feed_errors_total", "Reads of the event log for a connection that failed and were tried again."),
		deferred:   counter("taskfeed_handshakes_deferred_total", "Connections to feeds that were refused because too many clients came at once."),
		panics:     counter("taskfeed_connection_panics_total", "Panics that cost one connection."),
		bytes:      counter("taskfeed_sent_bytes_total", "Bytes written to sockets and streams."),
		closes:     vector("taskfeed_closes_total", "Connections that ended, by close code; 1006 is one without a close frame, and a stream whose client went.", "code"),
		refusals:   vector("taskfeed_handshake_refusals_total", "Connections to feeds that were refused, by error code.", "code"),
	}
}

// Collectors returns what is shown at /metrics.
func (f *Feeds) Collectors() []prometheus.Collector {
	m := f.metrics
	return []prometheus.Collector{m.latency, m.slow, m.ignored, m.feedErrors, m.deferred, m.panics, m.bytes, m.closes, m.refusals}
}

// CountRefusal counts a handshake that was refused before it reached a handler.
func (f *Feeds) CountRefusal(ctx context.Context, err error) { f.metrics.refused(ctx, err) }

// delivered records the latency of the live events in one write.
func (m *metrics) delivered(frames []*hub.Frame, now time.Time) {
	for _, f := range frames {
		if !f.Replayed && !f.Timestamp.IsZero() {
			m.latency.Observe(max(0, now.Sub(f.Timestamp).Seconds())) // the database's clock may be ahead
		}
	}
}

// refused counts a handshake that was refused, or whose client hung up before
// the answer.
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

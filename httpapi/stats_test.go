package httpapi

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/history"
)

// askAtOnce calls ask n times at once and waits for all. It returns how many seconds have
// begun meanwhile: each second a new count may be made.
func askAtOnce(n int, ask func()) (seconds int) {
	began := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(ask)
	}
	wg.Wait()
	return 1 + int(time.Since(began)/time.Second)
}

// TestOverviewIsCountedOnce: concurrent requests for statistics share one scan of
// the table of tasks.
func TestOverviewIsCountedOnce(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	f, _ := serveREST(t, h, Config{})
	token := f.adminToken()
	most := askAtOnce(20, func() {
		if resp, body := f.getAs(token, "/v1/stats?stalled_after=5m"); resp.StatusCode != 200 {
			t.Errorf("overview: %d %s, want 200", resp.StatusCode, body)
		}
	})
	if got := h.counts(); got < 1 || got > most {
		t.Errorf("tasks were counted %d times, want once a second, %d at most", got, most)
	}
}

// TestOverviewThatFails: statistics that take too long are not computed again for
// each request.
func TestOverviewThatFails(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	f, _ := serveREST(t, h, Config{})
	h.stats = history.Stats{}
	token := f.adminToken()
	h.statsErr = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "too slow"}
	most := askAtOnce(5, func() {
		resp, body := f.getAs(token, "/v1/stats")
		f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
	})
	if got := h.counts(); got < 1 || got > most {
		t.Errorf("tasks were counted %d times, want once a second, %d at most", got, most)
	}
}

// counter is a collector that counts its calls.
type counter struct{ asked atomic.Int64 }

func (*counter) Describe(out chan<- *prometheus.Desc) {
	out <- prometheus.NewDesc("taskfeed_test", "Of a test.", nil, nil)
}

func (c *counter) Collect(out chan<- prometheus.Metric) {
	c.asked.Add(1)
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("taskfeed_test", "Of a test.", nil, nil), prometheus.GaugeValue, 1)
}

// TestCrowdAtHealth: metrics and readiness need no token, so concurrent requests
// share one collection and one run of the checks.
func TestCrowdAtHealth(t *testing.T) {
	t.Parallel()
	var checks atomic.Int64
	var collected counter
	f := serve(t, setup{cfg: Config{CheckInterval: time.Hour, MetricsUsers: -1}, deps: Deps{
		Checks:     []Check{{Name: "database", Run: func(context.Context) error { checks.Add(1); return nil }}},
		Collectors: []prometheus.Collector{&collected},
	}})
	collected.asked.Store(0) // registration calls it
	f.dial("alice").ExpectQuiet()
	askAtOnce(100, func() {
		for _, path := range []string{"/metrics", "/readyz"} {
			if resp, body := f.get(path); resp.StatusCode != 200 {
				t.Errorf("%s: %d %s, want 200", path, resp.StatusCode, body)
			}
		}
	})
	if c, m := checks.Load(), collected.asked.Load(); c != 1 || m != 1 {
		t.Errorf("the checks ran %d times and metrics were collected %d times, want once each", c, m)
	}
	if got := f.metric("taskfeed_metrics_users_left_off"); got != 1 {
		t.Errorf("users that are not named: got %v, want 1", got)
	}
}

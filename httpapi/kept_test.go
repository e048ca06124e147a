package httpapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/history"
)

// all calls ask n times at once and waits for all.
func all(n int, ask func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(ask)
	}
	wg.Wait()
}

// However many ask, and however dear the question, it takes at most a twentieth of
// the time, and never two at once.
func TestKept(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{"an answer": nil, "a failure": errors.New("too slow")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				looks := 0
				k := newKept(overviewAge, func() (int, error) {
					looks++
					time.Sleep(3 * time.Second)
					return looks, failure
				})
				want := func(when string, value int) {
					t.Helper()
					all(10, func() {
						if a := k.ask(); a.value != value || !errors.Is(a.err, failure) {
							t.Errorf("%s: got %d (%v), want %d (%v)", when, a.value, a.err, value, failure)
						}
					})
				}
				want("at first", 1)
				time.Sleep(59 * time.Second)
				want("before 20 times what it took", 1)
				time.Sleep(2 * time.Second)
				want("after that", 2)
			})
		})
	}
}

// Who does not wait gets the answer before, while the next one is looked for.
func TestKeptWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		k := newKept(always(time.Minute), func() (int, error) {
			looks++
			time.Sleep(10 * time.Second)
			return looks, nil
		})
		hasty := func() *finding[int] {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return k.askWithin(ctx)
		}
		if a := hasty(); a != nil {
			t.Errorf("without an answer: got %v, want none", a)
		}
		time.Sleep(10 * time.Second)
		if a := hasty(); a == nil || a.value != 1 {
			t.Errorf("an answer that nobody waited for: got %v, want 1", a)
		}
		time.Sleep(time.Minute)
		if a := hasty(); a == nil || a.value != 1 {
			t.Errorf("while the next is looked for: got %v, want 1", a)
		}
		time.Sleep(10 * time.Second)
		if a := hasty(); a == nil || a.value != 2 {
			t.Errorf("after that: got %v, want 2", a)
		}
	})
}

// A panic of the one who looks is a failure for those who ask.
func TestKeptPanic(t *testing.T) {
	t.Parallel()
	k := newKept(always(0), func() (int, error) { panic("a fault planted by a test") })
	if a := k.ask(); a.err == nil {
		t.Error("got no error, want one")
	}
}

// Ten tabs of two admins are one scan of the table of tasks.
func TestOverviewIsCountedOnce(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	f, _ := serveREST(t, h, Config{})
	token := f.adminToken()
	all(20, func() {
		if resp, body := f.getAs(token, "/v1/stats?stalled_after=5m"); resp.StatusCode != 200 {
			t.Errorf("overview: %d %s, want 200", resp.StatusCode, body)
		}
	})
	if h.counted != 1 {
		t.Errorf("tasks were counted %d times, want once", h.counted)
	}
}

// An overview that takes too long is not counted again for each who asks.
func TestOverviewThatFails(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	f, _ := serveREST(t, h, Config{})
	h.stats = history.Stats{}
	token := f.adminToken()
	h.err = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "too slow"}
	f.overview.ask()
	h.err = nil
	all(5, func() {
		resp, body := f.getAs(token, "/v1/stats")
		f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
	})
	if h.counted != 1 {
		t.Errorf("tasks were counted %d times, want once", h.counted)
	}
}

// counter is a collector that counts how often it is asked.
type counter struct{ asked atomic.Int64 }

func (*counter) Describe(out chan<- *prometheus.Desc) {
	out <- prometheus.NewDesc("taskfeed_test", "Of a test.", nil, nil)
}

func (c *counter) Collect(out chan<- prometheus.Metric) {
	c.asked.Add(1)
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("taskfeed_test", "Of a test.", nil, nil), prometheus.GaugeValue, 1)
}

// Metrics and readiness need no token: a hundred who ask at once cost what one
// does.
func TestCrowdAtHealth(t *testing.T) {
	t.Parallel()
	var checks atomic.Int64
	var collected counter
	f := serve(t, setup{cfg: Config{CheckInterval: time.Hour, MetricsUsers: -1}, deps: Deps{
		Checks:     []Check{{Name: "database", Run: func(context.Context) error { checks.Add(1); return nil }}},
		Collectors: []prometheus.Collector{&collected},
	}})
	collected.asked.Store(0) // it was asked when it was registered
	f.dial("alice").ExpectQuiet()
	all(100, func() {
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

package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/store"
)

// hazardInterval is the time between two looks for hazards.
const hazardInterval = 10 * time.Second

// hazardWatch keeps the hazards found by the last look, and logs each new one once.
// Hazards are what others have set up in the database that harms the feed.
type hazardWatch struct {
	look   func(context.Context) ([]store.Hazard, error)
	logger *slog.Logger

	mu    sync.Mutex
	found []store.Hazard
}

// Run looks every hazardInterval until ctx is done.
func (w *hazardWatch) Run(ctx context.Context) error {
	for {
		w.once(ctx)
		if !pause.For(ctx, hazardInterval) {
			return nil
		}
	}
}

func (w *hazardWatch) once(ctx context.Context) {
	found, err := w.look(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.logger.Warn("cannot look for hazards in the database", "error", err)
		}
		return // the last findings may still be true
	}
	w.mu.Lock()
	before := w.found
	w.found = found
	w.mu.Unlock()
	known := make(map[store.Hazard]bool, len(before))
	for _, h := range before {
		known[h] = true
	}
	for _, h := range found {
		if !known[h] {
			w.logger.Error("the database is set up in a way that harms the feed", "kind", h.Kind, "fix", h.Says)
		}
	}
}

func (w *hazardWatch) of(kind store.HazardKind) (says []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.found {
		if h.Kind == kind {
			says = append(says, h.Says)
		}
	}
	return says
}

// checks returns the checks for /readyz. Excessive privileges are shown there, but do
// not make the server unready.
func (w *hazardWatch) checks() []httpapi.Check {
	var checks []httpapi.Check
	for _, kind := range store.HazardKinds {
		if kind == store.HazardCapture {
			continue // reported by the check of capture
		}
		advice := kind == store.HazardRights
		checks = append(checks, httpapi.Check{Name: string(kind), Advice: advice, Run: func(context.Context) error {
			says := w.of(kind)
			switch {
			case len(says) == 0:
				return nil
			case advice: // anybody may ask, so roles are not named
				says = []string{"roles have rights in the schema taskfeed that no app needs"}
				fallthrough
			case len(says) > 1:
				says = []string{says[0] + "; the server's log and taskfeed doctor show all"}
			}
			return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: says[0]}
		}})
	}
	return checks
}

var hazardsDesc = prometheus.NewDesc("taskfeed_hazards", "Setups of others in the database that harm the feed, by kind.", []string{"kind"}, nil)

// Describe implements prometheus.Collector.
func (w *hazardWatch) Describe(ch chan<- *prometheus.Desc) { ch <- hazardsDesc }

// Collect implements prometheus.Collector.
func (w *hazardWatch) Collect(ch chan<- prometheus.Metric) {
	for _, kind := range store.HazardKinds {
		ch <- prometheus.MustNewConstMetric(hazardsDesc, prometheus.GaugeValue, float64(len(w.of(kind))), string(kind))
	}
}

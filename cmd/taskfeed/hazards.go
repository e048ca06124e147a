package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/migrations"
	"github.com/taskfeed/taskfeed/store"
)

// hazardInterval is the time between two looks for hazards.
const hazardInterval = 10 * time.Second

// hazardWatch knows what others have set up around our tables, as of a moment
// ago. What is new it logs, once.
type hazardWatch struct {
	look   func(context.Context) ([]store.Hazard, error)
	logger *slog.Logger

	mu    sync.Mutex
	found []store.Hazard
}

// Run looks now and then until ctx is done.
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
		return // what was found last may still be true
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

// checks are those of /readyz. Rights that are too wide are told there, and are no
// reason to turn everybody away.
func (w *hazardWatch) checks() []httpapi.Check {
	var checks []httpapi.Check
	for _, kind := range store.HazardKinds {
		if kind == store.HazardCapture {
			continue // a part of the check of that name
		}
		advice := kind == store.HazardRights
		checks = append(checks, httpapi.Check{Name: string(kind), Advice: advice, Run: func(context.Context) error {
			says := w.of(kind)
			switch {
			case len(says) == 0:
				return nil
			case advice: // a stranger may ask, who need not know whose rights are too wide
				says = []string{"roles have rights in the schema taskfeed that no app needs"}
				fallthrough
			case len(says) > 1:
				says = []string{says[0] + "; the server's log and taskfeed doctor tell all"}
			}
			return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: says[0]}
		}})
	}
	return checks
}

var hazardsDesc = prometheus.NewDesc("taskfeed_hazards", "What others have set up in the database that harms the feed, by kind.", []string{"kind"}, nil)

// Describe implements prometheus.Collector.
func (w *hazardWatch) Describe(ch chan<- *prometheus.Desc) { ch <- hazardsDesc }

// Collect implements prometheus.Collector.
func (w *hazardWatch) Collect(ch chan<- prometheus.Metric) {
	for _, kind := range store.HazardKinds {
		ch <- prometheus.MustNewConstMetric(hazardsDesc, prometheus.GaugeValue, float64(len(w.of(kind))), string(kind))
	}
}

// findings are what doctor prints of hazards.
func findings(found []store.Hazard) []migrations.Finding {
	var lines []migrations.Finding
	for _, h := range found {
		lines = append(lines, migrations.Finding{Problem: true, Says: h.Says})
	}
	return lines
}

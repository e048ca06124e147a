package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// defaultStalled is how long a running task may show no change before it counts as
// stalled.
const defaultStalled = 10 * time.Minute

// statsBody is the body of the answer.
type statsBody struct {
	Counts        []statusCount   `json:"counts"`
	PerMinute     []minuteCount   `json:"events_per_minute"` // the last hour, oldest first
	OldestRunning *taskfeed.Task  `json:"oldest_running"`
	Stalled       []taskfeed.Task `json:"stalled"`
	StalledAfter  float64         `json:"stalled_after_seconds"`
	Age           float64         `json:"age_seconds"` // of the counts and of the oldest task
}

type statusCount struct {
	Status taskfeed.Status `json:"status"`
	Kind   string          `json:"kind,omitempty"`
	Source string          `json:"source,omitempty"`
	Count  int64           `json:"count"`
}

type minuteCount struct {
	Minute time.Time `json:"minute"`
	Count  int64     `json:"count"`
}

const (
	// statsShare is how many times as long as counting took a result is used, so that
	// counting takes at most a twentieth of the database's time.
	statsShare  = 20
	statsMinAge = time.Second
	// statsTimeout bounds the counting, statsWait how long a request waits for it.
	statsTimeout = time.Minute
	statsWait    = 10 * time.Second
)

// statsAge is how old a result may be: every open console asks for one every few
// seconds, and each count reads all tasks.
func statsAge(took time.Duration) time.Duration { return max(statsMinAge, statsShare*took) }

func (h *Handlers) countAll(ctx context.Context) (history.Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	return h.history.Stats(ctx)
}

// currentStats returns the counts and their age. While counting takes long, it
// returns the counts before.
func (h *Handlers) currentStats(ctx context.Context) (all history.Stats, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, statsWait)
	defer cancel()
	a := h.stats.GetWithin(ctx)
	if a == nil {
		return all, 0, &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "all tasks are being counted, which takes long; ask again in a minute"}
	}
	return a.Value, time.Since(a.Found), a.Err
}

// ServeStats answers with an overview of the tasks and the log.
func (h *Handlers) ServeStats(c echo.Context, _ Viewer) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	stalledAfter := p.Duration("stalled_after", defaultStalled)
	if err := p.Done(); err != nil {
		return err
	}
	stalled, err := h.history.StalledTasks(c.Request().Context(), stalledAfter)
	if err != nil {
		return err
	}
	all, age, err := h.currentStats(c.Request().Context())
	if err != nil {
		return err
	}
	body := statsBody{
		Counts: request.Map(all.Counts, func(n history.StatusCount) statusCount {
			return statusCount{n.Status, n.Kind, n.Source, n.Count}
		}),
		PerMinute: request.Map(all.PerMinute, func(n history.MinuteCount) minuteCount {
			return minuteCount{n.Minute.UTC(), n.Count}
		}),
		Stalled:      request.Map(stalled, viewTask),
		StalledAfter: stalledAfter.Seconds(),
		Age:          age.Seconds(),
	}
	if all.OldestRunning != nil {
		t := viewTask(*all.OldestRunning)
		body.OldestRunning = &t
	}
	return request.WriteJSON(c, http.StatusOK, body)
}

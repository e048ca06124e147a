package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// handleMe answers with what the token says.
func (s *Server) handleMe(c echo.Context, p auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		UserID    string    `json:"user_id"`
		Role      string    `json:"role,omitempty"`
		Admin     bool      `json:"admin"`
		ExpiresAt time.Time `json:"expires_at"`
	}{p.UserID, p.Role, p.Admin(), p.ExpiresAt.UTC()})
}

// defaultStalled is when a task that runs counts as stalled.
const defaultStalled = 10 * time.Minute

// stats is the body of the overview.
type stats struct {
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
	Count  int64           `json:"count"`
}

type minuteCount struct {
	Minute time.Time `json:"minute"`
	Count  int64     `json:"count"`
}

const (
	// overviewShare is how many times as long as counting took its result is good
	// for: counting takes at most so small a part of the database's time.
	overviewShare = 20
	overviewLeast = time.Second
	// overviewLimit bounds the counting, overviewWait how long a request waits for it.
	overviewLimit = time.Minute
	overviewWait  = 10 * time.Second
)

// overviewAge is how old an overview may be: every console that is open asks for one
// each few seconds, and each counts all tasks.
func overviewAge(took time.Duration) time.Duration { return max(overviewLeast, overviewShare*took) }

func (s *Server) countAll(ctx context.Context) (history.Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, overviewLimit)
	defer cancel()
	return s.deps.History.Stats(ctx)
}

// overviewFor returns the overview, an older one while counting goes on for long.
func (s *Server) overviewFor(ctx context.Context) (all history.Stats, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, overviewWait)
	defer cancel()
	a := s.overview.GetWithin(ctx)
	if a == nil {
		return all, 0, &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "all tasks are being counted, which takes long; ask again in a minute"}
	}
	return a.Value, time.Since(a.Found), a.Err
}

// handleStats answers with an overview of the tasks and the log.
func (s *Server) handleStats(c echo.Context, _ auth.Principal) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	stalledAfter := p.Duration("stalled_after", defaultStalled)
	if err := p.Done(); err != nil {
		return err
	}
	stalled, err := s.deps.History.StalledTasks(c.Request().Context(), stalledAfter)
	if err != nil {
		return err
	}
	all, age, err := s.overviewFor(c.Request().Context())
	if err != nil {
		return err
	}
	body := stats{
		Counts: request.Map(all.Counts, func(n history.StatusCount) statusCount {
			return statusCount{n.Status, n.Kind, n.Count}
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

package httpapi

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
)

// handleMe answers with what the token says.
func (s *Server) handleMe(c echo.Context, p auth.Principal) error {
	if err := noParams(c); err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, struct {
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

// handleStats answers with an overview of the tasks and the log.
func (s *Server) handleStats(c echo.Context, _ auth.Principal) error {
	p, err := readParams(c.Request())
	if err != nil {
		return err
	}
	stalledAfter := p.duration("stalled_after", defaultStalled)
	if err := p.err(); err != nil {
		return err
	}
	all, err := s.deps.History.Stats(c.Request().Context(), stalledAfter)
	if err != nil {
		return err
	}
	body := stats{
		Counts: mapped(all.Counts, func(n taskfeed.StatusCount) statusCount {
			return statusCount{n.Status, n.Kind, n.Count}
		}),
		PerMinute: mapped(all.PerMinute, func(n taskfeed.MinuteCount) minuteCount {
			return minuteCount{n.Minute.UTC(), n.Count}
		}),
		Stalled:      mapped(all.Stalled, viewTask),
		StalledAfter: stalledAfter.Seconds(),
	}
	if all.OldestRunning != nil {
		t := viewTask(*all.OldestRunning)
		body.OldestRunning = &t
	}
	return writeJSON(c, http.StatusOK, body)
}

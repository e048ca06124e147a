package rest

import (
	"context"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// step is an event in the timeline of a task.
type step struct {
	event
	// SincePrevious is the time since the event before, in milliseconds; absent
	// for the first.
	SincePrevious *float64 `json:"since_previous_ms,omitempty"`
}

// timeline is a page of a task's events, oldest first.
type timeline struct {
	request.List[step]
	Summary *summary `json:"summary,omitempty"` // with the first page
}

// summary sums up a task's events. Times are in milliseconds.
type summary struct {
	Events        int       `json:"events"`
	ProgressSteps int       `json:"progress_steps"`
	Attempts      int       `json:"attempts"`
	Queued        float64   `json:"queued_ms"`
	Running       float64   `json:"running_ms"`
	First         time.Time `json:"first,omitzero"` // absent when no event is kept
	Last          time.Time `json:"last,omitzero"`
}

// ServeTimeline answers with what happened to a task, also when it is deleted by now.
// A user who was never told of the task gets 404, as if it did not exist.
func (h *Handlers) ServeTimeline(c echo.Context, v Viewer) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	id, err := request.IDOf(c, p, "id")
	if err != nil {
		return err
	}
	limit, after := p.Limit(history.MaxPageLimit), p.After()
	if err := p.Done(); err != nil {
		return err
	}
	page, err := h.findTimeline(c.Request().Context(), v, id, after, limit)
	if err != nil {
		return afterFault(err, after)
	}
	request.LinkNext(c, page.Next)
	keepItems(c, page.Items, eventBytes)
	return request.WritePage(c, viewTimeline(&page), page.Items, stepsAfter(page.Previous))
}

func (h *Handlers) findTimeline(ctx context.Context, v Viewer, id, after string, limit int) (history.Timeline, error) {
	if v.all {
		return h.history.TaskEvents(ctx, id, after, limit)
	}
	return h.history.UserTaskEvents(ctx, v.users(), id, after, limit)
}

// viewTimeline is the page without its items.
func viewTimeline(page *history.Timeline) timeline {
	body := timeline{List: request.List[step]{Items: []step{}, Next: page.Next}}
	if sum := page.Summary; sum != nil {
		body.Summary = &summary{sum.Events, sum.ProgressSteps, sum.Attempts,
			milliseconds(sum.Queued), milliseconds(sum.Running), sum.First.UTC(), sum.Last.UTC()}
	}
	return body
}

// stepsAfter returns a view that shows each event with the time since the one before.
func stepsAfter(previous time.Time) func(*taskfeed.Event) step {
	return func(e *taskfeed.Event) step {
		st := step{event: viewEvent(e)}
		if !previous.IsZero() {
			ms := milliseconds(e.Timestamp.Sub(previous))
			st.SincePrevious = &ms
		}
		previous = e.Timestamp
		return st
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

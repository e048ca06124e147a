package httpapi

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Samples changes tasks as an app would, so that a developer can watch the feed. Only
// "taskfeed dev" has it.
type Samples interface {
	// Actions names what Run can do.
	Actions() []string
	// Run does it with a task of the user and returns the statement that did it.
	// It returns CodeNotFound when there is no task to do it with, CodeBadRequest
	// for an action that it does not know, CodeUnavailable while the database is
	// away.
	Run(ctx context.Context, userID, action string) (statement string, err error)
}

// pathSamples is outside the API: no program may count on it.
const pathSamples = "/dev/sample"

// handleSampleActions answers what can be tried.
func (s *Server) handleSampleActions(c echo.Context, _ auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		Actions []string `json:"actions"`
	}{s.deps.Samples.Actions()})
}

// handleSample does what ?action= names, with a task of the caller's own.
func (s *Server) handleSample(c echo.Context, principal auth.Principal) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	action := p.Text("action")
	if err := p.Done(); err != nil {
		return err
	}
	statement, err := s.deps.Samples.Run(c.Request().Context(), principal.UserID, action)
	if err != nil {
		return err
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		Statement string `json:"statement"`
	}{statement})
}

package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/internal/logs"
)

// handleError is echo's error handler and the only writer of error bodies.
func (s *Server) handleError(err error, c echo.Context) {
	if request.ClientGone(err) {
		s.leaveOff(c, err)
		return
	}
	if c.Response().Committed {
		s.cutOff(c, err)
		return
	}
	e := request.AsError(err)
	level := slog.LevelDebug // the access log has it already
	if e.Code == taskfeed.CodeInternal {
		level = slog.LevelError
	}
	request.SetRefusal(c, e.Code)
	s.log.Log(c.Request().Context(), level, "request refused",
		"request_id", request.ID(c), "code", e.Code, "error", err, logs.Bounded(string(e.Code)))
	if err := request.WriteProblem(c, err); err != nil {
		s.log.Debug("error body not written", "request_id", request.ID(c), "error", err)
	}
}

// cutOff ends an answer that has begun and cannot be completed, so that no client
// takes a part for the whole. Of a connection that was upgraded there is no answer.
func (s *Server) cutOff(c echo.Context, err error) {
	a := request.ReplyOf(c)
	if a == nil || c.Response().Status == http.StatusSwitchingProtocols {
		s.log.Warn("request failed after its response began", "request_id", request.ID(c), "error", err)
		return
	}
	if a.Fail(request.CutFailed) { // else it is the client's doing, and the access log says so
		s.log.Warn("answer cut off", "request_id", request.ID(c), "error", err)
	}
	panic(http.ErrAbortHandler)
}

// statusGone is what the access log says of a request whose client hung up before
// its answer was ready, as nginx has it. A 5xx would count as a fault of ours.
const statusGone = 499

// leaveOff ends a request whose client is gone. What broke besides is told.
func (s *Server) leaveOff(c echo.Context, err error) {
	if !errors.Is(err, context.Canceled) {
		s.log.Error("request of a client that is gone failed", "request_id", request.ID(c), "error", err)
	}
	if !c.Response().Committed {
		_ = c.NoContent(statusGone) // nobody reads it, but a client that closed its half alone
		return
	}
	if a := request.ReplyOf(c); a != nil && c.Response().Status != http.StatusSwitchingProtocols {
		a.Fail(request.CutGone)
		panic(http.ErrAbortHandler)
	}
}

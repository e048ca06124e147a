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
		s.abandon(c, err)
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

// cutOff cuts the connection of an answer that has begun and cannot be completed, so
// that no client takes the part for the whole. After an upgrade it only logs.
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

// statusGone is the status, as nginx has it, of a request whose client hung up before
// the answer was ready. A 5xx would count as a fault of the server.
const statusGone = 499

// abandon ends a request whose client hung up. It logs an error that has another cause
// than that.
func (s *Server) abandon(c echo.Context, err error) {
	if !errors.Is(err, context.Canceled) {
		s.log.Error("request failed after its client hung up", "request_id", request.ID(c), "error", err)
	}
	if !c.Response().Committed {
		_ = c.NoContent(statusGone) // only a client that closed one half of the connection reads it
		return
	}
	if a := request.ReplyOf(c); a != nil && c.Response().Status != http.StatusSwitchingProtocols {
		a.Fail(request.CutGone)
		panic(http.ErrAbortHandler)
	}
}

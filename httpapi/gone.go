package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

// statusGone is what the access log says of a request whose client hung up before
// its answer was ready, as nginx has it. A 5xx would count as a fault of ours.
const statusGone = 499

// goneError is what ended the handler of a client that hung up. The handler's
// context ends with the client, so mostly it is no fault.
type goneError struct{ error }

func (e goneError) Unwrap() error { return e.error }

// ofClient tells an error of the server from the end of the client. ctx is that of
// the connection, which net/http cancels when the client is gone.
func ofClient(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) && answers[asError(err).Code].status >= http.StatusInternalServerError {
		return goneError{err}
	}
	return err
}

// isGone reports whether the client's end is in err.
func isGone(err error) bool {
	_, ok := errors.AsType[goneError](err)
	return ok
}

// leaveOff ends a request whose client is gone. What broke besides is told.
func (s *Server) leaveOff(c echo.Context, err error) {
	if !errors.Is(err, context.Canceled) {
		s.log.Error("request of a client that is gone failed", "request_id", requestID(c), "error", err)
	}
	if !c.Response().Committed {
		_ = c.NoContent(statusGone) // nobody reads it, but a client that closed its half alone
		return
	}
	if a := replyOf(c); a != nil && c.Response().Status != http.StatusSwitchingProtocols {
		if a.failed == "" {
			a.failed = cutGone
		}
		panic(http.ErrAbortHandler)
	}
}

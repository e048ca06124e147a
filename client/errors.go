package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
	"github.com/taskfeed/taskfeed"
)

// The errors that end Run; test for them with errors.Is. No error shows a token.
var (
	// ErrRejected: the server refused the token twice in a row, or Token itself
	// wrapped ErrRejected.
	ErrRejected = errors.New("client: the token is refused; get a new one")
	// ErrForbidden: the token is valid but not for this user's feed.
	ErrForbidden = errors.New("client: the token does not open this feed")
	// ErrDisconnected: an operator closed the connection for good.
	ErrDisconnected = errors.New("client: an operator closed the connection")
	// ErrRefused: the server does not accept the request.
	ErrRefused = errors.New("client: the server refuses the request")
	// ErrProtocol: what arrived is not the taskfeed protocol.
	ErrProtocol = errors.New("client: the server does not speak the taskfeed protocol")
	// ErrReset: events were missed for good and Config.OnReset is not set.
	ErrReset = errors.New("client: events were missed for good; read the tasks again (see Config.OnReset)")
	// ErrRunning: the feed's Run has not ended yet.
	ErrRunning = errors.New("client: the feed runs already")
)

// CloseError is the close frame that ended a connection. errors.Is matches it
// with ErrRejected, ErrForbidden, ErrDisconnected or ErrRefused by its code.
type CloseError struct {
	Code   int
	Reason string
}

// Error names the code and the server's reason.
func (e *CloseError) Error() string {
	return fmt.Sprintf("client: the server closed the connection with %d %q", e.Code, e.Reason)
}

// Is reports whether target is the error that the code stands for.
func (e *CloseError) Is(target error) bool {
	switch {
	case e.Code == taskfeed.CloseBadToken:
		return target == ErrRejected
	case e.Code == taskfeed.CloseForbidden:
		return target == ErrForbidden
	case e.Code == taskfeed.CloseDisconnected:
		return target == ErrDisconnected
	case e.Code >= taskfeed.ClosePermanent:
		return target == ErrRefused
	}
	return false
}

// soon reports whether the server asked the client to reconnect at once.
func (e *CloseError) soon() bool {
	return e.Code == websocket.CloseServiceRestart || e.Code == taskfeed.CloseSlow
}

// StatusError is the answer of a server that did not upgrade the connection.
// errors.Is matches it with ErrRejected (401), ErrForbidden (403) or ErrRefused
// (any other 4xx that will not change by itself).
type StatusError struct {
	Status int
	// Code and Detail are those of the server's problem document, if it sent one.
	Code   taskfeed.Code
	Detail string
	// RetryAfter is how long the server asks to wait, at most 10 minutes.
	RetryAfter time.Duration
}

// Error names the status and the server's detail.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("client: the server answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		text += fmt.Sprintf(": %q", e.Detail)
	}
	return text
}

// Is reports whether target is the error that the status stands for.
func (e *StatusError) Is(target error) bool {
	switch e.Status {
	case http.StatusUnauthorized:
		return target == ErrRejected
	case http.StatusForbidden:
		return target == ErrForbidden
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return target == ErrRefused && 400 <= e.Status && e.Status < 500
}

// newStatusError reads the answer to a handshake. A body that is not a problem document
// is ignored: it is a proxy's and may contain anything.
func newStatusError(resp *http.Response, used credential) *StatusError {
	e := &StatusError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/problem+json" {
		return e
	}
	body, _ := io.ReadAll(resp.Body) // of at most 1 KB, in memory
	var problem struct {
		Code   taskfeed.Code `json:"code"`
		Detail string        `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil {
		e.Code, e.Detail = problem.Code, used.redact(problem.Detail)
	}
	return e
}

const maxRetryAfter = 10 * time.Minute

// retryAfter reads a Retry-After header: seconds or a date (RFC 9110 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(value); err == nil {
		wait = t.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// fatal marks an error that ends Run.
type fatal struct{ error }

func (f *fatal) Unwrap() error { return f.error }

// ends returns the error that Run ends with, or nil when the feed may go on.
func ends(err error) error {
	if f, ok := errors.AsType[*fatal](err); ok {
		return f.error
	}
	for _, e := range []error{ErrForbidden, ErrDisconnected, ErrRefused} {
		if errors.Is(err, e) {
			return err
		}
	}
	return nil
}

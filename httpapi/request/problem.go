package request

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
)

// answer is how HTTP shows a code. retry, where it is not zero, is sent as
// Retry-After.
type answer struct {
	status int
	title  string
	retry  time.Duration
}

// answers has an entry for every code of package taskfeed.
var answers = map[taskfeed.Code]answer{
	taskfeed.CodeInternal:             {status: http.StatusInternalServerError, title: "Internal error"},
	taskfeed.CodeUnavailable:          {status: http.StatusServiceUnavailable, title: "Not available now", retry: 2 * time.Second},
	taskfeed.CodeBadRequest:           {status: http.StatusBadRequest, title: "Bad request"},
	taskfeed.CodeBadCursor:            {status: http.StatusBadRequest, title: "Bad cursor"},
	taskfeed.CodeGone:                 {status: http.StatusGone, title: "Cursor too old"},
	taskfeed.CodeMarkAhead:            {status: http.StatusConflict, title: "Mark ahead of the log"},
	taskfeed.CodeBadToken:             {status: http.StatusUnauthorized, title: "Token refused"},
	taskfeed.CodeAmbiguousCredentials: {status: http.StatusBadRequest, title: "More than one token"},
	taskfeed.CodeForbidden:            {status: http.StatusForbidden, title: "Forbidden"},
	taskfeed.CodeOriginNotAllowed:     {status: http.StatusForbidden, title: "Origin not allowed"},
	taskfeed.CodeNotFound:             {status: http.StatusNotFound, title: "Not found"},
	taskfeed.CodeMethodNotAllowed:     {status: http.StatusMethodNotAllowed, title: "Method not allowed"},
	taskfeed.CodeNotAcceptable:        {status: http.StatusNotAcceptable, title: "Not acceptable"},
	taskfeed.CodeTooLarge:             {status: http.StatusRequestEntityTooLarge, title: "Too large"},
	taskfeed.CodeURITooLong:           {status: http.StatusRequestURITooLong, title: "URL too long"},
	taskfeed.CodeUnsupportedMedia:     {status: http.StatusUnsupportedMediaType, title: "Unsupported media type"},
	taskfeed.CodeTooManyConnections:   {status: http.StatusTooManyRequests, title: "Too many connections", retry: 10 * time.Second},
	taskfeed.CodeTooManyClients:       {status: http.StatusConflict, title: "Too many clients"},
	taskfeed.CodeRateLimited:          {status: http.StatusTooManyRequests, title: "Too many requests", retry: 10 * time.Second},
	taskfeed.CodeUpgradeRequired:      {status: http.StatusUpgradeRequired, title: "WebSocket only"},
	taskfeed.CodeInboxOff:             {status: http.StatusNotFound, title: "No messages taken"},
	taskfeed.CodeTopicNotAllowed:      {status: http.StatusForbidden, title: "Topic not allowed"},
	taskfeed.CodeRefReused:            {status: http.StatusConflict, title: "Ref in use"},
	taskfeed.CodeInboxFull:            {status: http.StatusConflict, title: "Inbox full"},
}

// Refusals with a fixed message.
var (
	ErrNotFound = &taskfeed.Error{Code: taskfeed.CodeNotFound,
		Message: "there is nothing at this URL; check its path"}
	errMethod = &taskfeed.Error{Code: taskfeed.CodeMethodNotAllowed,
		Message: "this URL does not answer to this method; the Allow header lists those that it does"}
	ErrBodyTooLarge = &taskfeed.Error{Code: taskfeed.CodeTooLarge,
		Message: "the request's body is too large"}
	ErrBadRequest = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
		Message: "the request cannot be understood"}
	errInternal = &taskfeed.Error{Code: taskfeed.CodeInternal,
		Message: "something went wrong on the server; its log has the cause under this request id"}
	ErrDraining = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "the server is restarting; connect again in a moment"}
	ErrHTTP2 = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
		Message: "this server speaks HTTP/1.1; send the request in that version"}
)

// Problem is the body of an error (RFC 9457).
type Problem struct {
	Type      string        `json:"type"`
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Detail    string        `json:"detail"`
	Instance  string        `json:"instance"`
	Code      taskfeed.Code `json:"code"`
	RequestID string        `json:"request_id"`
	Errors    []fieldError  `json:"errors,omitempty"` // what is wrong with which parameter
}

// problemTypes is where the codes are described; a code is added as fragment.
const problemTypes = "https://github.com/taskfeed/taskfeed/blob/main/docs/PROTOCOL.md#"

// WriteProblem answers with the problem document of an error.
func WriteProblem(c echo.Context, cause error) error {
	e := AsError(cause)
	var fields []fieldError
	if bad, ok := errors.AsType[*badParams](cause); ok {
		fields = bad.fields
	}
	a := answers[e.Code]
	id := ID(c)
	header := c.Response().Header()
	header.Set("Cache-Control", "no-store")
	if a.status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="taskfeed"`)
	}
	if a.retry > 0 && header.Get("Retry-After") == "" {
		header.Set("Retry-After", strconv.Itoa(int(a.retry.Seconds())))
	}
	if c.Request().Method == http.MethodHead {
		return c.NoContent(a.status)
	}
	body, err := json.Marshal(Problem{
		Type:      problemTypes + string(e.Code),
		Title:     a.title,
		Status:    a.status,
		Detail:    e.Message,
		Instance:  "urn:taskfeed:request:" + id,
		Code:      e.Code,
		RequestID: id,
		Errors:    fields,
	})
	if err != nil {
		return err
	}
	return c.Blob(a.status, "application/problem+json", body)
}

// AsError returns the part of an error that the caller may see: its code and message, a
// fixed refusal for an error of echo, otherwise an internal error without details.
func AsError(err error) *taskfeed.Error {
	if e, ok := errors.AsType[*taskfeed.Error](err); ok {
		if _, known := answers[e.Code]; known && e.Code != taskfeed.CodeInternal {
			return e
		}
		return errInternal
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return ErrBodyTooLarge
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return fromEcho(e)
	}
	return errInternal
}

// fromEcho keeps the status of echo's error and drops its message, which may repeat
// what the caller sent.
func fromEcho(e *echo.HTTPError) *taskfeed.Error {
	switch e.Code {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusMethodNotAllowed:
		return errMethod
	}
	if e.Code >= 400 && e.Code < 500 {
		return ErrBadRequest
	}
	return errInternal
}

// PanicError carries a panic and its stack to the log.
func PanicError(v any) error {
	return &taskfeed.Error{
		Code:    taskfeed.CodeInternal,
		Message: errInternal.Message,
		Err:     fmt.Errorf("panic: %v\n%s", v, debug.Stack()),
	}
}

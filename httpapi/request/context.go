package request

import (
	"context"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
)

// Keys of what handlers and middleware leave in echo's context.
const (
	keyRequestID    = "request_id"
	keyConnectionID = "connection_id"
	keyRefusal      = "refusal"   // the code of what was refused
	keyShare        = "share"     // of the memory of answers
	keyUnbounded    = "unbounded" // the request's context before its handler was bounded
)

// HeaderID is the header that carries the id of a request.
const HeaderID = "X-Request-Id"

// ID returns the id of the request.
func ID(c echo.Context) string {
	id, _ := c.Get(keyRequestID).(string)
	return id
}

// SetID gives the request an id and returns it with the response.
func SetID(c echo.Context, id string) {
	c.Set(keyRequestID, id)
	c.Response().Header().Set(HeaderID, id)
}

// ConnectionID returns the id of the connection that the request opened, empty when
// it opened none.
func ConnectionID(c echo.Context) string {
	id, _ := c.Get(keyConnectionID).(string)
	return id
}

// SetConnectionID notes that the request opened a connection.
func SetConnectionID(c echo.Context, id string) { c.Set(keyConnectionID, id) }

// RefusalCode returns the code that the request was refused with, empty when it was not.
func RefusalCode(c echo.Context) taskfeed.Code {
	code, _ := c.Get(keyRefusal).(taskfeed.Code)
	return code
}

// SetRefusal notes the code that the request is refused with.
func SetRefusal(c echo.Context, code taskfeed.Code) { c.Set(keyRefusal, code) }

// unboundedContext returns the context that the request had before its handler was
// bounded.
func unboundedContext(c echo.Context) context.Context {
	if ctx, ok := c.Get(keyUnbounded).(context.Context); ok {
		return ctx
	}
	return c.Request().Context()
}

package request

import (
	"context"
	"errors"
	"net/http"
)

// goneError wraps the error of a handler whose client hung up. The client's end cancels
// the handler's context, so the error is usually no fault of the server.
type goneError struct{ error }

func (e goneError) Unwrap() error { return e.error }

// BlameClient wraps an error of a handler so that ClientGone finds it, if the error
// would be the server's fault and the client hung up. ctx is that of the connection,
// which net/http cancels then.
func BlameClient(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) && answers[AsError(err).Code].status >= http.StatusInternalServerError {
		return goneError{err}
	}
	return err
}

// ClientGone reports whether BlameClient wrapped err.
func ClientGone(err error) bool {
	_, ok := errors.AsType[goneError](err)
	return ok
}

package request

import (
	"context"
	"errors"
	"net/http"
)

// goneError is what ended the handler of a client that hung up. The handler's
// context ends with the client, so mostly it is no fault.
type goneError struct{ error }

func (e goneError) Unwrap() error { return e.error }

// BlameClient tells an error of the server from the end of the client. ctx is that of
// the connection, which net/http cancels when the client is gone.
func BlameClient(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) && answers[AsError(err).Code].status >= http.StatusInternalServerError {
		return goneError{err}
	}
	return err
}

// ClientGone reports whether the client's end is in err.
func ClientGone(err error) bool {
	_, ok := errors.AsType[goneError](err)
	return ok
}

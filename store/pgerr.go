package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed"
)

const (
	// notText is the SQLSTATE of text that Postgres cannot hold: a NUL, bytes that
	// are not UTF-8.
	notText = "22021"
	// notAllowed is that of a right that is missing, and of a policy that would
	// hide rows: we ask for an error then, for a part of the rows would be a lie.
	notAllowed = "42501"
)

// lockNotAvailable is the SQLSTATE of a lock that was not given in time.
const lockNotAvailable = "55P03"

// isLockTimeout reports whether a lock was not given in time.
func isLockTimeout(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == lockNotAvailable
}

// wrap says what we were doing and gives an error of the database the code that
// callers act on, unless it has one. A fault that passes by itself is
// CodeUnavailable; nil stays nil.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*taskfeed.Error](err); ok {
		return err
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if isLockTimeout(err) {
		return &taskfeed.Error{Code: taskfeed.CodeUnavailable,
			Message: "a table is locked by another session, for example to be changed; try again", Err: err}
	}
	if passing(err) {
		return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database is not available now; try again", Err: err}
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && pgErr.Code == notText:
		return &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "text must be UTF-8 without NUL characters", Err: err}
	case ok && pgErr.Code == notAllowed:
		return &taskfeed.Error{Code: taskfeed.CodeUnavailable,
			Message: "the database refuses this server its tables: a right is missing, or row-level security applies to its role; taskfeed doctor says what to run", Err: err}
	}
	return err
}

// passing reports whether the same statement may succeed later unchanged: the
// connection failed, the server is starting or stopping, resources ran out, a
// lock or a timeout got in the way. Classes are those of the Postgres manual,
// appendix A.
func passing(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch class := pgErr.Code[:min(2, len(pgErr.Code))]; class {
		case "08", "40", "53", "55", "57", "58":
			return true
		case "25":
			return pgErr.Code == "25006" // read-only: a standby, or an operator's decision
		}
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	for _, lost := range []error{context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}

package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed"
)

// SQLSTATEs that have a code or a message of their own.
const (
	lockNotAvailable       = "55P03"
	queryCanceled          = "57014"
	insufficientPrivilege  = "42501" // also of a row-level policy that would hide rows: sessions ask for an error then
	readOnly               = "25006" // a standby, or an operator's decision
	characterNotInEncoding = "22021" // a NUL, or bytes that are not UTF-8
)

// IsLockTimeout reports whether a statement gave up waiting for a lock.
func IsLockTimeout(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == lockNotAvailable
}

// IsReadOnly reports whether a statement failed because the database takes no writes.
func IsReadOnly(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == readOnly
}

// Refused gives an error of values that Postgres cannot store, such as JSON with NUL
// characters, CodeBadRequest.
func Refused(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if ok && (strings.HasPrefix(pgErr.Code, "22") || strings.HasPrefix(pgErr.Code, "54")) {
		return &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "the database cannot store the data", Err: err}
	}
	return err
}

// Wrap adds what we were doing and gives an error of the database the code that
// callers act on, unless it has a code already. It returns CodeUnavailable when the
// same statement may succeed later, and nil for nil.
func Wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*taskfeed.Error](err); ok {
		return err
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if IsLockTimeout(err) {
		return &taskfeed.Error{Code: taskfeed.CodeUnavailable,
			Message: "a table is locked by another session, for example to be changed; try again", Err: err}
	}
	if passing(err) {
		return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database is not available now; try again", Err: err}
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && pgErr.Code == characterNotInEncoding:
		return &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "text must be UTF-8 without NUL characters", Err: err}
	case ok && pgErr.Code == insufficientPrivilege:
		return &taskfeed.Error{Code: taskfeed.CodeUnavailable,
			Message: "the database refuses this server its tables: a right is missing, or row-level security applies to its role; taskfeed doctor says what to run", Err: err}
	}
	return err
}

// Late is Wrap for a read that began with ctx and had a time limit of its own. When
// the read took too long, by that limit or by the caller's, the error says what to do.
func Late(ctx context.Context, doing string, err error) error {
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	canceled := pgErr != nil && pgErr.Code == queryCanceled // by statement_timeout, for example
	tooLate := canceled || errors.Is(err, context.DeadlineExceeded)
	if err == nil || !tooLate || errors.Is(ctx.Err(), context.Canceled) { // the last: the caller has gone
		return Wrap(doing, err)
	}
	return &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "the database took too long: narrow the filter, for example by a shorter range of time, or try again",
		Err:     fmt.Errorf("%s: %w", doing, err)}
}

// passing reports whether the same statement may succeed later unchanged: the
// connection failed, the server is starting or stopping, resources ran out, or a
// lock or a timeout got in the way. The classes are those of the Postgres manual,
// appendix A.
func passing(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch class := pgErr.Code[:min(2, len(pgErr.Code))]; class {
		case "08", "40", "53", "55", "57", "58":
			return true
		case "25":
			return pgErr.Code == readOnly
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

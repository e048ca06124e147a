package dial

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ParameterError says that the server refused a parameter of the URL. It does not
// pass by itself.
type ParameterError struct{ SQLState string }

func (e *ParameterError) Error() string {
	return fmt.Sprintf("the server refused a parameter of the database URL, its options or PGOPTIONS (SQLSTATE %s): "+
		"check the names and values behind the ?, and that the password is percent-encoded", e.SQLState)
}

// Explain takes out of an error of connecting what may hold a secret: what a
// server says about parameters repeats them. Other errors stay as they are.
func Explain(err error) error {
	if pgErr, ok := atStart(err); ok && aboutParameters(pgErr) {
		return &ParameterError{pgErr.Code}
	}
	return err
}

// aboutParameters reports whether a server refused what a connection begins with.
func aboutParameters(e *pgconn.PgError) bool {
	switch e.Code {
	case "22023", "42601", "42602", "42704", "55P02", "0A000": // invalid values and names, syntax, what is not known or not changed now
		return true
	case "42501": // a right is missing: to set an administrator's parameter, or to connect
		return strings.HasPrefix(e.Routine, "set_config")
	case "08P01": // poolers say so of anything
		return strings.Contains(e.Message, "parameter")
	}
	return false
}

// Refused reports whether a connection failed because something on the way does
// not take our parameters, as poolers do not; without them it may succeed.
func Refused(err error) bool {
	e, ok := atStart(err)
	return ok && (e.Code == "08P01" || e.Code == "0A000") && aboutParameters(e)
}

// atStart returns what the server said to the start of a connection.
func atStart(err error) (*pgconn.PgError, bool) {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return nil, false
	}
	return errors.AsType[*pgconn.PgError](err)
}

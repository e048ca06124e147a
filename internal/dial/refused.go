package dial

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ParameterError means that the server refused a parameter of the URL. Trying again does
// not help.
type ParameterError struct{ SQLState string }

func (e *ParameterError) Error() string {
	return fmt.Sprintf("the server refused a parameter of the database URL, its options or PGOPTIONS (SQLSTATE %s): "+
		"check the names and values after the ?, and that the password is percent-encoded", e.SQLState)
}

// Explain removes secrets from an error of connecting: a server's error about a
// parameter repeats it. Other errors are returned unchanged.
func Explain(err error) error {
	if pgErr, ok := atStart(err); ok && !mayShow(pgErr) {
		return &ParameterError{pgErr.Code}
	}
	return err
}

// mayShow reports whether a server's error at the start of a connection is known to
// show only names of the user, the database and the host. Any other may repeat a
// parameter, in a text that depends on it: about a missing library, a role, an isolation
// level.
func mayShow(e *pgconn.PgError) bool {
	if strings.Contains(strings.ToLower(e.Message), "parameter") {
		return false
	}
	switch e.Routine {
	case "": // a pooler
		return slices.ContainsFunc([]string{"08", "28", "3D", "53", "57", "58000", "XX"}, func(class string) bool { return strings.HasPrefix(e.Code, class) })
	case "InitPostgres", "CheckMyDatabase": // these check the database and the privilege to connect
		return true
	}
	return strings.HasPrefix(e.Code, "28") || strings.HasPrefix(e.Code, "57") || e.Code == "3D000" || e.Code == "53300"
}

// Refused reports whether a connection failed because a pooler on the way does not
// accept our parameters; without them it may succeed.
func Refused(err error) bool {
	e, ok := atStart(err)
	return ok && (e.Code == "0A000" || e.Code == "08P01" && strings.Contains(e.Message, "parameter"))
}

// atStart returns the server's error at the start of a connection.
func atStart(err error) (*pgconn.PgError, bool) {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return nil, false
	}
	return errors.AsType[*pgconn.PgError](err)
}

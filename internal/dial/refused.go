package dial

import (
	"errors"
	"fmt"
	"slices"
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
	if pgErr, ok := atStart(err); ok && !mayShow(pgErr) {
		return &ParameterError{pgErr.Code}
	}
	return err
}

// mayShow reports whether what a server said to the start of a connection is known
// to hold nothing but names of the user, the database and the host. All else may
// repeat a parameter, in words that hang on the parameter: of a library that is
// missing, a role, a level of isolation.
func mayShow(e *pgconn.PgError) bool {
	if strings.Contains(strings.ToLower(e.Message), "parameter") {
		return false
	}
	switch e.Routine {
	case "": // a pooler
		return slices.ContainsFunc([]string{"08", "28", "3D", "53", "57", "58000", "XX"}, func(class string) bool { return strings.HasPrefix(e.Code, class) })
	case "InitPostgres", "CheckMyDatabase": // where the database and the right to connect are looked at
		return true
	}
	return strings.HasPrefix(e.Code, "28") || strings.HasPrefix(e.Code, "57") || e.Code == "3D000" || e.Code == "53300"
}

// Refused reports whether a connection failed because something on the way does
// not take our parameters, as poolers do not; without them it may succeed.
func Refused(err error) bool {
	e, ok := atStart(err)
	return ok && (e.Code == "0A000" || e.Code == "08P01" && strings.Contains(e.Message, "parameter"))
}

// atStart returns what the server said to the start of a connection.
func atStart(err error) (*pgconn.PgError, bool) {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return nil, false
	}
	return errors.AsType[*pgconn.PgError](err)
}

package dial

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// SharedError means that the URL leads through a pooler that shares sessions between
// clients and does not accept our parameters at their start. Trying again does not
// help.
type SharedError struct{}

func (*SharedError) Error() string {
	return "this database URL leads through a pooler that shares sessions: give a direct one as TASKFEED_LISTEN_DATABASE_URL"
}

// checkOwn refuses a URL whose sessions are shared. Parameters of a session, such as
// search_path, would apply to an app, and locks of a session would have no owner. Two
// open connections have two sessions, unless a pooler gives them the same one in turn.
func (c Config) checkOwn(ctx context.Context) error {
	var pids [2]int32
	var conns [2]*pgx.Conn
	for i := range conns {
		conn, err := c.connect(ctx, nil)
		if err != nil {
			return Explain(err)
		}
		defer conn.Close(context.WithoutCancel(ctx))
		conns[i] = conn
	}
	for i, conn := range conns {
		err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pids[i])
		if err != nil {
			return Explain(err)
		}
	}
	if pids[0] == pids[1] {
		return &SharedError{}
	}
	return nil
}

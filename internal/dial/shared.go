package dial

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// SharedError says that a pooler gives the sessions of a URL to whoever comes next,
// and does not take our parameters at their start. It does not pass by itself.
type SharedError struct{}

func (*SharedError) Error() string {
	return "this database URL leads through a pooler that shares sessions: give a direct one as TASKFEED_LISTEN_DATABASE_URL"
}

// checkOwn refuses a way to the database on which a session is not ours alone. What
// would be set for one there, search_path for one, would be set for an app; and a
// lock of a session would be nobody's. Two connections that are both open have two
// sessions, unless they are given one in turn.
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

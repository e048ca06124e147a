package pgtest

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// adminSession is the one connection that creates and drops databases. A new connection
// for each statement would cost several times as much. It is safe for concurrent use:
// its users take turns.
type adminSession struct {
	url string

	mu   sync.Mutex
	conn *pgx.Conn // nil before its first use; closed by a cancelled statement
}

// do calls use with the connection.
func (a *adminSession) do(ctx context.Context, use func(*pgx.Conn) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil || a.conn.IsClosed() {
		conn, err := pgx.Connect(ctx, a.url)
		if err != nil {
			return err
		}
		a.conn = conn
	}
	return use(a.conn)
}

func (a *adminSession) exec(ctx context.Context, sql string) error {
	return a.do(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func (a *adminSession) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	return a.conn.Close(ctx)
}

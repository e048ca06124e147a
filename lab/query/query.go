// Package query runs statements of the laboratory, each on a new connection.
package query

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Connect opens a connection.
type Connect func(context.Context) (*pgx.Conn, error)

// Close closes a connection, also when the database is down.
func Close(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// Script runs statements without arguments.
func Script(ctx context.Context, connect Connect, script string) error {
	conn, err := connect(ctx)
	if err != nil {
		return err
	}
	defer Close(conn)
	if _, err := conn.PgConn().Exec(ctx, script).ReadAll(); err != nil {
		return fmt.Errorf("run a script: %w", err)
	}
	return nil
}

// One returns the one value that a statement selects.
func One[T any](ctx context.Context, connect Connect, sql string, args ...any) (value T, err error) {
	conn, err := connect(ctx)
	if err != nil {
		return value, err
	}
	defer Close(conn)
	if err := conn.QueryRow(ctx, sql, args...).Scan(&value); err != nil {
		return value, fmt.Errorf("read a value: %w", err)
	}
	return value, nil
}

// RefuseBound fails in a database where deleting tasks could run code of other roles
// with the rights of the caller's role.
const RefuseBound = "SELECT taskfeed.refuse_bound()"

package pg

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// sharedConn is a connection to a pooler, whose sessions others use too. Each
// statement is sent together with those that set the parameters of its transaction,
// in one round trip.
type sharedConn struct {
	conn   *pgx.Conn
	params []string
}

// SendBatch sends the batch after the statements that set the parameters.
func (c sharedConn) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	whole := &pgx.Batch{}
	for _, statement := range c.params {
		whole.Queue(statement)
	}
	whole.QueuedQueries = append(whole.QueuedQueries, b.QueuedQueries...)
	return c.conn.SendBatch(ctx, whole)
}

// Query sends a batch of one statement, which is never prepared.
func (c sharedConn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if len(args) > 0 {
		if _, ok := args[0].(pgx.QueryExecMode); ok {
			args = args[1:]
		}
	}
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	results := c.SendBatch(ctx, b)
	for range c.params {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // the first error is the cause
			return failedRows{err: err}, err
		}
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close() // the first error is the cause
		return failedRows{err: err}, err
	}
	return &batchRows{Rows: rows, results: results}, nil
}

// QueryRow is Query for one row.
func (c sharedConn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := c.Query(ctx, sql, args...) // the rows report the error too
	return oneRow{rows}
}

// BeginTx begins a transaction and sets the parameters in it.
func (c sharedConn) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	tx, err := c.conn.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	for _, statement := range c.params {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return nil, errors.Join(err, tx.Rollback(ctx))
		}
	}
	return tx, nil
}

// batchRows closes the batch together with its rows.
type batchRows struct {
	pgx.Rows
	results pgx.BatchResults
	err     error
}

func (r *batchRows) Next() bool {
	more := r.Rows.Next()
	if !more {
		r.Close()
	}
	return more
}

func (r *batchRows) Close() {
	r.Rows.Close()
	if err := r.results.Close(); r.err == nil {
		r.err = err
	}
}

func (r *batchRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// oneRow scans the first of its rows.
type oneRow struct{ rows pgx.Rows }

func (r oneRow) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// failedRows has no rows and reports an error.
type failedRows struct {
	pgx.Rows
	err error
}

func (r failedRows) Next() bool { return false }
func (r failedRows) Close()     {}
func (r failedRows) Err() error { return r.err }

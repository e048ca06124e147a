package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// local asks over a session that is not ours alone: each statement is sent with
// those that set its parameters, in one transaction and one round trip.
type local struct {
	conn   *pgx.Conn
	params []string
}

// SendBatch sends the batch behind the parameters.
func (l local) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	whole := &pgx.Batch{}
	for _, statement := range l.params {
		whole.Queue(statement)
	}
	whole.QueuedQueries = append(whole.QueuedQueries, b.QueuedQueries...)
	return l.conn.SendBatch(ctx, whole)
}

// Query is a batch of one. Its statement is never prepared, as those of a batch
// are not.
func (l local) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if len(args) > 0 {
		if _, ok := args[0].(pgx.QueryExecMode); ok {
			args = args[1:]
		}
	}
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	results := l.SendBatch(ctx, b)
	for range l.params {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // the first error says it
			return failedRows{err: err}, err
		}
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close() // the first error says it
		return failedRows{err: err}, err
	}
	return &batchRows{Rows: rows, results: results}, nil
}

// QueryRow is Query for one row.
func (l local) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := l.Query(ctx, sql, args...) // rows tell of errors too
	return oneRow{rows}
}

// BeginTx begins a transaction with the parameters.
func (l local) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	tx, err := l.conn.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	for _, statement := range l.params {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return nil, errors.Join(err, tx.Rollback(ctx))
		}
	}
	return tx, nil
}

// batchRows ends the batch together with its rows.
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

// oneRow reads the first of its rows.
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

// failedRows are none, for a reason.
type failedRows struct {
	pgx.Rows
	err error
}

func (r failedRows) Next() bool { return false }
func (r failedRows) Close()     {}
func (r failedRows) Err() error { return r.err }

package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

const (
	maxCommands  = 1000 // in one look for commands
	keepCommands = 100_000
)

// A transaction that adds a command locks the table to its end, so commands become
// visible in the order of their ids: a reader that has seen one has seen all before it.
const sqlAlone = `
LOCK TABLE taskfeed.commands IN SHARE ROW EXCLUSIVE MODE`

// Under an old snapshot the index keeps many entries of deleted commands. So the DELETE
// reads it only where commands have not been deleted yet.
const sqlAddCommand = `
WITH added AS (
    INSERT INTO taskfeed.commands (kind, argument)
    VALUES (@kind, @argument)
    RETURNING id
)
DELETE FROM taskfeed.commands
WHERE id > (SELECT id FROM added) - @keep::bigint - 100
  AND id <= (SELECT id FROM added) - @keep::bigint`

// Command asks every server of this database to do something once. Servers that look
// within an hour see it. It returns CodeBadRequest for an unknown kind and for an
// argument that is not 1 to 255 bytes long.
func (s *Store) Command(ctx context.Context, kind taskfeed.CommandKind, argument string) error {
	if kind != taskfeed.CommandDisconnectUser && kind != taskfeed.CommandDisconnectConnection {
		return pg.Refuse("kind", fmt.Sprintf("must be %s or %s", taskfeed.CommandDisconnectUser, taskfeed.CommandDisconnectConnection))
	}
	if argument == "" {
		return pg.Refuse("argument", "must not be empty")
	}
	if err := pg.CheckText("argument", argument); err != nil {
		return err
	}
	ctx, cancel := s.queries.Bound(ctx)
	defer cancel()
	err := s.queries.Do(ctx, func(db pg.Conn) error {
		return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, sqlAlone); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, sqlAddCommand, pgx.NamedArgs{"kind": string(kind), "argument": argument, "keep": keepCommands})
			return err
		})
	})
	return pg.Wrap("add a command", err)
}

// After a restore or a failover that lost the last commands, ids are used again: a
// reader that is ahead of the sequence starts over.
const sqlCommandsAfter = `
SELECT id, kind, argument, created_at
FROM taskfeed.commands
WHERE id > (SELECT greatest(last_value - @keep::bigint, CASE WHEN is_called AND @after <= last_value THEN @after END) FROM taskfeed.commands_id_seq)
  AND created_at >= clock_timestamp() - interval '1 hour'
ORDER BY id
LIMIT @limit`

// CommandsAfter returns at most 1,000 commands that were added after the one with this
// id, in the order of their ids. To read on, call it with the last id. It returns a
// command again only when the database has lost commands, and none that is more than an
// hour old.
func (s *Store) CommandsAfter(ctx context.Context, id int64) ([]taskfeed.Command, error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	var commands []taskfeed.Command
	err := s.checks.Do(ctx, func(db pg.Conn) (err error) {
		rows, _ := db.Query(ctx, sqlCommandsAfter, pgx.NamedArgs{"after": id, "limit": maxCommands, "keep": keepCommands}) // the rows report the error too
		commands, err = pgx.CollectRows(rows, pgx.RowToStructByPos[taskfeed.Command])
		return err
	})
	return commands, pg.Wrap("read commands", err)
}

const sqlLastCommand = `
SELECT coalesce(max(id), 0)
FROM taskfeed.commands`

// LastCommand returns the id of the last command, after which a server that starts
// reads on; 0 when there is none.
func (s *Store) LastCommand(ctx context.Context) (id int64, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) error { return db.QueryRow(ctx, sqlLastCommand).Scan(&id) })
	return id, pg.Wrap("read last command", err)
}

package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
)

const sqlFindTask = `
SELECT id, user_id, coalesce(kind, ''), status, progress, coalesce(message, ''), result, coalesce(error, ''),
    version, created_at, updated_at
FROM taskfeed.tasks
WHERE id = @id`

// FindTask returns a task as its row stands now, its result whole. It returns
// CodeNotFound when there is none with this id. It does not ask whose task it is:
// compare UserID before you show it to anybody.
func (s *Store) FindTask(ctx context.Context, id string) (taskfeed.Task, error) {
	ctx, cancel := s.reading(ctx)
	defer cancel()
	var t taskfeed.Task
	err := s.rest.do(ctx, func(db asked) error {
		return db.QueryRow(ctx, sqlFindTask, pgx.NamedArgs{"id": id}).Scan(
			&t.ID, &t.UserID, &t.Kind, &t.Status, &t.Progress, &t.Message, (*[]byte)(&t.Result), &t.Error,
			&t.Version, &t.CreatedAt, &t.UpdatedAt)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return taskfeed.Task{}, &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no such task"}
	}
	if err != nil {
		return taskfeed.Task{}, wrap("find task", err)
	}
	t.CreatedAt, t.UpdatedAt = t.CreatedAt.UTC(), t.UpdatedAt.UTC()
	return t, nil
}

package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Fields that are too large are left out, as in lists, and read in pieces by TaskText.
// A mark is a hash of a field: it shows whether the field still has the same text when
// the next piece is read.
var sqlFindTask = `
SELECT ` + taskColumns + `,
    ARRAY[
        ` + mark("message") + `,
        ` + mark("result") + `,
        ` + mark("error") + `] AS marks
FROM taskfeed.tasks
WHERE id = @id`

// The owner is part of the condition. For any other nothing of the row except its
// owner is read, in particular nothing that is stored out of line, so the time does not
// tell whether the task exists.
var sqlFindUserTask = sqlFindTask + `
  AND user_id = ANY (@users::text[])`

// largeFields are those that may be too large, in the order of the marks.
var largeFields = []string{"message", "result", "error"}

func mark(name string) string {
	return "CASE WHEN " + fits(name) + " THEN NULL ELSE hashtextextended(" + name + "::text, 0) END"
}

// FindTask returns a task as its row is now, without the large fields, which TaskText
// reads. It returns CodeNotFound when there is no task with this id. It does not check
// the owner.
func (r *Reader) FindTask(ctx context.Context, id string) (WholeTask, error) {
	return r.findTask(ctx, sqlFindTask, pgx.NamedArgs{"id": id})
}

// FindUserTask is FindTask for a user and the groups that they see: a task of others looks
// like one that does not exist.
func (r *Reader) FindUserTask(ctx context.Context, users []string, id string) (WholeTask, error) {
	return r.findTask(ctx, sqlFindUserTask, pgx.NamedArgs{"id": id, "users": users})
}

func (r *Reader) findTask(ctx context.Context, statement string, args pgx.NamedArgs) (WholeTask, error) {
	bounded, cancel := r.pool.Bound(ctx)
	defer cancel()
	var t WholeTask
	err := r.pool.Do(bounded, func(db pg.Conn) (err error) {
		t, err = pgx.CollectExactlyOneRow(pg.Query(bounded, db, statement, args), scanFoundTask)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return WholeTask{}, &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no such task"}
	}
	return t, pg.Late(ctx, "find task", err)
}

// scanFoundTask takes the columns of sqlFindTask.
func scanFoundTask(row pgx.CollectableRow) (t WholeTask, err error) {
	var marks []*int64
	t.Task, err = scanWholeTask(row, &marks)
	for i, m := range marks {
		if m != nil {
			t.Large = append(t.Large, LargeField{Name: largeFields[i], Mark: *m})
		}
	}
	t.Truncated = nil
	return t, err
}

// A piece of a large field has at most so many characters, or a quarter of them
// where that would be too many bytes.
const (
	pieceChars = 4 << 20
	pieceBytes = 6 << 20
)

// sqlTaskText makes the text once for each piece. The OFFSET keeps the planner from
// making it for each use.
const sqlTaskText = `
SELECT CASE WHEN octet_length(piece) > @bytes THEN substring(piece FROM 1 FOR @chars / 4) ELSE piece END,
    char_length(whole)
FROM taskfeed.tasks AS t
CROSS JOIN LATERAL (SELECT t.{field}::text AS whole OFFSET 0) AS made
CROSS JOIN LATERAL (SELECT substring(whole FROM @at::integer FOR @chars::integer) AS piece OFFSET 0) AS cut
WHERE t.id = @id
  AND t.user_id = @user_id
  AND hashtextextended(whole, 0) = @mark`

var errTaskChanged = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
	Message: "the task changed while it was read; ask for it again"}

// TaskText yields the text of a field that FindTask left out, in pieces of a few
// megabytes. It holds no connection between them, so the consumer may be slow. Postgres
// makes the whole text again for each piece: that is the price of bounded memory. It
// ends with the first error, CodeUnavailable when the text of the field has changed.
func (r *Reader) TaskText(ctx context.Context, t *WholeTask, f LargeField) iter.Seq2[string, error] {
	statement := strings.ReplaceAll(sqlTaskText, "{field}", pgx.Identifier{f.Name}.Sanitize())
	return func(yield func(string, error) bool) {
		for at, length := 1, 1; at <= length; {
			var piece string
			args := pgx.NamedArgs{"id": t.ID, "user_id": t.UserID, "mark": f.Mark, "at": at, "chars": pieceChars, "bytes": pieceBytes}
			bounded, cancel := r.pool.Bound(ctx)
			err := r.pool.Do(bounded, func(db pg.Conn) error {
				_, err := pgx.ForEachRow(pg.Query(bounded, db, statement, args), []any{&piece, &length}, func() error { return nil })
				return err
			})
			cancel()
			switch {
			case err != nil:
				yield("", pg.Late(ctx, fmt.Sprintf("read %s of a task", f.Name), err))
				return
			case piece == "":
				yield("", errTaskChanged)
				return
			case !yield(piece, nil):
				return
			}
			at += utf8.RuneCountInString(piece)
		}
	}
}

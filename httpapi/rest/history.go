package rest

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// History is what the URLs of tasks and events read; package store/history provides it.
// All of it may return CodeUnavailable while the database is away.
type History interface {
	TaskReader
	EventReader
	TimelineReader
	// Stats returns an overview of the tasks and the log. It may read all tasks.
	Stats(ctx context.Context) (history.Stats, error)
	// StalledTasks returns the first of those that run without a visible change for
	// longer than after.
	StalledTasks(ctx context.Context, after time.Duration) ([]taskfeed.Task, error)
}

// TaskReader reads the current rows of tasks.
type TaskReader interface {
	// ListTasks returns a page. It returns CodeBadRequest for an After that is not
	// the Next of a page of the same query.
	ListTasks(ctx context.Context, q history.TaskQuery) (history.TaskPage, error)
	// FindTask returns CodeNotFound when there is no task with this id.
	FindTask(ctx context.Context, id string) (history.WholeTask, error)
	// FindUserTask is FindTask for the tasks of these users: there are no others.
	FindUserTask(ctx context.Context, users []string, id string) (history.WholeTask, error)
	// TaskText yields the text of a field that FindTask has left to be read, in
	// pieces of a few megabytes. It ends with the first error.
	TaskText(ctx context.Context, t *history.WholeTask, f history.LargeField) iter.Seq2[string, error]
	// ExportTasks yields all that the query selects after After, whatever its
	// Limit, in bounded memory. It ends with the first error.
	ExportTasks(ctx context.Context, q history.TaskQuery) iter.Seq2[taskfeed.Task, error]
}

// EventReader reads the log.
type EventReader interface {
	// ListEvents returns a page. It returns CodeBadRequest for an After that is
	// not the Next of a page of the same query.
	ListEvents(ctx context.Context, q history.EventQuery) (history.EventPage, error)
	// ExportEvents is to ListEvents as ExportTasks is to ListTasks.
	ExportEvents(ctx context.Context, q history.EventQuery) iter.Seq2[taskfeed.Event, error]
}

// TimelineReader reads the events of one task.
type TimelineReader interface {
	// TaskEvents returns a page of the events of a task, oldest first. It returns
	// CodeNotFound when there is neither such a task nor such an event, and
	// CodeBadRequest for an after that is not the Next of another page.
	TaskEvents(ctx context.Context, taskID, after string, limit int) (history.Timeline, error)
	// UserTaskEvents is TaskEvents limited to the events of these users. It returns
	// CodeNotFound when there are none.
	UserTaskEvents(ctx context.Context, users []string, taskID, after string, limit int) (history.Timeline, error)
}

// afterFault makes a list's refusal one of the parameter after: the handler has checked
// all others before.
func afterFault(err error, after string) error {
	if e, ok := errors.AsType[*taskfeed.Error](err); ok && e.Code == taskfeed.CodeBadRequest && after != "" {
		detail := strings.TrimPrefix(e.Message, "after ")
		return request.BadParam(e, "after", detail)
	}
	return err
}

// taskList is a page of tasks. Cursor is that of history.TaskPage; it is absent
// on later pages.
type taskList struct {
	request.List[taskfeed.Task]
	Cursor *taskfeed.Cursor `json:"cursor,omitempty"`
}

// event is an event as REST shows it: its columns, and the fields of its type in data.
type event struct {
	ID        taskfeed.Cursor `json:"id"`
	Type      taskfeed.Type   `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	UserID    string          `json:"user_id,omitempty"` // absent: for every user
	TaskID    string          `json:"task_id,omitempty"`
	Version   int64           `json:"version,omitempty"`
	Data      json.RawMessage `json:"data"`
}

func viewEvent(e *taskfeed.Event) event {
	return event{e.ID, e.Type, e.Timestamp.UTC(), e.UserID, e.TaskID, e.Version, e.Data}
}

func viewTask(t taskfeed.Task) taskfeed.Task {
	t.CreatedAt, t.UpdatedAt = t.CreatedAt.UTC(), t.UpdatedAt.UTC()
	return t
}

// taskBytes and eventBytes estimate the memory of an item.
func taskBytes(t *taskfeed.Task) int {
	return request.ItemBytes + len(t.Message) + len(t.Result) + len(t.Error)
}

func eventBytes(e *taskfeed.Event) int { return request.ItemBytes + len(e.Data) }

// keepItems reduces the request's reservation to its items and what it takes to encode
// the largest.
func keepItems[T any](c echo.Context, items []T, size func(*T) int) {
	sum, largest := 0, 0
	for i := range items {
		n := size(&items[i])
		sum, largest = sum+n, max(largest, n)
	}
	request.KeepMemory(c, sum+2*largest)
}

// timeRange reads a range of time from two parameters.
func timeRange(p *request.Params, from, to string) history.TimeRange {
	begin, end := p.Span(from, to)
	return history.TimeRange{From: begin, To: end}
}

package rest

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// ServeTasks answers with a page of tasks, or with all of them as an export.
func (h *Handlers) ServeTasks(c echo.Context, v Viewer) error {
	kind, err := request.Negotiate(c.Request(), request.TypeJSON, request.TypeNDJSON, request.TypeCSV)
	if err != nil {
		return err
	}
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	userID, feeds, err := v.chosenUsers(p)
	if err != nil {
		return err
	}
	q := history.TaskQuery{
		UserID:   userID,
		Feeds:    feeds,
		Statuses: p.Statuses("status"),
		Kind:     p.Text("kind"),
		Source:   p.Text("source"),
		Created:  timeRange(p, "created_after", "created_before"),
		Updated:  timeRange(p, "updated_after", "updated_before"),
		Text:     p.Text("q"),
		Sort:     request.OneOf(p, "sort", history.SortCreatedDesc, history.SortCreated, history.SortUpdatedDesc, history.SortUpdated),
	}
	q.After = p.After()
	if kind != request.TypeJSON {
		return exportAll(h, c, v, p, kind, taskSheet, func(ctx context.Context) iter.Seq2[taskfeed.Task, error] {
			return h.history.ExportTasks(ctx, q)
		})
	}
	q.Limit = p.Limit(history.MaxPageLimit)
	if err := p.Done(); err != nil {
		return err
	}
	page, err := h.history.ListTasks(c.Request().Context(), q)
	if err != nil {
		return afterFault(err, q.After)
	}
	body := taskList{List: request.List[taskfeed.Task]{Items: []taskfeed.Task{}, Next: page.Next}}
	if leadsToFeed(&q) {
		body.Cursor = &page.Cursor
	}
	request.LinkNext(c, page.Next)
	keepItems(c, page.Items, taskBytes)
	return request.WritePage(c, body, page.Items, func(t *taskfeed.Task) taskfeed.Task { return viewTask(*t) })
}

// leadsToFeed reports whether a page of the query and the feed after its cursor together
// keep a list exact. They do not on later pages, nor where progress of a task changes
// the selection or the order.
func leadsToFeed(q *history.TaskQuery) bool {
	byCreated := q.Sort == history.SortCreated || q.Sort == history.SortCreatedDesc
	return q.After == "" && byCreated && q.Text == "" && q.Updated == history.TimeRange{}
}

// taskSheet is how exports show tasks.
var taskSheet = sheet[taskfeed.Task]{
	name: "tasks",
	columns: []string{"id", "user_id", "kind", "status", "progress", "message", "error", "version",
		"created_at", "updated_at", "result", "truncated", "source"},
	row: func(t taskfeed.Task) []string {
		return []string{t.ID, t.UserID, t.Kind, string(t.Status), strconv.Itoa(t.Progress), t.Message, t.Error,
			strconv.FormatInt(t.Version, 10), stamp(t.CreatedAt), stamp(t.UpdatedAt), string(t.Result), strings.Join(t.Truncated, " "), t.Source}
	},
	view: func(t taskfeed.Task) any { return viewTask(t) },
}

// stamp is a time as exports show it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

package httpapi

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/store/history"
)

func (s *Server) handleTasks(c echo.Context, p auth.Principal) error {
	return s.listTasks(c, p, adminEyes)
}

func (s *Server) handleMyTasks(c echo.Context, p auth.Principal) error {
	return s.listTasks(c, p, eyesOf(p))
}

// listTasks answers with a page of tasks, or with all of them as an export.
func (s *Server) listTasks(c echo.Context, principal auth.Principal, by eyes) error {
	kind, err := negotiate(c.Request(), typeJSON, typeNDJSON, typeCSV)
	if err != nil {
		return err
	}
	p, err := readParams(c.Request())
	if err != nil {
		return err
	}
	q := history.TaskQuery{
		UserID:   by.chosenUser(p),
		Statuses: p.statuses("status"),
		Kind:     p.text("kind"),
		Created:  p.span("created_after", "created_before"),
		Updated:  p.span("updated_after", "updated_before"),
		Text:     p.text("q"),
		Sort:     p.sort(history.SortCreatedDesc, history.SortCreated, history.SortUpdatedDesc, history.SortUpdated),
	}
	q.After = p.after()
	if kind != typeJSON {
		return exportAll(s, c, principal, p, kind, taskSheet, func(ctx context.Context) iter.Seq2[taskfeed.Task, error] {
			return s.deps.History.ExportTasks(ctx, q)
		})
	}
	q.Limit = p.limit()
	if err := p.err(); err != nil {
		return err
	}
	page, err := s.deps.History.ListTasks(c.Request().Context(), q)
	if err != nil {
		return afterFault(err, q.After)
	}
	body := taskList{list: list[taskfeed.Task]{[]taskfeed.Task{}, page.Next}}
	if leadsToFeed(&q) {
		body.Cursor = &page.Cursor
	}
	linkNext(c, page.Next)
	keepItems(c, page.Items, taskBytes)
	return writePage(c, body, page.Items, func(t *taskfeed.Task) taskfeed.Task { return viewTask(*t) })
}

// leadsToFeed reports whether a page of the query, together with the feed after
// its cursor, makes an exact list: not on later pages, and not for a selection or
// an order that changes with a task's progress.
func leadsToFeed(q *history.TaskQuery) bool {
	byCreated := q.Sort == history.SortCreated || q.Sort == history.SortCreatedDesc
	return q.After == "" && byCreated && q.Text == "" && q.Updated == history.TimeRange{}
}

// noParams refuses any parameter.
func noParams(c echo.Context) error {
	p, err := readParams(c.Request())
	if err != nil {
		return err
	}
	return p.err()
}

// taskSheet is how exports show tasks.
var taskSheet = sheet[taskfeed.Task]{
	name: "tasks",
	columns: []string{"id", "user_id", "kind", "status", "progress", "message", "error", "version",
		"created_at", "updated_at", "result", "truncated"},
	row: func(t taskfeed.Task) []string {
		return []string{t.ID, t.UserID, t.Kind, string(t.Status), strconv.Itoa(t.Progress), t.Message, t.Error,
			strconv.FormatInt(t.Version, 10), stamp(t.CreatedAt), stamp(t.UpdatedAt), string(t.Result), strings.Join(t.Truncated, " ")}
	},
	view: func(t taskfeed.Task) any { return viewTask(t) },
}

// stamp is a time as exports show it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

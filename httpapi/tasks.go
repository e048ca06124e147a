package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
)

func (s *Server) handleTasks(c echo.Context, _ auth.Principal) error {
	return s.listTasks(c, adminEyes)
}

func (s *Server) handleMyTasks(c echo.Context, p auth.Principal) error {
	return s.listTasks(c, eyesOf(p))
}

// listTasks answers with a page of tasks, or with all of them as an export.
func (s *Server) listTasks(c echo.Context, by eyes) error {
	kind, err := negotiate(c.Request(), typeJSON, typeNDJSON, typeCSV)
	if err != nil {
		return err
	}
	p, err := readParams(c.Request())
	if err != nil {
		return err
	}
	q := taskfeed.TaskQuery{
		UserID:   by.chosenUser(p),
		Statuses: p.statuses("status"),
		Kind:     p.text("kind"),
		Created:  p.span("created_after", "created_before"),
		Updated:  p.span("updated_after", "updated_before"),
		Text:     p.text("q"),
		Sort:     p.sort(taskfeed.SortCreatedDesc, taskfeed.SortCreated, taskfeed.SortUpdatedDesc, taskfeed.SortUpdated),
	}
	q.After = p.after()
	if kind != typeJSON {
		return exportAll(s, c, p, kind, taskSheet, s.deps.History.ExportTasks(c.Request().Context(), q))
	}
	q.Limit = p.limit()
	if err := p.err(); err != nil {
		return err
	}
	page, err := s.deps.History.ListTasks(c.Request().Context(), q)
	if err != nil {
		return afterFault(err, q.After)
	}
	body := taskList{list: list[taskfeed.Task]{mapped(page.Items, viewTask), page.Next}}
	if leadsToFeed(&q) {
		body.Cursor = &page.Cursor
	}
	linkNext(c, page.Next)
	return writeJSON(c, http.StatusOK, body)
}

// leadsToFeed reports whether a page of the query, together with the feed after
// its cursor, makes an exact list: not on later pages, and not for a selection or
// an order that changes with a task's progress.
func leadsToFeed(q *taskfeed.TaskQuery) bool {
	byCreated := q.Sort == taskfeed.SortCreated || q.Sort == taskfeed.SortCreatedDesc
	return q.After == "" && byCreated && q.Text == "" && q.Updated == taskfeed.TimeRange{}
}

func (s *Server) handleTask(c echo.Context, _ auth.Principal) error {
	return s.findTask(c, adminEyes)
}

func (s *Server) handleMyTask(c echo.Context, p auth.Principal) error {
	return s.findTask(c, eyesOf(p))
}

var errNoTask = &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no such task"}

// findTask answers with one task. Whose task somebody else's is, nobody learns:
// it is not found.
func (s *Server) findTask(c echo.Context, by eyes) error {
	id, err := readTaskID(c)
	if err != nil {
		return err
	}
	t, err := s.deps.History.FindTask(c.Request().Context(), id)
	if taskfeed.CodeOf(err) == taskfeed.CodeNotFound || err == nil && !by.sees(&t) {
		return errNoTask
	}
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("ETag", taskTag(&t))
	header.Set("Cache-Control", "private, no-cache")
	if matches(c.Request().Header.Values("If-None-Match"), taskTag(&t)) {
		return c.NoContent(http.StatusNotModified)
	}
	return writeTask(c, viewTask(t))
}

// writeTask answers with a task. Its result is written as it stands: it is JSON
// already, may be large, and may be nested deeper than encoding/json goes.
func writeTask(c echo.Context, t taskfeed.Task) error {
	result := t.Result
	t.Result = nil
	b, err := encodeJSON(nil, t)
	if err != nil {
		return err
	}
	parts := [][]byte{b}
	if result != nil {
		parts = [][]byte{b[:len(b)-len("}\n")], []byte(`,"result":`), result, []byte("}\n")}
	}
	w, length := c.Response(), 0
	for _, part := range parts {
		length += len(part)
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(http.StatusOK)
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// readTaskID reads a request that takes an id in its path and no parameters.
func readTaskID(c echo.Context) (string, error) {
	if err := noParams(c); err != nil {
		return "", err
	}
	return pathText(c, "id")
}

// noParams refuses any parameter.
func noParams(c echo.Context) error {
	p, err := readParams(c.Request())
	if err != nil {
		return err
	}
	return p.err()
}

// taskTag changes with the task's version. The time tells a task from one that
// had its id before it was deleted.
func taskTag(t *taskfeed.Task) string {
	return fmt.Sprintf(`"%d-%s"`, t.Version, strconv.FormatInt(t.UpdatedAt.UnixMicro(), 36))
}

// matches reports whether an If-None-Match header names the tag (RFC 9110
// section 13.1.2, weak comparison).
func matches(headers []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
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

package httpapi

import (
	"context"
	"iter"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/store/history"
)

func (s *Server) handleEvents(c echo.Context, p auth.Principal) error {
	return s.listEvents(c, p, adminEyes)
}

func (s *Server) handleMyEvents(c echo.Context, p auth.Principal) error {
	return s.listEvents(c, p, eyesOf(p))
}

// listEvents answers with a page of the log, or with all of it as an export. The
// events of one user are what that user was told, broadcasts among them.
func (s *Server) listEvents(c echo.Context, principal auth.Principal, by eyes) error {
	kind, err := negotiate(c.Request(), typeJSON, typeNDJSON, typeCSV)
	if err != nil {
		return err
	}
	p, err := readParams(c.Request())
	if err != nil {
		return err
	}
	q := history.EventQuery{
		UserID: by.chosenUser(p),
		TaskID: p.text("task_id"),
		Types:  p.types("type"),
		Time:   p.span("since", "until"),
		Sort:   p.sort(history.SortIDDesc, history.SortID),
	}
	q.IncludeBroadcast = q.UserID != ""
	q.After = p.after()
	if kind != typeJSON {
		return exportAll(s, c, principal, p, kind, eventSheet, func(ctx context.Context) iter.Seq2[taskfeed.Event, error] {
			return s.deps.History.ExportEvents(ctx, q)
		})
	}
	q.Limit = p.limit()
	if err := p.err(); err != nil {
		return err
	}
	page, err := s.deps.History.ListEvents(c.Request().Context(), q)
	if err != nil {
		return afterFault(err, q.After)
	}
	linkNext(c, page.Next)
	keepItems(c, page.Items, eventBytes)
	return writePage(c, list[event]{[]event{}, page.Next}, page.Items, viewEvent)
}

// eventSheet is how exports show events.
var eventSheet = sheet[taskfeed.Event]{
	name:    "events",
	columns: []string{"id", "timestamp", "user_id", "task_id", "type", "version", "data"},
	row: func(e taskfeed.Event) []string {
		return []string{e.ID.String(), stamp(e.Timestamp), e.UserID, e.TaskID, string(e.Type),
			strconv.FormatInt(e.Version, 10), string(e.Data)}
	},
	view: func(e taskfeed.Event) any { return viewEvent(&e) },
}

package rest

import (
	"context"
	"iter"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/store/history"
)

// ServeEvents answers with a page of the log, or with all of it as an export. The
// events of one user include broadcasts.
func (h *Handlers) ServeEvents(c echo.Context, v Viewer) error {
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
	q := history.EventQuery{
		UserID: userID,
		Feeds:  feeds,
		TaskID: p.Text("task_id"),
		Types:  p.Types("type"),
		Time:   timeRange(p, "since", "until"),
		Sort:   request.OneOf(p, "sort", history.SortIDDesc, history.SortID),
	}
	q.IncludeBroadcast = q.UserID != ""
	q.After = p.After()
	if kind != request.TypeJSON {
		return exportAll(h, c, v, p, kind, eventSheet, func(ctx context.Context) iter.Seq2[taskfeed.Event, error] {
			return h.history.ExportEvents(ctx, q)
		})
	}
	q.Limit = p.Limit(history.MaxPageLimit)
	if err := p.Done(); err != nil {
		return err
	}
	page, err := h.history.ListEvents(c.Request().Context(), q)
	if err != nil {
		return afterFault(err, q.After)
	}
	request.LinkNext(c, page.Next)
	keepItems(c, page.Items, eventBytes)
	return request.WritePage(c, request.List[event]{Items: []event{}, Next: page.Next}, page.Items, viewEvent)
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

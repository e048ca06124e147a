package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Messages lists the messages that users have sent to the app; *store.Store provides it.
type Messages interface {
	// Messages returns messages, newest first. It returns CodeUnavailable while the
	// database is away.
	Messages(ctx context.Context, q taskfeed.MessageQuery) ([]taskfeed.SentMessage, error)
}

// maxMessages is the most messages on one page.
const maxMessages = 100

// maxBody is what a message may hold besides its data, escaped.
const maxBody = taskfeed.MaxMessageDataBytes + 8<<10

var (
	errBodyTooLarge = &taskfeed.Error{Code: taskfeed.CodeTooLarge,
		Message: fmt.Sprintf("the message is longer than %d bytes, %d of them data; send a reference instead", maxBody, taskfeed.MaxMessageDataBytes)}
	errIncomplete = &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "the request's body did not come completely, or not in time"}
)

var errNotJSON = &taskfeed.Error{Code: taskfeed.CodeUnsupportedMedia,
	Message: "a message is sent as application/json"}

// handleMessage takes a message of the caller to the app.
func (s *Server) handleMessage(c echo.Context, p auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	r := c.Request()
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != request.TypeJSON {
		return errNotJSON
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return errBodyTooLarge
	}
	if err != nil {
		return errIncomplete
	}
	answered := make(chan inbox.Answer, 1)
	s.deps.Inbox.Take(p.UserID, p.Feeds, body, func(a inbox.Answer) { answered <- a })
	var a inbox.Answer
	select {
	case a = <-answered:
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
	if a.Retry > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(a.RetrySeconds()))
	}
	if a.Err != nil {
		return a.Err
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		Ref string `json:"ref"`
		ID  int64  `json:"id"`
	}{a.Ref, a.ID})
}

// handleMessages lists messages for an admin.
func (s *Server) handleMessages(c echo.Context, _ auth.Principal) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	q := taskfeed.MessageQuery{UserID: p.Text("user_id"), TaskID: p.Text("task_id")}
	limit, after := p.Limit(maxMessages), p.After()
	if after != "" {
		if q.Before, err = strconv.ParseInt(after, 10, 64); err != nil || q.Before < 1 {
			p.Refuse("after", "is not the next of a page; begin without it")
		}
	}
	if err := p.Done(); err != nil {
		return err
	}
	q.Limit = limit + 1
	found, err := s.deps.Messages.Messages(c.Request().Context(), q)
	if err != nil {
		return err
	}
	page := request.List[taskfeed.SentMessage]{Items: []taskfeed.SentMessage{}}
	if len(found) > limit {
		found = found[:limit]
		page.Next = strconv.FormatInt(found[limit-1].ID, 10)
	}
	request.LinkNext(c, page.Next)
	return request.WritePage(c, page, found, func(m *taskfeed.SentMessage) taskfeed.SentMessage {
		m.CreatedAt = m.CreatedAt.UTC()
		return *m
	})
}

package httpapi

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// handleRead moves the caller's read mark forward, and answers where it is once that is
// written. It reads no body.
func (s *Server) handleRead(c echo.Context, principal auth.Principal) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	value, ok := p.One("through")
	if !ok {
		p.Refuse("through", "is the id of the last event that was read, and is missing")
	}
	if err := p.Done(); err != nil {
		return err
	}
	through, err := taskfeed.ParseCursor(value)
	if err != nil {
		return err
	}
	if err := s.feeds.Available(); err != nil {
		return err
	}
	request.KeepMemory(c, 0) // it may wait for the next write
	now, err := s.feeds.MoveMark(c.Request().Context(), principal.UserID, through)
	if err != nil {
		return err
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		Through taskfeed.Cursor `json:"through"`
	}{now})
}

// handleUnread counts the caller's unread events.
func (s *Server) handleUnread(c echo.Context, principal auth.Principal) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	filter := taskfeed.Filter{Types: p.Types("types")}
	chosen := p.IDs("feed")
	if err := p.Done(); err != nil {
		return err
	}
	var ok bool
	if filter.UserID, filter.Feeds, ok = principal.Choose(chosen); !ok {
		return request.ErrFeed
	}
	if err := s.feeds.Available(); err != nil {
		return err
	}
	cursor := s.deps.Hub.Stats().Head
	unread, err := s.deps.Marks.Unread(c.Request().Context(), principal.UserID, filter, cursor)
	if err != nil {
		return err
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		taskfeed.Unread
		Cursor taskfeed.Cursor `json:"cursor"` // later events were not counted
	}{unread, cursor})
}

// MarksMoved tells the connections of users whose marks another server has moved.
func (s *Server) MarksMoved(ctx context.Context, server string, users []string) {
	s.feeds.MarksMoved(ctx, server, users)
}

package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/feeds"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Commands hands a command to every server that runs on the database;
// *store.Store provides it. Each server then calls Obey.
type Commands interface {
	// Command returns CodeUnavailable while the database is away.
	Command(ctx context.Context, kind taskfeed.CommandKind, argument string) error
}

// Obey carries out a command on this server. Kinds that it does not know are of
// a later version and ignored. Repeating one is safe: it closes what is open.
func (s *Server) Obey(kind taskfeed.CommandKind, argument string) {
	closed := 0
	switch kind {
	case taskfeed.CommandDisconnectConnection:
		if s.feeds.Disconnect(argument) {
			closed = 1
		}
	case taskfeed.CommandDisconnectUser:
		closed = s.feeds.DisconnectUser(argument)
	}
	if closed > 0 {
		s.log.Info("connections closed by an admin", "kind", kind, "argument", argument, "connections", closed)
	}
}

// Shed closes a share of the connections, spread over a time, and returns how many. Their
// clients come back with their cursors.
func (s *Server) Shed(share float64, spread time.Duration) int { return s.feeds.Shed(share, spread) }

// connectionList is a page of the connections.
type connectionList struct {
	Server  string       `json:"server"`  // the one that answers: the beginning of its connections' ids
	Servers []ServerInfo `json:"servers"` // those whose connections are listed
	request.List[feeds.Connection]
}

// maxConnections is the most connections on one page.
const maxConnections = 500

// handleConnections lists the connections, with ended=true also those that ended lately:
// those of this server in the order in which they were opened, then those of the others
// that it can ask.
func (s *Server) handleConnections(c echo.Context, _ auth.Principal) error {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return err
	}
	userID, ended, limit, after := p.Text("user_id"), p.Flag("ended"), p.Limit(maxConnections), p.After()
	if after != "" && !s.feeds.IsOwn(after) && (s.deps.Fleet == nil || !feeds.IsConnectionID(after)) {
		p.Refuse("after", "is not the next of a page of this server; begin without it")
	}
	if err := p.Done(); err != nil {
		return err
	}
	page, more, servers := s.connections(c.Request().Context(), fleetQuestion{UserID: userID, Ended: ended, After: after, Limit: limit})
	body := connectionList{Server: s.ID(), Servers: servers, List: request.List[feeds.Connection]{Items: page}}
	if more {
		body.Next = page[len(page)-1].ID
	}
	request.LinkNext(c, body.Next)
	return request.WriteJSON(c, http.StatusOK, body)
}

var errNoConnection = &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no such connection"}

// handleDisconnect closes one connection, on whichever server it is.
func (s *Server) handleDisconnect(c echo.Context, p auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	id := request.PathParam(c, "id")
	if !feeds.IsConnectionID(id) || s.feeds.IsOwn(id) && !s.feeds.IsOpen(id) {
		return errNoConnection
	}
	return s.command(c, p, taskfeed.CommandDisconnectConnection, id)
}

// handleDisconnectUser closes a user's connections on all servers.
func (s *Server) handleDisconnectUser(c echo.Context, p auth.Principal) error {
	userID, err := request.ReadID(c, "id")
	if err != nil {
		return err
	}
	return s.command(c, p, taskfeed.CommandDisconnectUser, userID)
}

// command sends a command to all servers, this one included, and answers that it was
// sent. This server obeys it like the others, so nothing is done twice.
func (s *Server) command(c echo.Context, p auth.Principal, kind taskfeed.CommandKind, argument string) error {
	if err := s.deps.Commands.Command(c.Request().Context(), kind, argument); err != nil {
		return err
	}
	s.log.Info("admin command", "kind", kind, "argument", argument, "admin", p.UserID, "request_id", request.ID(c))
	return c.NoContent(http.StatusAccepted)
}

package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// handleClients lists a user's named clients for an admin.
func (s *Server) handleClients(c echo.Context, _ auth.Principal) error {
	userID, err := request.ReadID(c, "id")
	if err != nil {
		return err
	}
	return s.writeClients(c, userID)
}

// handleMyClients lists the caller's named clients.
func (s *Server) handleMyClients(c echo.Context, p auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	return s.writeClients(c, p.UserID)
}

func (s *Server) writeClients(c echo.Context, userID string) error {
	if err := s.feeds.Available(); err != nil {
		return err
	}
	clients, err := s.deps.Clients.Clients(c.Request().Context(), userID)
	if err != nil {
		return err
	}
	if clients == nil {
		clients = []taskfeed.NamedClient{}
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		Items []taskfeed.NamedClient `json:"items"`
	}{clients})
}

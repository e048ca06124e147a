package httpapi

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Every route of the API is wrapped in forUsers or forAdmins, which decide who may call
// it. What rows a handler of tasks and events sees is decided by its rest.Viewer.

var errAdminOnly = &taskfeed.Error{Code: taskfeed.CodeForbidden,
	Message: `this takes a token with the role "admin"; what is the user's own is under /v1/me`}

// forUsers admits every caller with a valid token.
func (s *Server) forUsers(next request.Handler) echo.HandlerFunc {
	return s.guard.Protect(request.HeaderToken, s.gate.Admit(next))
}

// forAdmins admits callers with the admin role.
func (s *Server) forAdmins(next request.Handler) echo.HandlerFunc {
	next = s.gate.Admit(next)
	return s.guard.Protect(request.HeaderToken, func(c echo.Context, p auth.Principal) error {
		if !p.Admin() {
			return errAdminOnly
		}
		return next(c, p)
	})
}

// handleMe answers with what the token says.
func (s *Server) handleMe(c echo.Context, p auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	return request.WriteJSON(c, http.StatusOK, struct {
		UserID    string    `json:"user_id"`
		Feeds     []string  `json:"feeds,omitempty"` // of groups
		Role      string    `json:"role,omitempty"`
		Admin     bool      `json:"admin"`
		ExpiresAt time.Time `json:"expires_at"`
	}{p.UserID, p.Feeds, p.Role, p.Admin(), p.ExpiresAt.UTC()})
}

package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Who may see what is decided in this file and nowhere else: a route is wrapped
// in forUsers or forAdmins, and a handler sees the tasks and the log through the
// eyes that it is given.

var errAdminOnly = &taskfeed.Error{Code: taskfeed.CodeForbidden,
	Message: `this takes a token with the role "admin"; what is the user's own is under /v1/me`}

// forUsers lets everybody in who has a good token.
func (s *Server) forUsers(next request.Handler) echo.HandlerFunc {
	return s.guard.Protect(request.HeaderToken, s.gate.Admit(next))
}

// forAdmins lets in who has the admin role.
func (s *Server) forAdmins(next request.Handler) echo.HandlerFunc {
	next = s.gate.Admit(next)
	return s.guard.Protect(request.HeaderToken, func(c echo.Context, p auth.Principal) error {
		if !p.Admin() {
			return errAdminOnly
		}
		return next(c, p)
	})
}

// eyes are through which a handler sees the tasks and the log: everybody's, or
// one user's, who sees what is their own. The zero value sees nothing.
type eyes struct {
	all    bool
	userID string
}

var adminEyes = eyes{all: true}

func eyesOf(p auth.Principal) eyes {
	return eyes{userID: p.UserID}
}

// chosenUser returns whose tasks or events to select: an admin may choose a user
// or, with an empty id, all of them; everybody else gets their own.
func (e eyes) chosenUser(p *request.Params) string {
	if e.all {
		return p.Text("user_id")
	}
	return e.userID
}

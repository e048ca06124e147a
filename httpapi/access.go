package httpapi

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
)

// Who may see what is decided in this file and nowhere else: a route is wrapped
// in forUsers or forAdmins, and a handler sees the tasks and the log through the
// eyes that it is given.

// handler answers a request of a principal whose token has been verified.
type handler func(c echo.Context, p auth.Principal) error

var errAdminOnly = &taskfeed.Error{Code: taskfeed.CodeForbidden,
	Message: `this takes a token with the role "admin"; what is the user's own is under /v1/me`}

// forUsers lets everybody in who has a good token.
func (s *Server) forUsers(next handler) echo.HandlerFunc {
	return s.guard(headerToken, s.admitted(next))
}

// forAdmins lets in who has the admin role.
func (s *Server) forAdmins(next handler) echo.HandlerFunc {
	next = s.admitted(next)
	return s.guard(headerToken, func(c echo.Context, p auth.Principal) error {
		if !p.Admin() {
			return errAdminOnly
		}
		return next(c, p)
	})
}

var errTooManyRequests = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
	Message: "too many requests of this user; wait as long as Retry-After says before the next one"}

// guard verifies the token that find finds and holds its principal to the rate
// limit.
func (s *Server) guard(find func(*http.Request) (string, error), next handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		token, err := find(c.Request())
		if err != nil {
			return err
		}
		p, err := s.verify(c.Request().Context(), token)
		if err != nil {
			return err
		}
		if wait := s.requests.take(s.now(), p.UserID); wait > 0 {
			c.Response().Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			return errTooManyRequests
		}
		return next(c, p)
	}
}

// headerToken returns the token of the Authorization header, empty when there is
// none.
func headerToken(r *http.Request) (string, error) {
	return theOne(bearerTokens(r))
}

// headerOrQueryToken also takes a token from the query, for browsers' own
// EventSource, which cannot send headers.
func headerOrQueryToken(r *http.Request) (string, error) {
	return theOne(append(bearerTokens(r), query(r)["token"]...))
}

// bearerTokens returns the tokens of all Authorization headers. Beside another
// header, one without a token counts too: it may not stand twice (RFC 9110
// section 5.3), and two readers could take different ones.
func bearerTokens(r *http.Request) []string {
	var tokens []string
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return headers
	}
	for _, value := range headers {
		scheme, rest, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimSpace(rest))
		}
	}
	return tokens
}

// theOne refuses to choose among tokens.
func theOne(tokens []string) (string, error) {
	switch len(tokens) {
	case 0:
		return "", nil
	case 1:
		return tokens[0], nil
	}
	return "", errAmbiguous
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
func (e eyes) chosenUser(p *params) string {
	if e.all {
		return p.text("user_id")
	}
	return e.userID
}

// feedFilter is the part of the feed that a stream or a socket of the principal
// asks for. Only admins may ask for another user's feed or for all of them.
func feedFilter(p *params, principal auth.Principal) (taskfeed.Filter, error) {
	f := taskfeed.Filter{UserID: principal.UserID}
	userID, all := p.text("user_id"), p.flag("all")
	narrow(p, &f)
	if userID != "" && all {
		p.refuse("all", "cannot stand beside user_id; choose one of them")
	}
	if err := p.ignoreUnread(); err != nil {
		return f, err
	}
	if (userID != "" || all) && !principal.Admin() {
		return f, errAdminFeed
	}
	if userID != "" {
		f.UserID = userID
	}
	f.All = all
	return f, nil
}

var errAdminFeed = &taskfeed.Error{Code: taskfeed.CodeForbidden,
	Message: `user_id and all take a token with the role "admin"; leave them out to get the user's own feed`}

// narrow reads the parameters that narrow any feed.
func narrow(p *params, f *taskfeed.Filter) {
	f.Types = p.types("types")
	f.TaskID = p.text("task_id")
}

package request

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
)

// Verifier returns the principal of a token; *auth.Verifier is one.
type Verifier interface {
	// Verify returns CodeBadToken for a token that is refused, CodeUnavailable
	// when tokens cannot be verified at present. It is called concurrently.
	Verify(ctx context.Context, token string) (auth.Principal, error)
}

// Handler answers a request of a principal whose token has been verified.
type Handler func(c echo.Context, p auth.Principal) error

// Authenticate returns the principal of a request, in place of a Verifier and its tokens.
// Its errors are those of a Verifier, with any other code for another answer. It is called
// concurrently and must return when the request's context ends.
type Authenticate func(*http.Request) (auth.Principal, error)

// Guard finds out who sends a request and limits how often each user may ask. It is
// safe for concurrent use.
type Guard struct {
	verifier Verifier
	asks     Authenticate  // in place of verifier; may be nil
	timeout  time.Duration // of a verification
	requests *Limiter[string]
	began    time.Time // zero of the limiter's clock
}

// NewGuard returns a guard that lets a user ask perMinute times a minute; 0 means no
// limit. Either v or a is set.
func NewGuard(v Verifier, a Authenticate, timeout time.Duration, perMinute int) *Guard {
	return &Guard{v, a, timeout, NewLimiter[string](perMinute), time.Now()}
}

// ReadsTokens reports whether callers show tokens. Otherwise there is nothing to renew
// on an open connection.
func (g *Guard) ReadsTokens() bool { return g.asks == nil }

// Verify asks the verifier and bounds how long it may take.
func (g *Guard) Verify(ctx context.Context, token string) (auth.Principal, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	return g.verifier.Verify(ctx, token)
}

// sessionTime is how long a connection lasts whose principal names no end. Then its
// client connects again and is asked for anew.
const sessionTime = time.Hour

// Identify returns who sends a request that carries this token.
func (g *Guard) Identify(r *http.Request, token string) (auth.Principal, error) {
	if g.asks == nil {
		return g.Verify(r.Context(), token)
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.timeout)
	defer cancel()
	p, err := g.asks(r.WithContext(ctx))
	if err != nil {
		return auth.Principal{}, fmt.Errorf("authenticate: %w", err)
	}
	if p.ExpiresAt.IsZero() {
		p.ExpiresAt = time.Now().Add(sessionTime)
	}
	switch {
	case !p.ExpiresAt.After(time.Now()):
		return auth.Principal{}, errSessionOver
	case !p.Valid():
		return auth.Principal{}, errors.New("authenticate: the principal's ids cannot be used: 1 to 255 bytes of text without control characters, at most 64 feeds, each once")
	}
	return p, nil
}

var errSessionOver = &taskfeed.Error{Code: taskfeed.CodeBadToken, Message: "the session is over; sign in again"}

// find returns the token of a request, and none where nobody reads it.
func (g *Guard) find(r *http.Request, token func(*http.Request) (string, error)) (string, error) {
	if g.asks != nil {
		return "", nil
	}
	return token(r)
}

var errTooManyRequests = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
	Message: "too many requests of this user; wait as long as Retry-After says before the next one"}

// Protect passes requests of a known principal on to next. find returns the token of a
// request.
func (g *Guard) Protect(find func(*http.Request) (string, error), next Handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		token, err := g.find(c.Request(), find)
		if err != nil {
			return err
		}
		p, err := g.Identify(c.Request(), token)
		if err != nil {
			return err
		}
		if wait := g.requests.Take(time.Since(g.began), p.UserID); wait > 0 {
			c.Response().Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			return errTooManyRequests
		}
		return next(c, p)
	}
}

package request

import (
	"context"
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

// Guard verifies the tokens of requests and limits how often each user may ask. It is
// safe for concurrent use.
type Guard struct {
	verifier Verifier
	timeout  time.Duration // of a verification
	requests *Limiter[string]
	began    time.Time // zero of the limiter's clock
}

// NewGuard returns a guard that lets a user ask perMinute times a minute; 0 means no limit.
func NewGuard(v Verifier, timeout time.Duration, perMinute int) *Guard {
	return &Guard{v, timeout, NewLimiter[string](perMinute), time.Now()}
}

// Verify asks the verifier and bounds how long it may take.
func (g *Guard) Verify(ctx context.Context, token string) (auth.Principal, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	return g.verifier.Verify(ctx, token)
}

var errTooManyRequests = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
	Message: "too many requests of this user; wait as long as Retry-After says before the next one"}

// Protect passes requests with a good token on to next. find returns the token of a
// request.
func (g *Guard) Protect(find func(*http.Request) (string, error), next Handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		token, err := find(c.Request())
		if err != nil {
			return err
		}
		p, err := g.Verify(c.Request().Context(), token)
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

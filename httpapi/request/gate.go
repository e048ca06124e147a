package request

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/fair"
)

// The memory that answers hold is bounded, for each user and in all. Before a request
// reads anything it reserves the most that an answer can hold; it gives back the part
// that it does not need. Requests that find no memory free wait in turn, user by user,
// for a bounded time.

const (
	// AnswerBytes is the most that one answer may hold: a page of a list, with
	// what the database driver and the encoder need for one item, or one piece of a
	// field that is too large to be held whole.
	AnswerBytes = 8 << 20
	// LeastAnswers is how many answers the memory must be enough for.
	LeastAnswers = 4
	// ItemBytes is about the memory of an item without its large fields.
	ItemBytes = 512
	// leastBytes is the least that an answer holds: its buffers and the request.
	leastBytes = 64 << 10
)

// Gate admits requests and knows which are in progress. It is safe for concurrent use.
type Gate struct {
	memory *fair.Budget // bytes
	limits GateLimits

	mu   sync.Mutex
	open map[string]int // requests of a user, waiting ones included
}

// GateLimits bounds what a gate admits.
type GateLimits struct {
	Memory   int           // bytes of all answers together
	Parallel int           // requests of one user; 0 is no limit
	Wait     time.Duration // for a share of the memory
	Handle   time.Duration // until an answer begins
}

func NewGate(limits GateLimits) *Gate {
	return &Gate{memory: fair.New(int64(limits.Memory)), limits: limits, open: make(map[string]int)}
}

var (
	errTooManyAtOnce = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
		Message: "too many requests of this user at the same time; wait for the answers to earlier ones"}
	errOwnAnswers = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
		Message: "answers to this user are still being sent and hold as much memory as one user may have; read them, or try again"}
	errBusy = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "the server is busy with other requests; try again in a moment"}
)

// Admit passes a request on to next when there is room for its answer.
func (g *Gate) Admit(next Handler) Handler {
	return func(c echo.Context, p auth.Principal) error {
		if !g.enter(p.UserID) {
			return errTooManyAtOnce
		}
		defer g.leave(p.UserID)
		ctx, cancel := context.WithTimeout(c.Request().Context(), g.limits.Wait)
		share, err := g.memory.Take(ctx, p.UserID, AnswerBytes)
		cancel()
		if err != nil {
			return g.whyNot(p.UserID, err)
		}
		defer share.Release()
		c.Set(keyShare, share)
		defer bound(c, g.limits.Handle)()
		return next(c, p)
	}
}

// KeepMemory reduces the reservation of a request to an answer of this many bytes.
func KeepMemory(c echo.Context, bytes int) {
	if share, ok := c.Get(keyShare).(*fair.Share); ok {
		share.Shrink(leastBytes + int64(bytes))
	}
}

// whyNot returns the refusal of a request that got no share of the memory.
func (g *Gate) whyNot(userID string, err error) error {
	switch {
	case errors.Is(err, context.Canceled): // the client is gone
		return err
	case g.memory.Held(userID) > 0:
		return errOwnAnswers
	}
	return errBusy
}

// enter counts a request and reports whether the user may have one more.
func (g *Gate) enter(userID string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if limit := g.limits.Parallel; limit > 0 && g.open[userID] >= limit {
		return false
	}
	g.open[userID]++
	return true
}

func (g *Gate) leave(userID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[userID]--; g.open[userID] == 0 {
		delete(g.open, userID)
	}
}

// bound ends the context of a request after a time. done releases it.
func bound(c echo.Context, within time.Duration) (done func()) {
	r := c.Request()
	if r.Body == http.NoBody { // anything more to read is the next request
		_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Time{}) // it would end the request's context
	}
	c.Set(keyUnbounded, r.Context())
	ctx, cancel := context.WithTimeout(r.Context(), within)
	c.SetRequest(r.WithContext(ctx))
	return cancel
}

// AnswerContext returns the context of an answer that is written while it is read from
// the database: it ends when the client's time does.
func AnswerContext(c echo.Context, within time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(unboundedContext(c), within)
}

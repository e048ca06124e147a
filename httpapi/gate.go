package httpapi

import (
	"context"
	"errors"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/fair"
)

// What answers hold in memory is bounded, for each user and in all. A request
// takes the most that an answer can hold before anything is read, and gives back
// what it turns out not to need. Who finds nothing free waits in line, user by
// user; nobody waits for long.

const (
	// answerBytes is the most that one answer may hold: a page of a list with what
	// the database's driver and the encoder need for one item, or a piece of what
	// is too large to be held.
	answerBytes = 8 << 20
	// leastAnswers is how many the memory must do for.
	leastAnswers = 4
	// itemBytes is about what an item needs beside its large fields.
	itemBytes = 512
	// leastBytes is what an answer holds at least: buffers, and the request.
	leastBytes = 64 << 10
)

// gate knows what answers of which user are under way.
type gate struct {
	memory *fair.Budget // bytes
	limits gateLimits

	mu      sync.Mutex
	open    map[string]int  // requests of a user, those that wait among them
	exports map[string]bool // who has an export under way
}

type gateLimits struct{ parallel, exports int }

func newGate(cfg *Config) *gate {
	return &gate{
		memory:  fair.New(int64(cfg.AnswerBytes)),
		limits:  gateLimits{cfg.ParallelRequests, maxExports},
		open:    make(map[string]int),
		exports: make(map[string]bool),
	}
}

var (
	errTooManyAtOnce = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
		Message: "too many requests of this user at the same time; wait for the answers to earlier ones"}
	errOwnAnswers = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
		Message: "answers to this user are still being sent and hold as much memory as one user may have; read them, or try again"}
	errBusy = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "the server is busy with other requests; try again in a moment"}
)

// admitted lets a request in when the gate does, for as long as next runs.
func (s *Server) admitted(next handler) handler {
	return func(c echo.Context, p auth.Principal) error {
		if !s.gate.enter(p.UserID) {
			return errTooManyAtOnce
		}
		defer s.gate.leave(p.UserID)
		ctx, cancel := context.WithTimeout(c.Request().Context(), s.cfg.waitBound())
		share, err := s.gate.memory.Take(ctx, p.UserID, answerBytes)
		cancel()
		if err != nil {
			return s.notAdmitted(p.UserID, err)
		}
		defer share.Release()
		c.Set(keyShare, share)
		defer s.bound(c)()
		return next(c, p)
	}
}

const keyShare = "share"

// keep gives back what an answer does not need that holds this many bytes.
func keep(c echo.Context, bytes int) {
	if share, ok := c.Get(keyShare).(*fair.Share); ok {
		share.Shrink(leastBytes + int64(bytes))
	}
}

func (s *Server) notAdmitted(userID string, err error) error {
	switch {
	case errors.Is(err, context.Canceled): // the client is gone
		return err
	case s.gate.memory.Held(userID) > 0:
		return errOwnAnswers
	}
	return errBusy
}

// enter counts a request and reports whether the user may have one more.
func (g *gate) enter(userID string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if limit := g.limits.parallel; limit != off && g.open[userID] >= limit {
		return false
	}
	g.open[userID]++
	return true
}

func (g *gate) leave(userID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[userID]--; g.open[userID] == 0 {
		delete(g.open, userID)
	}
}

// beginExport takes one of the places for exports, of which a user gets one.
func (g *gate) beginExport(userID string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.exports[userID]:
		return errOwnExport
	case len(g.exports) >= g.limits.exports:
		return errTooManyExports
	}
	g.exports[userID] = true
	return nil
}

func (g *gate) endExport(userID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.exports, userID)
}

package listener

import (
	"context"
	"errors"
	"time"
)

// A leader that does not reach the engine makes events late for the users of gateways.
// Servers learn of each other over the database, because the engine is what is away:
// those that reach it share an advisory lock, which the others see when they check who
// holds which.

const (
	// engineAwayAfter is for how long a server does not reach the engine before it leaves
	// the lead to others. A leader leads at least for so long.
	engineAwayAfter = 10 * time.Second

	// unledFor is how long nobody may lead before a server seeks the lead although it does
	// not reach the engine and another does: that one may be frozen.
	unledFor = 3 * time.Second
)

// engine is what a listener knows of the engine. Run owns it.
type engine struct {
	others bool      // another server reached it when the locks were checked
	led    time.Time // when this server began to lead
	told   bool      // the log says that it leads on although the engine is away
}

var errYielded = errors.New("listener: the lead was left to another server")

// engineAway reports whether this server has not reached the engine for long.
func (l *Listener) engineAway() bool {
	return l.cfg.EngineAway != nil && l.cfg.EngineAway() > engineAwayAfter
}

// tellEngine tells others whether this server reaches the engine.
func (l *Listener) tellEngine(ctx context.Context, s Session) error {
	if l.cfg.EngineAway == nil {
		return nil
	}
	if err := s.TellEngine(ctx, l.cfg.EngineAway() == 0); err != nil && over(ctx, s) {
		return err
	}
	return nil // it is told at the next check
}

// seek tries to lead, unless another server is the better leader.
func (l *Listener) seek(ctx context.Context, c Candidate) (leads bool, err error) {
	if unled, _ := l.locks.leaderless(); l.engineAway() && l.engine.others && unled < unledFor {
		return false, nil
	}
	return c.TryLead(ctx)
}

// yield returns errYielded when another server is the better leader.
func (l *Listener) yield() error {
	switch {
	case !l.engineAway():
		l.engine.told = false
	case l.engine.others && time.Since(l.engine.led) > engineAwayAfter:
		l.cfg.Logger.Warn("gave the lead away: this server does not reach the engine, and another one does")
		return errYielded
	case !l.engine.others && !l.engine.told:
		l.engine.told = true
		l.cfg.Logger.Warn("this server leads on although it does not reach the engine: no other server does")
	}
	return nil
}

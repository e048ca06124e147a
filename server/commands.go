package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskfeed/taskfeed"
)

// commandInterval is how often a server looks for commands of admins, and so the longest
// that a command waits while the database is up.
const commandInterval = time.Second

// commandLog is where commands are stored; *store.Store provides it.
type commandLog interface {
	// CommandsAfter returns the commands added after the one with this id, in the order
	// of their ids.
	CommandsAfter(ctx context.Context, id int64) ([]taskfeed.Command, error)
}

// obeyCommands carries out the commands after the one with the id last until ctx is
// done. While the database is down it waits.
func obeyCommands(ctx context.Context, log commandLog, last int64, obey func(taskfeed.CommandKind, string), logger *slog.Logger) error {
	tick := time.NewTicker(commandInterval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		commands, err := log.CommandsAfter(ctx, last)
		if err != nil && !failing && ctx.Err() == nil {
			logger.Warn("cannot read commands of admins; trying again", "error", err)
		}
		failing = err != nil
		for _, c := range commands {
			last = c.ID
			obey(c.Kind, c.Argument)
		}
	}
}

// erasureLog tells that events were erased; *store.Store provides it.
type erasureLog interface {
	// Erasures returns a number that changes whenever events are erased.
	Erasures(ctx context.Context) (int64, error)
}

// watchErasures calls forget when events were erased after the last of which it is told,
// until ctx is done. It calls it a second time at the next look: an event that was
// erased while it was on its way to the connections may have come after the first.
func watchErasures(ctx context.Context, log erasureLog, last int64, forget func()) error {
	tick := time.NewTicker(commandInterval)
	defer tick.Stop()
	again := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := log.Erasures(ctx)
		if err != nil {
			continue // as for commands, which say so in the log
		}
		erased := now != last
		if erased || again {
			forget()
		}
		last, again = now, erased
	}
}

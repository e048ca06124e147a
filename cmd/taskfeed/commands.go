package main

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

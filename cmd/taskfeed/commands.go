package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskfeed/taskfeed"
)

// commandInterval is how often a server looks for commands. It is what an admin
// waits for at most, but for an outage of the database.
const commandInterval = time.Second

// commandLog is where commands are; *store.Store is one.
type commandLog interface {
	// CommandsAfter returns commands that were added after the one with this id,
	// in the order of their ids.
	CommandsAfter(ctx context.Context, id int64) ([]taskfeed.Command, error)
}

// obeyCommands carries out what admins ask of all servers after the command with
// the id last, until ctx is done. While the database is away it waits.
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
			logger.Warn("commands of admins cannot be read, trying again", "error", err)
		}
		failing = err != nil
		for _, c := range commands {
			last = c.ID
			obey(c.Kind, c.Argument)
		}
	}
}

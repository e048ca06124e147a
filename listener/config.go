package listener

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Config of a listener. Zero means the default.
type Config struct {
	// FallbackInterval is the longest that a sleeping leader or follower waits for
	// the doorbell before it looks anyway. Default 1 s. It is also the heartbeat, so
	// it must stay well below the store's stall timeout.
	FallbackInterval time.Duration

	// TakeoverInterval is how often a follower tries to lead. Default 250 ms.
	TakeoverInterval time.Duration

	// Retention is how long events are kept. Default 30 days; negative keeps them
	// forever.
	Retention time.Duration

	// StalledAfter is after how long without a change a running task makes an event for
	// its owners, up to a tenth later. Default: never.
	StalledAfter time.Duration

	// MaintainInterval is how often the leader creates and drops partitions. Default 1 min.
	MaintainInterval time.Duration

	// Leading, when set, is called while this server leads, beside everything else, with
	// the name and the epoch of the log. Its context ends with the lead, and the listener
	// waits for it. An error is logged and ends nothing.
	Leading func(ctx context.Context, id [16]byte, epoch int64) error

	// EngineAway, when set, returns for how long this server has not reached the engine
	// over which gateways get the log, and 0 while it does. It must not block. A leader
	// that has not reached it for ten seconds gives the lead to a server that does, and
	// does not seek it while there is one.
	EngineAway func() time.Duration

	// Logger. Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	defaults := []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.FallbackInterval, time.Second},
		{&c.TakeoverInterval, 250 * time.Millisecond},
		{&c.Retention, 30 * 24 * time.Hour},
		{&c.MaintainInterval, time.Minute},
	}
	for _, d := range defaults {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	if c.FallbackInterval < 0 || c.TakeoverInterval < 0 || c.MaintainInterval < 0 {
		return errors.New("listener: FallbackInterval, TakeoverInterval and MaintainInterval must not be negative")
	}
	return nil
}

package hub

import "fmt"

// Config holds the hub's limits. Zero means the default. A negative MaxPerUser
// or MaxTotal means no limit, and a negative RecentLogBytes or LastIDs switches that
// off; New refuses the other fields when they are negative.
type Config struct {
	// FeedBytes bounds the recent frames kept for one user, for the broadcasts, and
	// for the feed of all users, each. A slow subscriber reads frames that were
	// dropped for it from the log. A bound below 300,000, the size of the largest
	// frame, turns live events into queries. Default 1 MiB.
	FeedBytes int
	// RecentBytes bounds the recent frames of all feeds together. The feed that has
	// gone longest without progress loses its frames first. Default 64 MiB.
	RecentBytes int
	// RecentLogBytes bounds the recent frames of all users, connected or not, from which
	// clients that come back get what they missed without a read of the log. Default 64
	// MiB.
	RecentLogBytes int
	// LastIDs is how many slots the table has that knows which users missed nothing. A
	// slot takes 16 bytes; with more active users than slots it knows little. Default
	// 1,048,576; without RecentLogBytes none.
	LastIDs int
	// ReplayPage is how many events one read of the log asks for. Default 500.
	ReplayPage int
	// MaxReplays bounds the reads of the log that run at the same time. The others
	// wait, and users take turns. One user has at most half of the reads. Keep it
	// below the size of the database pool, which others need too. Default 16.
	MaxReplays int
	// ReplayBytes bounds the pages of the log in memory. A page is held until its
	// subscriber asks for the next one. One user has at most half. Default 64 MiB.
	ReplayBytes int
	// MaxPerUser bounds the reservations of one user. Default 20.
	MaxPerUser int
	// MaxTotal bounds the reservations of all users. Default 50,000.
	MaxTotal int
}

func (c Config) withDefaults() Config {
	set := func(field *int, def int) {
		if *field == 0 {
			*field = def
		}
	}
	set(&c.FeedBytes, 1<<20)
	set(&c.RecentBytes, 64<<20)
	set(&c.RecentLogBytes, 64<<20)
	if c.RecentLogBytes < 0 {
		set(&c.LastIDs, -1)
	}
	set(&c.LastIDs, 1<<20)
	set(&c.ReplayPage, 500)
	set(&c.MaxReplays, 16)
	set(&c.ReplayBytes, 64<<20)
	set(&c.MaxPerUser, 20)
	set(&c.MaxTotal, 50_000)
	return c
}

func (c Config) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"FeedBytes", c.FeedBytes},
		{"RecentBytes", c.RecentBytes},
		{"ReplayPage", c.ReplayPage},
		{"MaxReplays", c.MaxReplays},
		{"ReplayBytes", c.ReplayBytes},
	} {
		if f.value < 0 {
			return fmt.Errorf("hub: %s is %d; it must be positive, or 0 for the default", f.name, f.value)
		}
	}
	return nil
}

package feeds

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/taskfeed/taskfeed"
)

// keepalive knows when a socket needs attention. All times are on the clock of
// connections, which corrections of the wall clock do not change.
type keepalive struct {
	pingAt  time.Duration // when the next ping is due
	asked   time.Duration // just before the unanswered ping was written
	pongBy  time.Duration // when the peer is dead; 0 while no ping is unanswered
	expires time.Duration // when the token ends
}

const never time.Duration = math.MaxInt64

// start spreads the first pings, so that clients that connected at the same time are
// not pinged at the same time ever after.
func (k *keepalive) start(now, interval time.Duration) {
	k.pingAt = never
	if interval != 0 {
		k.pingAt = now + interval/2 + rand.N(interval/2+1)
	}
	k.expires = never
}

// expireAt notes when the token ends by the wall clock of now.
func (k *keepalive) expireAt(now time.Duration, at time.Time) {
	k.expires = never
	if left := time.Until(at); !at.IsZero() && left < never-now {
		k.expires = now + max(left, 0)
	}
}

// pinged notes that a ping has been written. The pong may have come before this
// is called, but not before asked.
func (k *keepalive) pinged(asked, now, timeout time.Duration) {
	if k.pongBy == 0 {
		k.asked, k.pongBy = asked, now+timeout
	}
}

// due is when look has something to report next.
func (k *keepalive) due() time.Duration {
	due := min(k.pingAt, k.expires)
	if k.pongBy != 0 {
		due = min(due, k.pongBy)
	}
	return due
}

// verdict is what look decides.
type verdict int

const (
	verdictFine verdict = iota
	verdictPing
	verdictAsk // with a ping that need not be answered in time
	verdictExpired
	verdictDead
)

// look decides what to do with the socket now. lastRead is when the last frame came:
// after a ping any frame counts as the pong.
func (k *keepalive) look(now, lastRead time.Duration, cfg *Config) verdict {
	if now >= k.expires {
		return verdictExpired
	}
	if k.pongBy != 0 {
		switch {
		case lastRead >= k.asked:
			k.pongBy = 0
		case now >= k.pongBy:
			return verdictDead
		}
	}
	if now >= k.pingAt {
		k.pingAt = now + cfg.PingInterval
		return verdictPing
	}
	return verdictFine
}

// due implements member.
func (c *socket) due() time.Duration { return time.Duration(c.nextDue.Load()) }

// tick implements member.
func (c *socket) tick(now time.Duration) {
	c.mu.Lock()
	verdict := c.keep.look(now, time.Duration(c.lastRead.Load()), &c.feeds.cfg)
	if a := c.arrival; a != nil && now >= a.askAt && verdict == verdictFine {
		verdict, a.askAt = verdictAsk, never
	}
	c.nextDue.Store(int64(c.dueLocked()))
	c.mu.Unlock()
	switch verdict {
	case verdictPing:
		c.enqueueControl(func(pending *controls) { pending.ping = true })
	case verdictAsk:
		c.enqueueControl(func(pending *controls) { pending.ask = true })
	case verdictExpired:
		c.end(taskfeed.CloseBadToken, reasonExpired)
	case verdictDead:
		c.end(taskfeed.CloseNoPong, reasonNoPong)
	}
}

// pinged notes that the peer has a ping to answer, which was not written before asked.
func (c *socket) pinged(asked time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep.pinged(asked, c.feeds.now(), c.feeds.cfg.PongTimeout)
	c.nextDue.Store(int64(c.dueLocked()))
}

// Sweep pings and ends connections when they are due, until ctx is done. One loop takes
// less memory than a timer for each connection.
func (f *Feeds) Sweep(ctx context.Context) {
	ticker := time.NewTicker(f.sweepInterval())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := f.now()
		for _, m := range f.registry.dueBy(now) {
			m.tick(now)
		}
	}
}

// sweepInterval is how late a ping or an expiry may be: a second, or less where
// the settings are small.
func (f *Feeds) sweepInterval() time.Duration {
	interval := f.cfg.PongTimeout
	if f.cfg.PingInterval != 0 {
		interval = min(interval, f.cfg.PingInterval)
	}
	return min(max(interval/10, time.Millisecond), time.Second)
}

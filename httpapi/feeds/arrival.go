package feeds

import (
	"strconv"
	"time"

	"github.com/taskfeed/taskfeed"
)

const (
	// proofInterval is how long after it has written an event a server asks with a ping
	// whether it has arrived. The sweep may be another second late.
	proofInterval = time.Second
	// presenceInterval is how often a client to which nothing was written is asked, and
	// is noted as there.
	presenceInterval = time.Minute
)

// arrival knows what has certainly arrived at a named client. Pings carry up to where all
// events have been written, and frames arrive in order: a pong with that number proves that
// they have arrived.
type arrival struct {
	client  taskfeed.ClientTurn
	written taskfeed.Cursor // guarded by the socket's writer

	// Guarded by the socket's mu.
	asked  taskfeed.Cursor // the number of the last ping
	proven taskfeed.Cursor
	pings  int           // that are not answered
	askAt  time.Duration // when to ping, on the clock of connections
	more   bool          // events were written after the last ping
	covers bool          // pings that are not answered cover events
	noted  time.Duration // when a mark was last noted
	gone   bool
}

func newArrival(client taskfeed.ClientTurn, now time.Duration) *arrival {
	return &arrival{client: client, askAt: now + presenceInterval, noted: now}
}

// dueLocked is when the socket needs attention next. The caller holds mu.
func (c *socket) dueLocked() time.Duration {
	if c.arrival == nil {
		return c.keep.due()
	}
	return min(c.keep.due(), c.arrival.askAt)
}

// wrote notes that all events up to an id have been written. The caller holds writer.
func (c *socket) wrote(through taskfeed.Cursor) {
	a := c.arrival
	a.written = max(a.written, through)
	c.mu.Lock()
	defer c.mu.Unlock()
	a.more = true
	if a.pings == 0 {
		a.askAt = min(a.askAt, c.feeds.now()+proofInterval)
		c.nextDue.Store(int64(c.dueLocked()))
	}
}

// question returns what a ping carries. The caller holds writer, and writes the ping.
func (c *socket) question() []byte {
	a := c.arrival
	if a == nil {
		return nil
	}
	if at, ok := c.sub.Parked(); ok { // everything up to there has been written, if it was for this client
		a.written = max(a.written, at)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a.pings++
	a.asked, a.askAt = a.written, never
	a.covers, a.more = a.covers || a.more, false
	c.nextDue.Store(int64(c.dueLocked()))
	return strconv.AppendInt(nil, int64(a.asked), 10)
}

// answered reads what a pong carries, and reports whether it answers a ping of an arrival.
func (c *socket) answered(payload []byte) bool {
	a := c.arrival
	if a == nil {
		return false
	}
	through, err := taskfeed.ParseCursor(string(payload))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || a.pings == 0 || through > a.asked {
		return false
	}
	a.pings--
	if through == a.asked {
		a.pings = 0 // a peer may answer the last of several alone
	}
	now := c.feeds.now()
	a.proven = max(a.proven, through)
	if a.covers || now-a.noted >= presenceInterval {
		a.noted = now
		c.feeds.clients.add(a.mark())
	}
	if a.pings == 0 {
		a.covers = false
		a.askAt = now + presenceInterval
		if a.more {
			a.askAt = now + proofInterval
		}
		c.nextDue.Store(int64(c.dueLocked()))
	}
	return true
}

// leaveClient notes that the connection of a named client has ended.
func (c *socket) leaveClient() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrival.gone = true
	c.feeds.clients.add(c.arrival.mark())
}

// mark is what has arrived. The caller holds the socket's mu.
func (a *arrival) mark() taskfeed.ClientMark {
	return taskfeed.ClientMark{ClientTurn: a.client, Through: a.proven, Gone: a.gone}
}

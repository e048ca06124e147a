package httpapi

import (
	"time"

	"github.com/taskfeed/taskfeed/httpapi/request"
)

// The parts of an answer have bounds of time, one within the other: what is
// inside must have time to fail and to say so before what is around it cuts the
// connection. All are made here, from the same few settings.

// boundSlack is what a layer gets beyond those within it.
const boundSlack = 2 * time.Second

// waitBound is how long a request waits for its share of the memory.
func (c *Config) waitBound() time.Duration { return c.QueueTimeout }

// handleBound is how long a handler may take until its answer begins. One read of
// the history fits in, with what surrounds it.
func (c *Config) handleBound() time.Duration { return c.ReadTimeout + boundSlack }

// answerBound is how long a client may have to wait for the first byte of an
// answer, be it an error's.
func (c *Config) answerBound() time.Duration {
	return c.VerifyTimeout + c.waitBound() + c.handleBound()
}

// writeBound is net/http's deadline for an answer. It is for those that never
// begin; others have a pace of their own, see reply.
func (c *Config) writeBound() time.Duration { return c.answerBound() + c.WriteTimeout + boundSlack }

// pace is how fast a client must take an answer.
func (c *Config) pace() request.Pace {
	return request.Pace{Write: c.WriteTimeout, Start: c.RequestTimeout, Answer: c.AnswerTime}
}

// Bounds are the bounds of time that follow from a configuration, each longer than
// the one before it.
type Bounds struct {
	Read   time.Duration // one read of Deps.History
	Handle time.Duration // a handler, until its answer begins
	Answer time.Duration // the first byte: clients and proxies must wait for longer
	Write  time.Duration // net/http's own
}

// Bounds returns them, with defaults for what is not set.
func (c Config) Bounds() Bounds {
	c = c.withDefaults()
	return Bounds{c.ReadTimeout, c.handleBound(), c.answerBound(), c.writeBound()}
}

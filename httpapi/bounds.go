package httpapi

import (
	"time"

	"github.com/taskfeed/taskfeed/httpapi/request"
)

// The layers of an answer have time limits, each longer than that of the layer inside
// it: an inner layer must have time to fail and answer before an outer one cuts the
// connection. All limits are derived here from a few settings.

// boundSlack is how much longer the limit of a layer is than that of the layers inside.
const boundSlack = 2 * time.Second

// waitBound is how long a request waits for its share of the memory.
func (c *Config) waitBound() time.Duration { return c.QueueTimeout }

// handleBound is how long a handler may take until its answer begins. It is
// enough for one read of the history.
func (c *Config) handleBound() time.Duration { return c.ReadTimeout + boundSlack }

// answerBound is how long a client may have to wait for the first byte of an
// answer, be it an error's.
func (c *Config) answerBound() time.Duration {
	return c.VerifyTimeout + c.waitBound() + c.handleBound()
}

// writeBound is net/http's deadline for answers that never begin. Once an answer has
// begun, request.Reply sets deadlines.
func (c *Config) writeBound() time.Duration { return c.answerBound() + c.WriteTimeout + boundSlack }

// pace is how fast a client must read an answer.
func (c *Config) pace() request.Pace {
	return request.Pace{Write: c.WriteTimeout, Start: c.RequestTimeout, Answer: c.AnswerTime}
}

// Bounds are the time limits of a configuration, each longer than the one before it.
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

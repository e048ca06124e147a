package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed"
)

// Client asks the cores. It is the log of a gateway's hub and where a gateway reads the
// commands of admins. Its methods are safe for concurrent use. A question fails with
// CodeUnavailable while no core answers.
type Client struct {
	transport Transport
	subject   string
	timeout   time.Duration
	counts    *Counts

	// announced is the head of the hub, or beyond it while the head moves.
	announced atomic.Int64

	mu      sync.Mutex
	lineage Lineage
	known   bool
	foreign Lineage   // of another log that was heard
	clashed time.Time // when it was heard last
	forked  func()    // called when the epoch has risen
}

// ClientConfig says how a client asks. Zero means the default.
type ClientConfig struct {
	// Prefix begins the subjects. Default "taskfeed".
	Prefix string
	// Timeout is how long an answer may take. Default 10 s.
	Timeout time.Duration
}

// NewClient returns a client that asks over the transport.
func NewClient(t Transport, cfg ClientConfig) *Client {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	return &Client{transport: t, subject: prefixOf(cfg.Prefix) + subjectAsk, timeout: cfg.Timeout, counts: new(Counts), forked: func() {}}
}

// Counts returns what the client, and the receiver that uses it, have counted.
func (c *Client) Counts() *Counts { return c.counts }

func prefixOf(prefix string) string {
	if prefix == "" {
		return "taskfeed"
	}
	return prefix
}

// After is what a hub reads; see hub.Log.
func (c *Client) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	announced := taskfeed.Cursor(c.announced.Load())
	a, err := c.page(ctx, f, after, limit)
	if err != nil {
		return nil, 0, false, err
	}
	events, through, more = a.page.Events, a.page.Through, a.page.More
	if more || a.state.Last >= announced {
		return events, through, more, nil
	}
	// The core does not know yet of all that was announced here.
	if through = a.state.Last; len(events) > 0 {
		through = max(through, events[len(events)-1].ID)
	}
	if through <= after {
		return nil, 0, false, unavailable("the server that was asked is behind; try again")
	}
	return events, through, true, nil
}

func (c *Client) page(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (answer, error) {
	a, err := c.ask(ctx, question{topic: askAfter, filter: f, after: int64(after), limit: limit})
	if n := len(a.page.Events); err == nil && n > 0 && a.page.Events[0].ID <= after {
		return answer{}, errMalformed
	}
	return a, err
}

// Head is what a hub reads; see hub.Log.
func (c *Client) Head(ctx context.Context) (taskfeed.Cursor, error) {
	announced := taskfeed.Cursor(c.announced.Load())
	a, err := c.state(ctx)
	return max(a.state.Head, announced), err
}

func (c *Client) state(ctx context.Context) (answer, error) {
	return c.ask(ctx, question{topic: askState})
}

// CommandsAfter returns the commands of admins after the one with this id.
func (c *Client) CommandsAfter(ctx context.Context, id int64) ([]taskfeed.Command, error) {
	a, err := c.ask(ctx, question{topic: askCommands, after: id})
	return a.commands, err
}

// LastCommand returns the id of the last command.
func (c *Client) LastCommand(ctx context.Context) (int64, error) {
	a, err := c.ask(ctx, question{topic: askLastCommand})
	return a.number, err
}

// Erasures returns a number that changes whenever events are erased.
func (c *Client) Erasures(ctx context.Context) (int64, error) {
	a, err := c.ask(ctx, question{topic: askErasures})
	return a.number, err
}

// ask returns the answer of a core of our log and its newest epoch.
func (c *Client) ask(ctx context.Context, q question) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	message, err := c.transport.Request(ctx, c.subject, q.encode())
	if err != nil {
		c.counts.AskErrors.Add(1)
		return answer{}, &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "no core server answers; try again later", Err: err}
	}
	a, err := decodeAnswer(message)
	if err == nil && a.code == "" {
		err = c.admit(a.state.Lineage)
	}
	switch {
	case err != nil:
	case a.code == taskfeed.CodeInternal:
		err = errors.New("a core server failed; its log has the cause")
	case a.code != "":
		err = &taskfeed.Error{Code: a.code, Message: a.message}
	default:
		c.counts.Asked.Add(1)
		return a, nil
	}
	c.counts.AskErrors.Add(1)
	return answer{}, fmt.Errorf("ask a core server: %w", err)
}

var (
	errOtherLog = unavailable("another log is published under the same prefix: give each deployment a prefix of its own")
	errStale    = unavailable("a core server speaks of the log before its last failover: is an old primary still running?")
)

func unavailable(why string) error {
	return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: why}
}

// admit accepts what was said about our log. The first log that is heard is ours. A
// greater epoch means that the log has forked. After an error nothing may be believed.
func (c *Client) admit(l Lineage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.known:
		c.lineage, c.known = l, true
	case l.ID != c.lineage.ID:
		c.foreign, c.clashed = l, time.Now()
		return errOtherLog
	case l.Epoch < c.lineage.Epoch:
		return errStale
	case l.Epoch > c.lineage.Epoch:
		c.lineage = l
		c.forked()
	}
	return nil
}

// Lineage returns the log that the client asks for, zero before the first answer.
func (c *Client) Lineage() Lineage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lineage
}

// Log returns the name of the log that the client asks for; ok is false before the first
// answer.
func (c *Client) Log() (id [16]byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lineage.ID, c.known
}

// clashes reports whether another log was heard lately.
func (c *Client) clashes(within time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.clashed.IsZero() && time.Since(c.clashed) < within
}

package actor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// ClientsConfig is the configuration of a process with many clients.
type ClientsConfig struct {
	Dir     string         `json:"dir"` // of the history
	Seed    uint64         `json:"seed"`
	Secret  string         `json:"secret"` // to sign tokens with
	Clients []ClientConfig `json:"clients"`
}

// ClientConfig is one client.
type ClientConfig struct {
	Name string `json:"name"`
	User string `json:"user"`
	// Feeds are further feeds that the user's tokens list.
	Feeds []string `json:"feeds,omitempty"`
	// All means that the user is an admin and reads the events of all users.
	All   bool   `json:"all,omitempty"`
	Proto string `json:"proto"` // plain, after, v1, sse or rest
	// Servers are names and addresses to choose from at each connection.
	Servers []Server `json:"servers"`
	// Traits, separated by spaces: churn reconnects every few seconds, fresh
	// connects with cursor 0 each time, forgetful reconnects with an earlier cursor,
	// expiring lets its token expire, renewing renews it over the connection, small
	// has a small receive buffer, thinned wants less progress of tasks, compact wants
	// replays without what no longer matters of tasks, named has the
	// server keep its cursor.
	Traits string `json:"traits,omitempty"`
	// Foreign are tasks of other users, which a REST client requests.
	Foreign []string `json:"foreign,omitempty"`
}

// Server is where a client may connect.
type Server struct {
	Name string `json:"name"`
	Addr string `json:"addr"` // host and port
}

// RunClients is the process taskfeed-lab verify-client.
func RunClients(ctx context.Context, stdin io.Reader, stdout io.Writer) (err error) {
	in := bufio.NewScanner(stdin)
	var cfg ClientsConfig
	if err := configure(in, &cfg); err != nil {
		return err
	}
	group := &clients{}
	defer func() { err = errors.Join(err, group.close()) }()
	for _, c := range cfg.Clients {
		one, err := newClient(&cfg, c)
		if err != nil {
			return err
		}
		group.all = append(group.all, one)
	}
	return serve(ctx, in, stdout, group)
}

// clients are all clients of one process.
type clients struct{ all []*client }

func (g *clients) run(ctx context.Context) error {
	var work sync.WaitGroup
	for _, c := range g.all {
		work.Go(func() { c.run(ctx) })
	}
	work.Wait()
	return nil
}

func (g *clients) close() error {
	var errs []error
	for _, c := range g.all {
		errs = append(errs, c.out.Close())
	}
	return errors.Join(errs...)
}

func (g *clients) status() Status {
	s := Status{Paths: make(map[string]int64)}
	for _, c := range g.all {
		s.Deliveries += c.deliveries.Load()
		s.Slowed += c.slowed.Load()
		s.Dials += c.dials.Load()
		c.addPaths(s.Paths)
		if c.open.Load() {
			s.Open++
		}
		if c.marked() {
			s.Marked++
		}
	}
	return s
}

func (g *clients) obey(command Command) {
	for _, c := range g.all {
		if len(command.Names) == 0 || slices.Contains(command.Names, c.cfg.Name) {
			c.obey(command)
		}
	}
}

// client reads one feed, over any number of connections.
type client struct {
	cfg    ClientConfig
	secret string
	out    *history.File

	// Used only by the reading goroutine.
	rand    *rand.Rand
	session int
	last    int64 // the cursor, for the client rule
	known   bool  // last is set
	saved   int64 // a forgetful client's saved cursor
	since   int   // events since it was saved
	replays bool  // the session has not reached the head
	replay  int   // events replayed in the session so far

	deliveries atomic.Int64
	slowed     atomic.Int64
	dials      atomic.Int64
	open       atomic.Bool

	mu       sync.Mutex
	hangUp   func()    // ends the current connection
	stalled  time.Time // read nothing until then
	slow     time.Time // read slowly until then
	crawling time.Time // read a byte a second until then
	parked   time.Time // stay disconnected until then
	marker   string
	ops      map[string]bool // of received events without a task, markers among them
	storming bool
	paths    map[string]int64 // taken so far
}

func newClient(cfg *ClientsConfig, c ClientConfig) (*client, error) {
	out, err := history.Create(cfg.Dir, "client-"+c.Name+".jsonl")
	if err != nil {
		return nil, err
	}
	out.Append(history.Client{T: now(), Kind: history.Start, User: c.User, Traits: c.Traits})
	return &client{cfg: c, secret: cfg.Secret, out: out, rand: newRand(cfg.Seed, c.Name), ops: make(map[string]bool), paths: make(map[string]int64)}, nil
}

func (c *client) trait(name string) bool { return slices.Contains(strings.Fields(c.cfg.Traits), name) }

// marked reports whether the marker of the last command has come.
func (c *client) marked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.marker != "" && c.ops[markerOf(c.marker, c.cfg.User)]
}

// saw records an event without a task, which may be a marker.
func (c *client) saw(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops[op] = true
}

func (c *client) obey(command Command) {
	until := time.Now().Add(command.For)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch command.Do {
	case DoMarker:
		c.marker = command.Op
	case DoStall:
		c.stalled = until
	case DoCrawl:
		c.crawling = until
	case DoSlow:
		c.slow = until
	case DoPark:
		c.parked = until
		c.hangUpLocked()
	case DoStorm:
		c.storming = true
		c.hangUpLocked()
	}
}

func (c *client) hangUpLocked() {
	if c.hangUp != nil {
		c.hangUp()
	}
}

// until returns the time left until one of the moments that commands set.
func (c *client) until(moment *time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(*moment)
}

// run connects again and again until ctx is done.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		if away := c.until(&c.parked); away > 0 {
			pause.For(ctx, min(away, 100*time.Millisecond)) // it may be called back
			continue
		}
		opened := c.connect(ctx)
		if c.stormed() {
			continue // reconnect without a wait
		}
		wait := rand.N(200 * time.Millisecond)
		if !opened {
			wait = 50*time.Millisecond + rand.N(300*time.Millisecond)
		}
		pause.For(ctx, wait)
	}
}

func (c *client) stormed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.storming
	c.storming = false
	return was
}

func (c *client) note(r history.Client) {
	r.T, r.Session = now(), c.session
	c.out.Append(r)
	switch r.Kind {
	case history.Dial:
		c.dials.Add(1)
		c.replays, c.replay = r.After != nil && r.Proto != "plain", 0
	case history.Close:
		c.took(closePaths[r.Code])
	}
}

// closePaths are the paths that a close code shows.
var closePaths = map[int]string{1012: "close: draining", 4001: "close: token expired", 4008: "close: too slow", 4009: "close: no pong"}

// took counts a path.
func (c *client) took(path string) {
	if path == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths[path]++
}

func (c *client) addPaths(to map[string]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, n := range c.paths {
		to[path] += n
	}
}

// take applies the client rule to a message and records it.
func (c *client) take(r history.Client) {
	r.T, r.Kind, r.Session = now(), history.Frame, c.session
	var frame struct {
		ID     int64  `json:"id"`
		Type   string `json:"type"`
		Reason string `json:"reason"`
		Cursor int64  `json:"cursor"`
		Task   string `json:"task_id"`
		Op     string `json:"op"`
	}
	// A message that is not a frame is recorded too, for the judge to report.
	_ = json.Unmarshal([]byte(r.Text), &frame)
	switch {
	case frame.Type == "feed_live":
		c.last, c.known = max(c.last, frame.Cursor), true
		c.replays = false
	case frame.Type == "feed_reset" && frame.ID == 0:
		c.last, c.known, c.saved = frame.Cursor, true, frame.Cursor
		c.took("reset: " + frame.Reason)
	case frame.ID > 0:
		if r.Skipped = frame.ID <= c.last; r.Skipped {
			c.took("suppressed duplicate")
		} else {
			c.last, c.known = frame.ID, true
			c.save()
		}
		if frame.Type == "feed_reset" { // one that is an event of the log
			c.took("reset: " + frame.Reason)
		}
		c.deliveries.Add(1)
		c.countReplay()
	}
	c.out.Append(r)
	if frame.ID > 0 && frame.Task == "" {
		c.saw(frame.Op)
	}
}

// longReplay is more than one page of the log.
const longReplay = 500

// countReplay counts an event that came before the session was live.
func (c *client) countReplay() {
	if !c.replays {
		return
	}
	switch c.replay++; c.replay {
	case 1:
		c.took("replay")
	case longReplay + 1:
		c.took("replay of many pages")
	}
}

// saveEvery is the number of events after which a forgetful client saves its cursor.
const saveEvery = 10

// save saves the cursor of a forgetful client after every saveEvery events.
func (c *client) save() {
	if c.since++; c.since >= saveEvery {
		c.saved, c.since = c.last, 0
	}
}

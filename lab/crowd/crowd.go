// Package crowd is a process with many clients of feeds, which cost it little: one loop
// serves all of them, without a goroutine or a buffer each.
//
// A client that loses its connection comes back at once, with its cursor, to the next
// server. Nothing spreads these returns but the number of handshakes at the same time, so
// a crowd is harder on servers than browsers are.
//
// Whoever starts the process sends it HTTP requests: POST /open has all clients connect,
// GET /state answers State, POST /reset counts events from zero.
package crowd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Command is the hidden subcommand that runs Run, and Env the variable with its Config in
// JSON.
const (
	Command = "bench-crowd"
	Env     = "TASKFEED_CROWD"
)

// Config of a crowd.
type Config struct {
	Addr    string   // where it listens for requests, as host:port
	Servers []string // where the clients connect in turns, as host:port of IPv4
	Source  string   // the IPv4 address from which they connect
	Clients int
	First   int    // number of the first client; client i is of the user Prefix + i
	Prefix  string // of the users' names
	Secret  string // that signs their tokens
	Rush    int    // handshakes at the same time
}

// State is what a crowd counts. Times are by the machine's clock, in nanoseconds of Unix.
type State struct {
	Live      int    `json:"live"`       // clients that are connected and have all that there is
	LastLive  int64  `json:"last_live"`  // when the last one of them became it
	Events    int    `json:"events"`     // since the last reset
	LastEvent int64  `json:"last_event"` // when the last one came
	Lost      int    `json:"lost"`       // connections that ended
	Refused   int    `json:"refused"`    // handshakes that a server refused
	Resets    int    `json:"resets"`     // feed_reset frames
	Disorder  int    `json:"disorder"`   // events that did not come after the one before
	Failure   string `json:"failure"`    // the first that was not expected
}

// crowd is the part that all systems share. The loop writes, requests read.
type crowd struct {
	cfg  Config
	open chan struct{} // closed when the clients shall connect
	once sync.Once

	mu    sync.Mutex
	state State
}

// Run runs a crowd until ctx is done.
func Run(ctx context.Context, env func(string) string) error {
	c := &crowd{open: make(chan struct{})}
	if err := json.Unmarshal([]byte(env(Env)), &c.cfg); err != nil {
		return errors.New("only taskfeed-lab bench runs this command")
	}
	l, err := net.Listen("tcp", c.cfg.Addr)
	if err != nil {
		return err
	}
	web := http.Server{Handler: c.handler(), ReadHeaderTimeout: 10 * time.Second}
	var served sync.WaitGroup
	served.Go(func() { _ = web.Serve(l) }) // until Close
	defer served.Wait()
	defer web.Close()
	select {
	case <-ctx.Done():
		return nil
	case <-c.open:
		return c.serve(ctx)
	}
}

func (c *crowd) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /open", func(http.ResponseWriter, *http.Request) { c.once.Do(func() { close(c.open) }) })
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.state.Events, c.state.LastEvent = 0, 0
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		state := c.state
		c.mu.Unlock()
		_ = json.NewEncoder(w).Encode(state) // whoever asks sees that it is cut off
	})
	return mux
}

// fail notes the first failure that was not expected. The caller holds mu.
func (c *crowd) fail(format string, args ...any) {
	if c.state.Failure == "" {
		c.state.Failure = fmt.Sprintf(format, args...)
	}
}

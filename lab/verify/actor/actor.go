// Package actor holds the processes that a run of taskfeed-lab verify watches:
// writers, which change tasks as an app does, and clients, which read feeds.
//
// Each actor is a process of its own, so that a fault in the servers or the harness
// does not affect its record. It reads its configuration from the first line of
// standard input and commands from the following lines, reports its progress on
// standard output, and ends when standard input does.
//
// Clients speak raw WebSocket and do not use the product's own client. Actors only
// record what they do and see; they do not judge it.
package actor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Command is a command of the harness to a running actor.
type Command struct {
	Do string `json:"do"`
	// Names are the clients that it applies to; none means all.
	Names []string `json:"names,omitempty"`
	// For is how long it lasts.
	For time.Duration `json:"for,omitempty"`
	// Op is what the command marker looks for.
	Op string `json:"op,omitempty"`
	// User is the owner of the tasks of the command burst.
	User string `json:"user,omitempty"`
	On   bool   `json:"on,omitempty"`
}

// Commands to writers. Quit ends either kind of actor in an ordered way.
const (
	DoPause  = "pause"  // write nothing, or with On continue
	DoAsync  = "async"  // commit without waiting for the disk while On
	DoBurst  = "burst"  // write many large tasks of one user at once
	DoHuge   = "huge"   // write some of the largest tasks of one user in one transaction
	DoRenew  = "renew"  // reconnect to the database
	DoForget = "forget" // change no existing task again: the database may have lost it
	DoMarker = "marker" // clients: report whether they have seen the op
	DoStorm  = "storm"  // clients: end all connections at once
	DoStall  = "stall"  // clients: stop reading for a while
	DoCrawl  = "crawl"  // clients: read a byte a second for a while
	DoSlow   = "slow"   // clients: read slowly for a while
	DoPark   = "park"   // clients: stay disconnected for a while
	DoQuit   = "quit"
)

// Status is the progress of an actor.
type Status struct {
	Writes     int64  `json:"writes,omitempty"`
	Deliveries int64  `json:"deliveries,omitempty"`
	Async      int64  `json:"async,omitempty"`  // writes whose commit did not wait for the disk
	Dials      int64  `json:"dials,omitempty"`  // connection attempts
	Slowed     int64  `json:"slowed,omitempty"` // reads that were late on purpose
	Open       int    `json:"open,omitempty"`   // connections
	Marked     int    `json:"marked,omitempty"` // clients that have seen the op of the last marker command
	Error      string `json:"error,omitempty"`  // why the actor gave up
	// Paths counts the paths that clients have taken, by the names of package check.
	Paths map[string]int64 `json:"paths,omitempty"`
}

// statusEvery is how often an actor reports.
const statusEvery = 200 * time.Millisecond

// worker is an actor as serve sees it.
type worker interface {
	// run works until ctx is done.
	run(ctx context.Context) error
	// obey executes a command, or begins to.
	obey(c Command)
	status() Status
}

// serve runs a worker until it gets the command quit or its standard input ends. The
// first line of in is read already.
func serve(ctx context.Context, in *bufio.Scanner, out io.Writer, w worker) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	defer work.Wait()
	report := json.NewEncoder(out)
	work.Go(func() { reportUntil(ctx, report, w) })
	// Nothing waits for this goroutine: a read of standard input cannot be
	// interrupted, and the process ends with run.
	go func() {
		defer stop()
		for in.Scan() {
			var c Command
			if json.Unmarshal(in.Bytes(), &c) != nil || c.Do == DoQuit {
				return
			}
			w.obey(c)
		}
	}()
	return w.run(ctx)
}

func reportUntil(ctx context.Context, report *json.Encoder, w worker) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = report.Encode(w.status()) // if the harness is gone, standard input ends
		case <-ctx.Done():
			return
		}
	}
}

// configure reads the first line of standard input.
func configure(in *bufio.Scanner, config any) error {
	in.Buffer(nil, 1<<20)
	if !in.Scan() {
		return errors.Join(errors.New("there is no configuration on standard input"), in.Err())
	}
	if err := json.Unmarshal(in.Bytes(), config); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	return nil
}

// newRand returns the source of an actor's choices. The same seed and name make the
// same choices.
func newRand(seed uint64, name string) *rand.Rand {
	var n uint64
	for _, c := range name {
		n = n*131 + uint64(c)
	}
	return rand.New(rand.NewPCG(seed, n))
}

func now() int64 { return history.Now() }

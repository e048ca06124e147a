package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/taskfeed/taskfeed/lab/crowd"
)

// clientsPerProcess bounds a process of clients: each address from which it connects has
// 28,000 ports.
const clientsPerProcess = 25_000

// rush is how many handshakes all clients together have under way.
const rush = 512

// crowds are the clients of gateways, in processes of their own.
type crowds struct {
	bench *bench
	all   []*server
	want  int // clients
}

// startCrowds starts processes for n clients that will connect to the servers in turns.
func (b *bench) startCrowds(ctx context.Context, p *place, servers []*server, n int) (*crowds, error) {
	cs := &crowds{bench: b, want: n}
	processes := (n-1)/min(clientsPerProcess, filesPerProcess()) + 1
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.addr
	}
	for i := range processes {
		cfg := crowd.Config{Servers: addrs, Source: fmt.Sprintf("127.0.0.%d", 2+i), First: n * i / processes, Prefix: p.prefix + "c", Secret: benchSecret, Rush: max(1, rush/processes)}
		cfg.Clients = n*(i+1)/processes - cfg.First
		var err error
		if cfg.Addr, err = freeAddress(); err != nil {
			cs.stop()
			return nil, err
		}
		text, _ := json.Marshal(cfg) // cannot fail
		s, err := b.startAt(ctx, cfg.Addr, b.cfg.Self, []string{crowd.Command}, "/readyz", []string{crowd.Env + "=" + string(text)})
		if err != nil {
			cs.stop()
			return nil, err
		}
		cs.all = append(cs.all, s)
	}
	return cs, nil
}

func (cs *crowds) stop() {
	for _, s := range cs.all {
		s.stop()
	}
}

// post has all processes do something.
func (cs *crowds) post(path string) error {
	for _, s := range cs.all {
		res, err := client.Post("http://"+s.addr+path, "", nil)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("clients: %s: %s", path, res.Status)
		}
	}
	return nil
}

// state returns the sum of what the processes count.
func (cs *crowds) state() (sum crowd.State, err error) {
	for _, s := range cs.all {
		var one crowd.State
		res, err := client.Get("http://" + s.addr + "/state")
		if err != nil {
			return sum, err
		}
		err = json.NewDecoder(res.Body).Decode(&one)
		res.Body.Close()
		if err != nil {
			return sum, err
		}
		sum.Live, sum.Events, sum.Lost = sum.Live+one.Live, sum.Events+one.Events, sum.Lost+one.Lost
		sum.Refused, sum.Resets, sum.Disorder = sum.Refused+one.Refused, sum.Resets+one.Resets, sum.Disorder+one.Disorder
		sum.LastLive, sum.LastEvent = max(sum.LastLive, one.LastLive), max(sum.LastEvent, one.LastEvent)
		if sum.Failure == "" {
			sum.Failure = one.Failure
		}
	}
	return sum, nil
}

// await waits until the clients are in a state.
func (cs *crowds) await(ctx context.Context, limit time.Duration, what string, done func(crowd.State) bool) (state crowd.State, err error) {
	deadline := time.Now().Add(limit)
	for {
		if state, err = cs.state(); err != nil || done(state) {
			return state, err
		}
		if time.Now().After(deadline) {
			return state, fmt.Errorf("waited %v for %s: %+v", limit, what, state)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return state, err
		}
	}
}

// check returns an error when a client was told that it missed something, or got an event
// twice or out of order.
func (cs *crowds) check() error {
	state, err := cs.state()
	if err == nil && (state.Resets > 0 || state.Disorder > 0 || state.Failure != "") {
		err = fmt.Errorf("clients: %d were reset, %d events came out of order, first failure %q", state.Resets, state.Disorder, state.Failure)
	}
	return err
}

var errNoLinux = errors.New("its clients run on Linux only")

// filesPerProcess is how many connections a process may have.
func filesPerProcess() int {
	limit, ok := fileLimit()
	if !ok {
		return clientsPerProcess
	}
	return max(1, limit-spareFiles)
}

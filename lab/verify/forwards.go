package verify

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Two forwards run beside the servers: one of all events, by two processes of which one
// works, and one of what its user has not read.
const (
	forwardAll    = "all"
	forwardUnread = "unread"

	unlessRead = 3 * time.Second
)

// Settings of forwards: as in production, but shorter.
const (
	forwardLease   = 3 * time.Second
	forwardTimeout = 3 * time.Second
	forwardGiveUp  = 3 * time.Second
	forwardDrain   = 2 * time.Second
	forwardEnd     = 45 * time.Second // for all that is left
)

// forwards are the forwards of a round with their receiver and the users who read.
type forwards struct {
	to      *receiver
	db      *netfault.Proxy
	reads   *history.File
	reading sync.WaitGroup
	stop    context.CancelFunc // of the readers
	all     []*forward
}

// forward is one of them, with its processes.
type forward struct {
	history.Forward
	processes []*forwardProcess
}

// forwardProcess is one "taskfeed forward", over all its processes.
type forwardProcess struct {
	name   string
	binary string
	env    []string
	log    *os.File

	mu      sync.Mutex
	process *proc.Process
}

// forwardsRun reports whether the round has forwards. Mistakes elsewhere in the product are
// looked for without.
func (r *round) forwardsRun() bool {
	return r.private() && (r.cfg.Mutation == "" || r.forwardFaults())
}

// forwardFaults reports whether faults of forwards were asked for by name.
func (r *round) forwardFaults() bool {
	return slices.ContainsFunc(r.cfg.Faults, func(name string) bool { return strings.HasPrefix(name, "forward-") })
}

// makeForwards prepares the forwards.
func (r *round) makeForwards() error {
	if !r.forwardsRun() {
		return nil
	}
	fs := &forwards{stop: func() {}}
	r.forwards = fs
	var url string
	var err error
	if fs.to, err = newReceiver(r.dir, r.seed); err != nil {
		return err
	}
	if fs.reads, err = history.Create(r.dir, "reads.jsonl"); err != nil {
		return err
	}
	if fs.db, url, err = r.db.proxied(); err != nil {
		return err
	}
	for _, f := range []struct {
		name      string
		processes int
		unless    time.Duration
	}{{forwardAll, 2, 0}, {forwardUnread, 1, unlessRead}} {
		made := &forward{Forward: history.Forward{Name: f.name, Key: newKey(), UnlessRead: int64(f.unless)}}
		fs.all = append(fs.all, made)
		for i := range f.processes {
			p, err := r.newForwardProcess(made, fmt.Sprintf("%s-%d", f.name, i+1), url)
			if err != nil {
				return err
			}
			made.processes = append(made.processes, p)
		}
	}
	return nil
}

// forwardPaths are what forwards must do in a round.
func (r *round) forwardPaths() []string {
	if !r.forwardsRun() || len(r.cfg.Faults) > 0 && !r.forwardFaults() {
		return nil
	}
	return []string{"forward: sent again", "forward: taken twice", "forward: left out as read", "forward: sent as unread"}
}

// secrets must not be in any log.
func (fs *forwards) secrets() (keys []string) {
	if fs != nil {
		for _, f := range fs.all {
			keys = append(keys, f.Key)
		}
	}
	return keys
}

func newKey() string {
	var key [32]byte
	_, _ = crand.Read(key[:]) // never fails
	return base64.StdEncoding.EncodeToString(key[:])
}

func (r *round) newForwardProcess(f *forward, name, url string) (*forwardProcess, error) {
	log, err := os.OpenFile(filepath.Join(r.dir, "forward-"+name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &forwardProcess{name: name, binary: r.cfg.Binary, env: r.forwardEnv(f, name, url), log: log}, nil
}

// forwardEnv returns the settings of a process. The path of the URL tells the receiver who
// sends, and its query is a secret.
func (r *round) forwardEnv(f *forward, process, url string) []string {
	env := []string{"DATABASE_URL=" + url, "TASKFEED_FORWARD_NAME=" + f.Name, "TASKFEED_FORWARD_SECRET=whsec_" + f.Key,
		"TASKFEED_FORWARD_TO=" + r.forwards.to.url + "/" + f.Name + "/" + process + "?key=" + r.secret,
		"TASKFEED_FORWARD_ALLOW_PRIVATE=true", "TASKFEED_FORWARD_AFTER=0", "TASKFEED_FORWARD_LEASE=" + forwardLease.String(),
		"TASKFEED_FORWARD_TIMEOUT=" + forwardTimeout.String(), "TASKFEED_FORWARD_GIVE_UP_AFTER=" + forwardGiveUp.String(),
		"TASKFEED_FORWARD_DRAIN=" + forwardDrain.String(), "TASKFEED_LOG_FORMAT=json"}
	if f.UnlessRead > 0 {
		env = append(env, "TASKFEED_FORWARD_UNLESS_READ="+time.Duration(f.UnlessRead).String())
	}
	return env
}

func (p *forwardProcess) start() error {
	child, err := startChild("forward "+p.name, p.binary, []string{"forward"}, p.env, nil, p.log, p.log)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = child
	return nil
}

func (p *forwardProcess) current() *proc.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process
}

// end ends the process in an orderly way, and returns what went wrong.
func (p *forwardProcess) end() string {
	child := p.current()
	child.Signal(syscall.SIGTERM)
	if !child.Wait(forwardDrain + 10*time.Second) {
		child.Kill()
		return "it did not end on SIGTERM"
	}
	if child.Err() != nil {
		return "it ended with " + child.Exit()
	}
	return ""
}

// startForwards starts the processes and lets users read.
func (r *round) startForwards(ctx context.Context) error {
	fs := r.forwards
	if fs == nil {
		return nil
	}
	for _, f := range fs.all {
		for _, p := range f.processes {
			if err := p.start(); err != nil {
				return err
			}
		}
	}
	reading, stop := context.WithCancel(ctx)
	fs.stop = stop
	for i := range readers {
		fs.reading.Go(func() { r.read(reading, r.users[i].ID) })
	}
	return nil
}

// holder returns the process of a forward that sends, and one that does not.
func (fs *forwards) holder(ctx context.Context) (holds *forwardProcess, err error) {
	f := fs.all[0]
	err = await(ctx, patience, func() error {
		name := fs.to.sender(f.Name)
		i := slices.IndexFunc(f.processes, func(p *forwardProcess) bool { return p.name == name })
		if i < 0 {
			return errors.New("no process has sent anything")
		}
		holds = f.processes[i]
		return nil
	})
	return holds, err
}

// tookOver is the effect that another process than this one sends.
func (fs *forwards) tookOver(from *forwardProcess) effect {
	return func(context.Context) (string, error) {
		if now := fs.to.sender(forwardAll); now != from.name {
			return now + " took over", nil
		}
		return "", fmt.Errorf("no process took over from %s", from.name)
	}
}

const (
	sqlForwardsBehind = `
SELECT count(*)
FROM taskfeed.forwards
WHERE cursor < (SELECT max(id) FROM taskfeed.events)`

	sqlForwardState = `
SELECT f.cursor, f.lost, ARRAY(SELECT x.event_id FROM taskfeed.forward_failures AS x WHERE x.name = f.name ORDER BY x.event_id)
FROM taskfeed.forwards AS f
WHERE f.name = $1`
)

// endForwards waits, for a bounded time, until all is forwarded, ends the processes, sends
// the failures again, and records what became of them. The judge reports what is left.
func (r *round) endForwards(ctx context.Context) error {
	fs := r.forwards
	if fs == nil {
		return nil
	}
	fs.stop()
	fs.reading.Wait()
	fs.to.beKind()
	_ = await(ctx, forwardEnd, func() error {
		n, err := one[int64](ctx, r.db, sqlForwardsBehind)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d forwards are behind", n)
		}
		return err
	})
	out, err := history.Create(r.dir, "forwards.jsonl")
	if err != nil {
		return err
	}
	for _, f := range fs.all {
		for _, p := range f.processes {
			record := history.Fault{Name: "forward-end", Target: p.name, Begin: history.Now(), Fired: true, Wrong: p.end()}
			record.End = history.Now()
			r.faults.Append(record)
		}
		if err := r.endForward(ctx, f); err != nil {
			return errors.Join(err, out.Close())
		}
		out.Append(f.Forward)
	}
	return out.Close()
}

// endForward sends the failures of a forward again and reads what is left.
func (r *round) endForward(ctx context.Context, f *forward) error {
	if err := r.forwardState(ctx, f, &f.Failures); err != nil {
		return err
	}
	p, err := r.newForwardProcess(f, "retry", r.db.direct())
	if err != nil {
		return err
	}
	defer p.log.Close()
	child, err := startChild("forward retry", p.binary, []string{"forward", "retry"}, p.env, nil, p.log, p.log)
	if err != nil {
		return err
	}
	if !child.Wait(forwardEnd) {
		child.Kill()
	}
	return r.forwardState(ctx, f, &f.Left)
}

func (r *round) forwardState(ctx context.Context, f *forward, failures *[]int64) error {
	conn, err := r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer query.Close(conn)
	err = conn.QueryRow(ctx, sqlForwardState, f.Name).Scan(&f.Cursor, &f.Lost, failures)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // nothing was ever forwarded
	}
	if err != nil {
		return fmt.Errorf("read the state of the forward %s: %w", f.Name, err)
	}
	return nil
}

// close ends what still runs. It may be called at any point of a round.
func (fs *forwards) close() error {
	if fs == nil {
		return nil
	}
	fs.stop()
	fs.reading.Wait()
	var errs []error
	for _, f := range fs.all {
		for _, p := range f.processes {
			if child := p.current(); child != nil {
				child.Kill()
			}
			errs = append(errs, p.log.Close())
		}
	}
	if fs.db != nil {
		fs.db.Close()
	}
	if fs.to != nil {
		errs = append(errs, fs.to.close())
	}
	if fs.reads != nil {
		errs = append(errs, fs.reads.Close())
	}
	return errors.Join(errs...)
}

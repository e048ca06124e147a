package verify

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// memoryLimit is the bound on a server's memory: shared frames, some pages of the
// log, and garbage of the Go runtime.
const memoryLimit = 400 << 20

// leastDeliveries is less than what any complete round delivers.
const leastDeliveries = 2000

// round is one round under way.
type round struct {
	cfg    Config
	seed   uint64
	rand   *rand.Rand // the choices of the faults; one goroutine at a time
	dir    string
	prefix string // of ids of users and tasks
	secret string
	users  []history.User
	header history.Header
	began  time.Time

	db         *database
	tinyDisk   string    // mounted for the fault disk-full
	borrowed   bool      // the database is the user's: the round cleans it up
	truth      *slot     // nil on a database of the user's own
	dead       *deadRows // nil without dead rows
	servers    []*server
	engine     *engine       // nil without gateways
	gateways   []*server     // two, or none
	picked     atomic.Uint64 // times that one of them was
	writersNet *netfault.Proxy
	writersURL string
	writer     *actor.Writer   // of the harness itself, for the writes of faults
	bells      []*actor.Writer // of the fault doorbell
	writers    []*actorProcess
	jobWriters []*actorProcess // of them, those that write the attached table
	detached   atomic.Int64    // times that it was detached
	clients    []*actorProcess
	mail       *mailbox  // nil on a database of the user's own
	forwards   *forwards // nil where nothing is forwarded
	groups     map[string]*actorProcess
	names      map[string][]string // of clients, by their traits

	patience    time.Duration // how long to wait for the effect of a fault
	readyWithin time.Duration // how long to wait for the servers to be ready
	faults      *history.File
	resources   *history.File
	actorLog    *os.File
	work        sync.WaitGroup // goroutines that run beside the faults
	readers     sync.WaitGroup // of the actors' status; each ends with its actor
	fired       atomic.Int64
	doing       atomic.Pointer[string] // for the progress line
	sampling    atomic.Pointer[string] // the phase of the samples
}

// play runs a round and leaves its history in dir.
func play(ctx context.Context, cfg Config, seed uint64, dir string) (h history.Header, err error) {
	r := &round{cfg: cfg, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), dir: dir, prefix: "verify-", secret: crand.Text() + crand.Text(), patience: patience, readyWithin: readyWithin,
		groups: make(map[string]*actorProcess), names: make(map[string][]string), began: time.Now()}
	defer func() { err = errors.Join(err, r.close()) }()
	background, stop := context.WithCancel(ctx)
	defer r.work.Wait()
	defer stop()
	r.now("starting")
	if err := r.setUp(ctx); err != nil {
		return r.header, err
	}
	if r.truth != nil {
		r.work.Go(func() { _ = r.truth.run(background) }) // always nil
	}
	r.work.Go(func() { r.report(background) })
	well, err := r.awaitFirstReady(ctx)
	if err != nil {
		return r.header, err
	}
	r.header.Performed = true
	if well {
		if err := r.perform(ctx, background); err != nil {
			return r.header, err
		}
	}
	stop()
	return r.header, r.conclude(ctx)
}

// now sets what the progress line says that the round is doing.
func (r *round) now(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.doing.Store(&text)
}

func (r *round) private() bool { return r.cfg.DatabaseURL == "" }

// setUp starts everything except the writers and clients.
func (r *round) setUp(ctx context.Context) (err error) {
	if err := r.openFiles(); err != nil {
		return err
	}
	if err := r.openDatabase(ctx); err != nil {
		return err
	}
	if r.users, err = newUsers(r.prefix); err != nil {
		return err
	}
	if err := errors.Join(r.makeShared(ctx), r.makeJobs(ctx)); err != nil {
		return err
	}
	if r.writersNet, r.writersURL, err = r.db.proxied(); err != nil {
		return err
	}
	config := r.writerConfig("hand")
	config.Users = r.users // the users without tasks get the marker too
	if r.writer, err = actor.NewWriter(config); err != nil {
		return err
	}
	if err := r.makeForwards(); err != nil {
		return err
	}
	r.header = r.makeHeader(ctx)
	if err := history.WriteHeader(r.dir, r.header); err != nil {
		return err
	}
	return r.startServers(ctx)
}

func (r *round) openFiles() (err error) {
	if r.faults, err = history.Create(r.dir, "faults.jsonl"); err != nil {
		return err
	}
	if r.resources, err = history.Create(r.dir, "resources.jsonl"); err != nil {
		return err
	}
	r.actorLog, err = os.Create(filepath.Join(r.dir, "actors.log"))
	return err
}

func (r *round) openDatabase(ctx context.Context) (err error) {
	if r.private() {
		if r.db, err = startDatabase(ctx, r.cfg.Binary, r.say); err != nil {
			return err
		}
		return r.openTruth(ctx)
	}
	r.prefix = "verify-" + strings.ToLower(crand.Text()[:10]) + "-"
	r.db = &database{progress: r.say, url: r.cfg.DatabaseURL}
	if err := r.checkSchema(ctx); err != nil {
		return err
	}
	r.borrowed = true
	r.say("this database is not private: all ids that the run writes begin with %q, and it deletes them at the end", r.prefix)
	return nil
}

// openTruth makes the dead rows, if they are wanted, and then begins to record what
// commits.
func (r *round) openTruth(ctx context.Context) (err error) {
	if len(r.cfg.Faults) == 0 || slices.Contains(r.cfg.Faults, "old-snapshot") {
		r.say("making %d dead rows under an old snapshot", deadPieces*deadPiece)
		if r.dead, err = makeDeadRows(ctx, r.db); err != nil {
			return err
		}
	}
	r.truth, err = newSlot(ctx, r.db, r.dir)
	return err
}

// makeShared inserts the tasks that all writers change. Their first events are in
// the history like all others.
func (r *round) makeShared(ctx context.Context) error {
	config := r.writerConfig("first")
	config.URL = r.db.direct()
	w, err := actor.NewWriter(config)
	if err != nil {
		return err
	}
	return errors.Join(w.MakeShared(ctx), w.Close())
}

func (r *round) makeHeader(ctx context.Context) history.Header {
	h := history.Header{Format: 1, Seed: r.seed, Command: r.command(), Version: r.cfg.Version, Binary: hashFile(r.cfg.Binary),
		Started: r.began.UTC().Format(time.RFC3339), Users: r.users, Truth: "slot", Secrets: []string{r.secret},
		MemoryLimit: memoryLimit, LeastDeliveries: leastDeliveries, NotRun: make(map[string]string)}
	if !r.private() {
		h.Truth = "writers"
	}
	h.Secrets = append(h.Secrets, r.forwards.secrets()...)
	h.Postgres, _ = one[string](ctx, r.db, "SELECT current_setting('server_version')") // for information only
	if u, err := url.Parse(r.db.direct()); err == nil {
		if password, ok := u.User.Password(); ok && len(password) >= 8 {
			h.Secrets = append(h.Secrets, password)
		}
	}
	var chosen []fault
	for _, f := range catalogue {
		if !r.wants(f) {
			continue
		}
		if why := r.cannot(f); why != "" {
			h.NotRun[f.name] = why
			continue
		}
		h.Faults = append(h.Faults, f.name)
		chosen = append(chosen, f)
	}
	h.Paths = r.pathsOf(chosen)
	for _, row := range Rows {
		if row.NotRun != "" {
			h.NotRun[row.Says] = row.NotRun
		}
	}
	return h
}

// pathsOf are the paths that a round with these faults must take.
func (r *round) pathsOf(faults []fault) []string {
	paths := []string{"replay", "further feed"}
	if r.private() { // without a slot the order of commits is not known
		paths = append(paths, "late commit")
	}
	if r.attaches() && (len(r.cfg.Faults) == 0 || r.sourceFaults()) { // else the writers of jobs may pause all the time
		paths = append(paths, "attached: cleaned", "attached: again", "attached: new owner")
	}
	if r.private() && len(r.cfg.Faults) == 0 {
		paths = append(paths, "replay of many pages", "suppressed duplicate", "thinned: left out", "compact: left out", "named: sent again")
		if r.hasFleet() {
			paths = append(paths, fleetPaths...)
		}
	}
	paths = append(paths, r.forwardPaths()...)
	for _, f := range faults {
		paths = append(paths, f.paths...)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// wants reports whether a fault was asked for.
func (r *round) wants(f fault) bool {
	return (len(r.cfg.Faults) == 0 || slices.Contains(r.cfg.Faults, f.name)) && !slices.Contains(r.cfg.Without, f.name)
}

// cannot says why a fault cannot be run here, "" when it can.
func (r *round) cannot(f fault) string {
	if !r.private() && !f.safe {
		return "it would disturb others on a database that is not private"
	}
	if f.needs != nil {
		return f.needs(r)
	}
	return ""
}

// perform runs actors and faults, and then waits until all clients have caught up or
// the time for that is over.
func (r *round) perform(ctx, background context.Context) error {
	r.sampleOnce(ctx, "baseline")
	phase := "run"
	r.sampling.Store(&phase)
	for _, s := range r.all() {
		r.work.Go(func() { r.sampleUntil(background, s) })
	}
	if err := r.startWriters(); err != nil {
		return err
	}
	if err := r.startClients(); err != nil {
		return err
	}
	r.startMail(background)
	if err := r.startForwards(background); err != nil {
		return err
	}
	r.now("warming up")
	pause.For(ctx, 3*time.Second)
	r.runFaults(ctx)
	r.drive(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.drain(ctx)
}

// drain ends the round: writers and faults stop, and a last event must reach every
// client.
func (r *round) drain(ctx context.Context) error {
	r.now("quiet: everybody catches up")
	if err := tell(r.writers, actor.Command{Do: actor.DoPause}); err != nil {
		return err
	}
	pause.For(ctx, time.Second)
	for _, w := range r.writers {
		if err := w.quit(); err != nil {
			return err
		}
	}
	if err := r.endMail(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	marker, err := r.writer.Marker(limited)
	if err != nil {
		return err
	}
	r.header.Marker = marker
	if err := tell(r.clients, actor.Command{Do: actor.DoMarker, Op: marker}); err != nil {
		return err
	}
	// The judge reports clients that have not caught up.
	_ = await(ctx, 32*time.Second, func() error {
		if n := sum(r.clients, func(s *actor.Status) int64 { return int64(s.Marked) }); n < feeds() {
			return fmt.Errorf("%d of %d clients have caught up", n, feeds())
		}
		return nil
	})
	return errors.Join(r.endForwards(ctx), ctx.Err())
}

// conclude ends the actors, waits until the servers are back at their baseline, ends
// them, and completes the history.
func (r *round) conclude(ctx context.Context) error {
	r.work.Wait()
	r.now("ending")
	var errs []error
	for _, c := range r.clients {
		errs = append(errs, c.quit())
	}
	r.settle(ctx)
	if r.truth != nil {
		errs = append(errs, r.truth.drain(ctx))
	}
	errs = append(errs, r.dumpLog(ctx), r.endServers(), r.copyLogs(), history.WriteHeader(r.dir, r.header))
	return errors.Join(errs...)
}

// settle waits, for a bounded time, until the servers use no more than at the
// beginning, and takes their last samples.
func (r *round) settle(ctx context.Context) {
	_ = await(ctx, 10*time.Second, func() error {
		for _, s := range r.all() {
			sample, err := s.sample(ctx, "", 0)
			if err == nil && (sample.Connections > 0 || sample.Goroutines > 40) {
				err = fmt.Errorf("%s has %d connections and %d goroutines", s.name, sample.Connections, sample.Goroutines)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	r.sampleOnce(ctx, "end")
}

const sqlBackends = `
SELECT count(*)
FROM pg_stat_activity
WHERE application_name IN ('taskfeed', 'taskfeed listener')
  AND datname = current_database()`

// sampleOnce samples every server, and what they have in Postgres.
func (r *round) sampleOnce(ctx context.Context, phase string) {
	backends, _ := one[int64](ctx, r.db, sqlBackends) // 0 when the database is down
	r.sampleAll(ctx, phase, backends)
}

func (r *round) sampleAll(ctx context.Context, phase string, backends int64) {
	for _, s := range r.all() {
		if sample, err := s.sample(ctx, phase, backends); err == nil {
			r.resources.Append(sample)
		}
	}
}

// sampleUntil samples a server twice a second until ctx is done. A server that is
// down or frozen has no samples.
func (r *round) sampleUntil(ctx context.Context, s *server) {
	for pause.For(ctx, 500*time.Millisecond) {
		if sample, err := s.sample(ctx, *r.sampling.Load(), 0); err == nil {
			r.resources.Append(sample)
		}
	}
}

// endServers stops the servers, which is also a last test of an orderly stop.
func (r *round) endServers() error {
	for _, s := range r.all() {
		begin := history.Now()
		p := s.current()
		p.Signal(syscall.SIGTERM)
		f := history.Fault{Name: "end", Target: s.name, Begin: begin, Fired: true}
		if !p.Wait(drain + 10*time.Second) {
			f.Wrong = "it did not end on SIGTERM"
			p.Kill()
		} else if p.Err() != nil {
			f.Wrong = p.Exit()
		}
		f.End = history.Now()
		r.faults.Append(f)
	}
	return nil
}

// copyLogs copies the logs of Postgres into the history.
func (r *round) copyLogs() error {
	for i, pg := range r.db.all {
		in, err := os.Open(pg.LogFile())
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(filepath.Join(r.dir, fmt.Sprintf("postgres-%d.log", i+1)), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything that still runs and closes the files. It may be called at
// any point of a round.
func (r *round) close() error {
	var errs []error
	for _, p := range slices.Concat(r.writers, r.clients) {
		_ = p.in.Close() // may be closed already
		p.Kill()
	}
	r.readers.Wait()
	if r.writer != nil {
		errs = append(errs, r.writer.Close())
	}
	for _, w := range r.bells {
		errs = append(errs, w.Close())
	}
	for _, s := range r.all() {
		errs = append(errs, s.close())
	}
	errs = append(errs, r.engine.close(), r.forwards.close())
	if r.borrowed {
		errs = append(errs, r.cleanUp())
	}
	if r.writersNet != nil {
		r.writersNet.Close()
	}
	if r.truth != nil {
		errs = append(errs, r.truth.close())
	}
	errs = append(errs, r.dead.close())
	for _, f := range []*history.File{r.faults, r.resources} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if r.actorLog != nil {
		errs = append(errs, r.actorLog.Close())
	}
	if r.tinyDisk != "" {
		errs = append(errs, unmountTiny(r.tinyDisk))
	}
	if r.db != nil {
		errs = append(errs, r.db.stop())
	}
	return errors.Join(errs...)
}

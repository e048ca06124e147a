// Package verify tests on the machine at hand that taskfeed loses nothing.
//
// # Model
//
// A round starts a private Postgres, servers from one binary, and writers and
// clients as processes of their own. Proxies connect them. While writers change
// tasks and clients read feeds, the round injects faults, one at a time and then
// several at once, chosen by a seed. Then the faults stop, and every client must
// catch up. The record of all this is a history (package history); package check
// judges it. The judge does not rely on taskfeed for what committed: a logical
// replication slot of Postgres shows that.
//
//	verify.go    rounds and their verdicts
//	round.go     one round from beginning to end
//	cast.go      writers and clients
//	attached.go  the table of an app that is attached
//	mailbox.go   messages of users to the app
//	forwards.go  webhooks; receiver.go their endpoint; readers.go users who read
//	server.go    the servers under test
//	fleet.go     gateways beside them; engine.go the NATS that connects them
//	database.go  the private Postgres; cluster.go a copy of it; slot.go what committed
//	faults*.go   the faults, by name; attempt.go injects one until it has its effect
//	ready.go     waits until the servers are ready
//	paths.go     what else must happen in a round
//	rows.go      all known failures, and where each is tried
//	mutated.go   servers with mistakes that must be caught
//	userdb.go    what differs on a database of the user's own
//	print.go     progress and verdict
//
// The same seed makes the same choices in the same order. It does not make the
// same run: the timing of the system differs.
//
// Failures that need other machines or many hours are not tried; Rows says why.
package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/check"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Config of a run. Zero means the default.
type Config struct {
	// Binary is the taskfeed executable to start servers from. Required.
	Binary string
	// Self is the executable of writers and clients. Default: this one.
	Self string
	// Version of taskfeed, for the record.
	Version string
	// Seed determines all choices. Default: from the clock.
	Seed uint64
	// Rounds is the number of rounds, each with the next seed. A round that finds a
	// promise broken is the last. Default 1.
	Rounds int
	// Duration is how long the mixed faults of each round last. Default 20 s;
	// negative leaves them out.
	Duration time.Duration
	// Faults are the names of the only faults to run. Default: all that can run.
	Faults []string
	// Without are the names of faults that are left out.
	Without []string
	// Servers is how many servers share the database. Default 2.
	Servers int
	// Engine is the NATS server to start for gateways. Default: none, and no gateways.
	Engine string
	// EngineServers is how many of them share the work. Default 1.
	EngineServers int
	// Keep is a directory for the histories of all rounds. Default: only those of
	// rounds that did not pass are kept, in a temporary directory.
	Keep string
	// DatabaseURL is a database to run against instead of a private one. Only safe
	// faults run then.
	DatabaseURL string
	// Mutation names the mistake that Binary was built with. Default: none.
	Mutation string
	// Progress gets a line for each step of the run. Default: none.
	Progress io.Writer
}

func (c Config) withDefaults() (Config, error) {
	var err error
	if c.Self == "" {
		if c.Self, err = os.Executable(); err != nil {
			return c, fmt.Errorf("find this program: %w", err)
		}
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&c.Rounds, 1)
	set(&c.Servers, 2)
	set(&c.EngineServers, 1)
	if c.Duration == 0 {
		c.Duration = 20 * time.Second
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c, c.Validate()
}

// Validate returns an error that names every invalid field.
func (c Config) Validate() error {
	var errs []error
	for _, name := range slices.Concat(c.Faults, c.Without) {
		if !slices.ContainsFunc(catalogue, func(f fault) bool { return f.name == name }) {
			errs = append(errs, fmt.Errorf("there is no fault %q; verify --list lists them", name))
		}
	}
	if c.Servers != 0 && c.Servers < 2 {
		errs = append(errs, fmt.Errorf("servers: %d are too few: a takeover needs two", c.Servers))
	}
	if c.EngineServers < 0 {
		errs = append(errs, fmt.Errorf("engine servers: %d is negative", c.EngineServers))
	}
	if c.Rounds < 0 {
		errs = append(errs, fmt.Errorf("rounds: %d is negative", c.Rounds))
	}
	return errors.Join(errs...)
}

// Round is the result of one round.
type Round struct {
	Seed    uint64            `json:"seed"`
	Took    time.Duration     `json:"took"`
	Dir     string            `json:"dir,omitempty"` // of the history, if it was kept
	Command string            `json:"command"`       // repeats the round
	NotRun  map[string]string `json:"not_run,omitempty"`
	check.Report
}

// Result is the result of a run.
type Result struct {
	Verdict  check.Verdict `json:"verdict"`
	Version  string        `json:"version"`
	Postgres string        `json:"postgres"`
	Rounds   []Round       `json:"rounds"`
	// Lacking lists what is missing from all rounds.
	Lacking []string `json:"lacking,omitempty"`
}

// Run runs the rounds one after the other. After a void round, in which not
// everything took place, it continues with the next; a round that finds a promise
// broken is the last. An error means that there was no round at all.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Result{}, err
	}
	result := Result{Version: cfg.Version}
	for i := range cfg.Rounds {
		one, err := runRound(ctx, cfg, i, &result)
		if err != nil {
			return result, err
		}
		if result.Rounds = append(result.Rounds, one); one.Verdict == check.Fail {
			break
		}
		if one.void() && i < cfg.Rounds-1 {
			fmt.Fprintf(cfg.Progress, "the round with seed %d is void: %s\n", one.Seed, strings.Join(one.Lacking, ", "))
		}
	}
	result.judge()
	return result, nil
}

// void reports whether the round found no promise broken but did not show all that
// it should.
func (r *Round) void() bool { return r.Verdict == check.Invalid }

// judge sets the verdict of the run. One round may show what another lacks: the run
// is invalid only for what is missing from all.
func (r *Result) judge() {
	if slices.ContainsFunc(r.Rounds, func(one Round) bool { return one.Verdict == check.Fail }) {
		r.Verdict = check.Fail
		return
	}
	r.Verdict, r.Lacking = check.Pass, slices.Clone(r.Rounds[0].Lacking)
	for _, one := range r.Rounds {
		r.Lacking = slices.DeleteFunc(r.Lacking, func(what string) bool { return !slices.Contains(one.Lacking, what) })
	}
	if len(r.Lacking) > 0 {
		r.Verdict = check.Invalid
	}
}

// runRound runs and judges one round; number counts from 0.
func runRound(ctx context.Context, cfg Config, number int, result *Result) (Round, error) {
	dir, temporary, err := historyDir(cfg, number)
	if err != nil {
		return Round{}, err
	}
	began := time.Now()
	seed := cfg.Seed + uint64(number)
	header, err := play(ctx, cfg, seed, dir)
	if err != nil && (ctx.Err() != nil || number == 0 && !header.Performed) {
		return Round{}, fmt.Errorf("round with seed %d (history in %s): %w", seed, dir, err)
	}
	report, err := judgeRound(dir, header, err)
	if err != nil {
		return Round{}, err
	}
	result.Postgres = cmp.Or(header.Postgres, result.Postgres)
	one := Round{Seed: seed, Took: time.Since(began).Round(time.Millisecond), Dir: dir, Command: header.Command, NotRun: header.NotRun, Report: report}
	if temporary && report.Verdict == check.Pass {
		one.Dir = ""
		return one, os.RemoveAll(dir)
	}
	return one, nil
}

// judgeRound judges a round by its history, or by the error that ended it early.
func judgeRound(dir string, header history.Header, broke error) (check.Report, error) {
	if broke != nil {
		return check.Unfinished(header, broke), nil
	}
	return Check(dir)
}

// historyDir creates the directory of a round's history.
func historyDir(cfg Config, number int) (dir string, temporary bool, err error) {
	if cfg.Keep == "" {
		dir, err = os.MkdirTemp("", "taskfeed-verify-")
		return dir, true, err
	}
	dir = filepath.Join(cfg.Keep, fmt.Sprintf("round-%d", number+1))
	if err := os.MkdirAll(cfg.Keep, 0o700); err != nil {
		return "", false, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("keep the history: %w", err)
	}
	return dir, false, nil
}

// Check judges a kept history.
func Check(dir string) (check.Report, error) {
	h, err := history.Load(dir)
	if err != nil {
		return check.Report{}, err
	}
	return check.Run(h), nil
}

// hashFile returns the SHA-256 of a file, or the text of the error.
func hashFile(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err.Error()
	}
	return hex.EncodeToString(sum.Sum(nil))
}

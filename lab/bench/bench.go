// Package bench measures taskfeed on the machine at hand.
//
// Absolute figures of a shared machine mean little. So each figure has a baseline
// from the same run, measured in turns with it where possible, and the result is
// the ratio: the median of the ratios of the rounds. Servers under test are
// separate processes, so that their memory and CPU can be measured; the load comes
// from this process and shares the machine with them.
//
// Load is open-loop: an update is sent when it is due, whether or not earlier
// ones have arrived, and its latency counts from when it was due.
//
// A run in a database of the user's own touches only its own rows, whose ids begin
// with bench-, and removes them at the end. The results do not apply to other
// machines or to networks.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/migrations"
)

// Config of a run. Zero means the default.
type Config struct {
	// Binary is the taskfeed executable to start servers from. Required.
	Binary string
	// Self is the executable of the baseline's server, default: this one. Env is
	// added to the environment of all servers, default: nothing.
	Self string
	Env  []string
	// DatabaseURL is a database of the user's own to measure in, with the schema
	// of this binary. It must lead to Postgres directly. Default: a private Postgres.
	DatabaseURL string
	// Centrifugo is the program of that name (version 6.8 or later) to compare with.
	// Default: none, and peers is left out.
	Centrifugo string
	// Engine is a NATS server, to measure gateways with. Default: none, and gateways and
	// fleet are left out.
	Engine string
	// Version of taskfeed and Command that was called, for the report.
	Version, Command string
	// Progress gets a line for each step of the run. Default: none.
	Progress io.Writer
	// Only names the measurements to make. Default: all.
	Only []string
	// Full also measures with ten million events in the log.
	Full bool
	Sizes
}

// Sizes say how much of everything is measured. Zero means the default.
type Sizes struct {
	Step        time.Duration // duration of one variant in one round; default 800 ms
	Rounds      int           // rounds in which the variants take turns; default 5
	Writers     []int         // connections that update at once; default 1, 4, 16, 64
	Rows        int           // rows of each writer; default 300
	Audience    []int         // connections that get one event; default 1,000 and 10,000
	Idle        int           // idle connections; default 10,000
	IdleTime    time.Duration // how long their CPU is measured; default 20 s
	Missed      []int         // events that one client has missed; default 1,000, 10,000, 100,000
	Returning   int           // clients that reconnect at once; default 2,000
	MissedEach  int           // events that each of them has missed; default 100
	Logs        []int         // events in the log; default 10,000 and 1,000,000
	Backlog     int           // changes to drain; default 400,000
	Senders     int           // connections that send messages to the app; default 1,000
	StreamUsers int           // users that get ten events a second each; default 1,000
	Connections int           // connections to all gateways together; default 20,000
}

// fullLog is how many events Config.Full adds to Sizes.Logs.
const fullLog = 10_000_000

// goalWriters is the number of writers for which there are goals.
const goalWriters = 16

func orDefault[T any](list []T, def ...T) []T {
	if len(list) == 0 {
		return def
	}
	return list
}

func (c Config) withDefaults() (Config, error) {
	var err error
	if c.Self == "" {
		if c.Self, err = os.Executable(); err != nil {
			return c, fmt.Errorf("find this program: %w", err)
		}
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	s := &c.Sizes
	s.Step, s.IdleTime = cmp.Or(s.Step, 800*time.Millisecond), cmp.Or(s.IdleTime, 20*time.Second)
	s.Rounds, s.Rows = cmp.Or(s.Rounds, 5), cmp.Or(s.Rows, 300)
	s.Writers = orDefault(s.Writers, 1, 4, goalWriters, 64)
	s.Audience = orDefault(s.Audience, 1000, 10_000)
	s.Missed = orDefault(s.Missed, 1000, 10_000, 100_000)
	s.Logs = orDefault(s.Logs, 10_000, 1_000_000)
	if c.Full {
		s.Logs = append(slices.Clone(s.Logs), fullLog)
	}
	s.Idle, s.Returning, s.MissedEach = cmp.Or(s.Idle, 10_000), cmp.Or(s.Returning, 2000), cmp.Or(s.MissedEach, 100)
	s.Backlog, s.StreamUsers, s.Senders = cmp.Or(s.Backlog, 400_000), cmp.Or(s.StreamUsers, 1000), cmp.Or(s.Senders, 1000)
	s.Connections = cmp.Or(s.Connections, 20_000)
	return c, c.validate()
}

func (c *Config) validate() error {
	for _, name := range c.Only {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("there is no measurement %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	if c.Step < 0 || c.Rounds < 0 || c.Connections < 0 {
		return errors.New("a step, the number of rounds and that of connections cannot be negative")
	}
	return nil
}

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error { return c.validate() }

// measurement is one entry of the list that Only selects from.
type measurement struct {
	name    string
	private string // why it needs a private Postgres; "" when it does not
	run     func(context.Context, *bench, *place) ([]Figure, error)
}

var measurements = []measurement{
	{"writers", "", measureWriters},
	{"latency", "", measureLatency},
	{"fanout", "", measureFanout},
	{"idle", "", measureIdle},
	{"replay", "", measureReplay},
	{"groups", "it sends broadcasts", measureGroups},
	{"inbox", "an app of the database could receive its messages", measureInbox},
	{"gateways", engineReason, measureGateways},
	{"fleet", engineReason, measureFleet},
	{"growth", "it fills the log with millions of events", measureGrowth},
	{"attached", "it attaches a table of its own", measureAttached},
	{"drain", "it lets changes pile up while no server runs", measureDrain},
	{peers, "the program beside us makes tables of its own", measurePeers},
}

// Names lists the measurements in the order in which they are made.
func Names() []string {
	names := make([]string, len(measurements))
	for i, m := range measurements {
		names[i] = m.name
	}
	return names
}

// bench is one run under way.
type bench struct {
	cfg   Config
	pg    *devpg.Server // nil in a database of the user's own
	id    string        // random; part of every name in the database
	epoch time.Time     // stamps count from here, by the monotonic clock
	notes []string
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.cfg.Progress, format+"\n", args...)
}

// note adds a sentence to the report, once.
func (b *bench) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.notes, text) {
		b.say("note: %s", text)
		b.notes = append(b.notes, text)
	}
}

// Run measures and cleans up, also when ctx ends early. With an error, the report
// has the figures measured so far.
func Run(ctx context.Context, cfg Config) (report Report, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return Report{}, err
	}
	b := &bench{cfg: cfg, id: fmt.Sprintf("%08x", rand.Uint32()), epoch: time.Now()}
	report = newReport(&cfg)
	b.noteBusy(ctx, "before")
	if cfg.DatabaseURL == "" {
		if b.pg, err = startPostgres(ctx, &cfg); err != nil {
			return report, err
		}
		defer func() { err = errors.Join(err, b.pg.Stop()) }()
		if err = b.createTemplate(ctx); err != nil {
			return report, err
		}
		report.Postgres = b.pg.Version() + ", private, commits durably"
	} else if report.Postgres, err = inspect(ctx, cfg.DatabaseURL); err != nil {
		return report, err
	}
	for i := range measurements {
		m := &measurements[i]
		switch {
		case len(cfg.Only) > 0 && !slices.Contains(cfg.Only, m.name):
			continue
		case b.pg == nil && m.private != "":
			b.note("%s was left out: %s, so it runs only in a private Postgres", m.name, m.private)
			continue
		}
		figures, err := b.measure(ctx, m)
		report.Figures = append(report.Figures, figures...)
		if err != nil {
			return report, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if b.pg != nil {
		if err := b.pg.StopMode(devpg.Fast); err != nil {
			return report, err
		}
	}
	b.noteBusy(ctx, "after")
	report.Notes = b.notes
	report.Took = time.Since(b.epoch).Round(time.Second)
	return report, nil
}

// measure runs one measurement in its own place.
func (b *bench) measure(ctx context.Context, m *measurement) (figures []Figure, err error) {
	p, err := b.open(ctx, m.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close(context.WithoutCancel(ctx))) }()
	began := time.Now()
	figures, err = m.run(ctx, b, p)
	b.say("%s: took %v", m.name, time.Since(began).Round(time.Second))
	return figures, err
}

func startPostgres(ctx context.Context, cfg *Config) (*devpg.Server, error) {
	return devpg.Start(ctx, devpg.Config{
		Temporary: true,
		Settings: map[string]string{
			"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
			"max_wal_size": "4GB", "shared_buffers": "256MB", "max_connections": "300",
		},
		Progress: func(message string) { fmt.Fprintln(cfg.Progress, message) },
	})
}

// inspect checks that a database of the user's own can be measured in.
func inspect(ctx context.Context, url string) (version string, err error) {
	v, err := migrations.Read(ctx, url)
	if err == nil && !v.Current() {
		err = fmt.Errorf("%v: run taskfeed migrate up first", v)
	}
	if err != nil {
		return "", err
	}
	version, err = query.One[string](ctx, at(url), "SELECT current_setting('server_version') || ', synchronous_commit ' || current_setting('synchronous_commit')")
	return version, err
}

func machine() string {
	parts := []string{fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	return strings.Join(append(parts, hardware()...), ", ")
}

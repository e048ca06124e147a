// Package bench measures taskfeed on the machine at hand.
//
// Absolute figures of a shared machine mean little, so every figure stands
// beside a baseline measured in the same run, in turns with it, and what counts
// is the ratio. The server under test is a process of its own, started from the
// same binary; the load comes from this one.
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
)

// Config of a run. Zero means the default.
type Config struct {
	// Binary is the taskfeed executable to start servers from. Default: this one.
	Binary string
	// Step is how long one measurement of one variant lasts. Default 3 s.
	Step time.Duration
	// Rounds is how often the variants take turns. Default 3.
	Rounds int
	// Writers is how many connections update at once. Default 16.
	Writers int
	// Backlog is how many changes are drained. Default 400,000.
	Backlog int
	// Connections is how many idle connections are opened. Default 5,000.
	Connections int
	// Progress is told, a line each, what is being measured. Default: nobody.
	Progress io.Writer
	// Only names the measurements to make. Default: all.
	Only []string
}

func (c Config) withDefaults() (Config, error) {
	var err error
	if c.Binary == "" {
		if c.Binary, err = os.Executable(); err != nil {
			return c, fmt.Errorf("find the taskfeed binary: %w", err)
		}
	}
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&c.Rounds, 3)
	set(&c.Writers, 16)
	set(&c.Backlog, 400_000)
	set(&c.Connections, 5_000)
	if c.Step == 0 {
		c.Step = 3 * time.Second
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c, nil
}

// Report is the outcome of a run.
type Report struct {
	At       time.Time `json:"at"`
	Machine  string    `json:"machine"`
	Postgres string    `json:"postgres"`
	Go       string    `json:"go"`
	Figures  []Figure  `json:"figures"`
}

// Figure is one measured claim.
type Figure struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Baseline string  `json:"baseline,omitempty"` // what Base is
	Base     float64 `json:"base,omitempty"`     // median of the rounds
	Value    float64 `json:"value"`              // median of the rounds
	Ratio    float64 `json:"ratio,omitempty"`    // Value/Base, median of the rounds
	Goal     string  `json:"goal"`
	Reached  bool    `json:"reached"`
}

// Names lists the measurements in the order in which they are made.
func Names() []string {
	names := make([]string, len(measurements))
	for i, m := range measurements {
		names[i] = m.name
	}
	return names
}

var measurements = []struct {
	name string
	run  func(context.Context, *bench) ([]Figure, error)
}{
	{"writers", measureWriters},
	{"latency", measureLatency},
	{"drain", measureDrain},
	{"idle", measureIdle},
}

// bench is one run under way.
type bench struct {
	cfg Config
	pg  *devpg.Server
	url string // of the benchmark's own database
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.cfg.Progress, format+"\n", args...)
}

// Run starts a private Postgres that commits durably, measures, and cleans up.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Report{}, err
	}
	pg, err := devpg.Start(ctx, devpg.Config{
		Temporary: true,
		Settings: map[string]string{
			"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
			"max_wal_size": "4GB", "shared_buffers": "256MB", "max_connections": "300",
		},
		Progress: func(message string) { fmt.Fprintln(cfg.Progress, message) },
	})
	if err != nil {
		return Report{}, err
	}
	defer pg.Stop()
	b := &bench{cfg: cfg, pg: pg}
	report := Report{
		At:       time.Now().UTC().Truncate(time.Second),
		Machine:  fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Postgres: pg.Version(),
		Go:       runtime.Version(),
	}
	for _, m := range measurements {
		if !wanted(cfg.Only, m.name) {
			continue
		}
		if err := b.freshDatabase(ctx, "bench_"+m.name); err != nil {
			return report, fmt.Errorf("%s: %w", m.name, err)
		}
		figures, err := m.run(ctx, b)
		if err != nil {
			return report, fmt.Errorf("%s: %w", m.name, err)
		}
		report.Figures = append(report.Figures, figures...)
	}
	return report, nil
}

func wanted(only []string, name string) bool {
	for _, o := range only {
		if o == name {
			return true
		}
	}
	return len(only) == 0
}

package bench

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is the outcome of a run.
type Report struct {
	At       time.Time     `json:"at"`
	Version  string        `json:"version"`
	Command  string        `json:"command"`
	Machine  string        `json:"machine"`
	Postgres string        `json:"postgres"`
	Go       string        `json:"go"`
	Took     time.Duration `json:"took_ns"`
	Notes    []string      `json:"notes,omitempty"` // caveats: measurements left out, other load
	Figures  []Figure      `json:"figures"`
	Worse    []string      `json:"worse,omitempty"` // than in the report before this one
}

// Figure is one measured claim.
type Figure struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Lower    bool    `json:"lower_is_better"`
	Baseline string  `json:"baseline,omitempty"` // what Base is
	Base     float64 `json:"base,omitempty"`     // median of the rounds
	Value    float64 `json:"value"`              // median of the rounds
	Ratio    float64 `json:"ratio,omitempty"`    // Value/Base, median of the rounds
	Low      float64 `json:"ratio_low,omitempty"`
	High     float64 `json:"ratio_high,omitempty"` // of the rounds
	Goal     string  `json:"goal,omitempty"`
	Reached  *bool   `json:"reached,omitempty"` // nil without a goal

	rounds []float64
}

// compare returns a figure with the values of the rounds.
func compare(name, unit string, rounds []float64) Figure {
	return Figure{Name: name, Unit: unit, Value: median(rounds), rounds: rounds}
}

// lower marks the figure as one for which less is better.
func (f Figure) lower() Figure {
	f.Lower = true
	return f
}

// beside adds the values of a baseline in the same rounds. A baseline of one round
// is compared with all rounds.
func (f Figure) beside(baseline string, rounds []float64) Figure {
	f.Baseline, f.Base = baseline, median(rounds)
	ratios := make([]float64, 0, len(f.rounds))
	for i, value := range f.rounds {
		if base := rounds[min(i, len(rounds)-1)]; base > 0 {
			ratios = append(ratios, value/base)
		}
	}
	if len(ratios) > 0 {
		f.Ratio, f.Low, f.High = median(ratios), slices.Min(ratios), slices.Max(ratios)
	}
	return f
}

// goal is what a figure should reach.
type goal struct {
	text string
	met  func(*Figure) bool
}

func ratioAtLeast(bound float64) goal {
	return goal{fmt.Sprintf("ratio ≥ %g", bound), func(f *Figure) bool { return f.Ratio >= bound }}
}

func ratioAtMost(bound float64) goal {
	return goal{fmt.Sprintf("ratio ≤ %g", bound), func(f *Figure) bool { return f.Ratio > 0 && f.Ratio <= bound }}
}

func atLeast(bound float64) goal {
	return goal{fmt.Sprintf("≥ %g", bound), func(f *Figure) bool { return f.Value >= bound }}
}

func atMost(bound float64) goal {
	return goal{fmt.Sprintf("≤ %g", bound), func(f *Figure) bool { return f.Value <= bound }}
}

// judge adds the goal, and whether the figure reaches it.
func (f Figure) judge(g goal) Figure {
	reached := g.met(&f)
	f.Goal, f.Reached = g.text, &reached
	return f
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func newReport(cfg *Config) Report {
	return Report{At: time.Now().UTC().Truncate(time.Second), Version: cfg.Version, Command: cfg.Command, Machine: machine(), Go: runtime.Version()}
}

// busyTime is how long noteBusy watches the machine.
const busyTime = time.Second

// noteBusy adds a note when other programs keep the machine busy; when is "before"
// or "after".
func (b *bench) noteBusy(ctx context.Context, when string) {
	if others, ok := othersBusy(ctx, busyTime); ok && others > 0.1 {
		b.note("%s the run, other programs kept %.1f of %d processors busy: that distorts the figures, and not all alike",
			when, others, runtime.NumCPU())
	}
}

// missed lists the figures that missed their goal.
func (r *Report) missed() []string {
	var missed []string
	for i := range r.Figures {
		if f := &r.Figures[i]; f.Reached != nil && !*f.Reached {
			missed = append(missed, fmt.Sprintf("%s: %s, goal %s", f.title(), f.headline(), f.Goal))
		}
	}
	return missed
}

func (f *Figure) title() string {
	if f.Baseline == "" {
		return f.Name
	}
	return f.Name + " / " + f.Baseline
}

// headline is the number that the goal is about, with its unit.
func (f *Figure) headline() string {
	if f.Ratio != 0 && !strings.HasPrefix(f.Goal, "≥") && !strings.HasPrefix(f.Goal, "≤") {
		return fmt.Sprintf("%.2f (%s beside %s %s)", f.Ratio, number(f.Value), number(f.Base), f.Unit)
	}
	return number(f.Value) + " " + f.Unit
}

// heads of the table; readMarkdown finds the columns by them.
var heads = []string{"figure", "unit", "baseline", "base", "taskfeed", "ratio", "of rounds", "goal", "reached"}

func (f *Figure) cells() []string {
	return []string{f.Name, f.Unit, f.Baseline, number(f.Base), number(f.Value), ratio(f.Ratio), f.spread(), f.Goal, f.verdict()}
}

// WriteTable prints the report for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(heads, "\t"))
	for i := range r.Figures {
		fmt.Fprintln(t, strings.Join(r.Figures[i].cells(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, part := range r.parts() {
		fmt.Fprintf(w, "\n%s:\n", part.title)
		for _, line := range part.lines {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	return nil
}

type part struct {
	title string
	lines []string
}

// parts are the lists below the table, those that are not empty.
func (r *Report) parts() []part {
	all := []part{{"Missed goals", r.missed()}, {"Worse than in the report before", r.Worse}, {"Notes", r.Notes}}
	return slices.DeleteFunc(all, func(p part) bool { return len(p.lines) == 0 })
}

// WriteMarkdown prints the report as docs/BENCHMARKS.md shows it.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nMade by `%s` on %s in %v.\n\n", r.Command, r.At.Format("2006-01-02 15:04 UTC"), r.Took)
	fmt.Fprintf(&b, "- taskfeed %s, %s\n- PostgreSQL %s\n- %s\n\n", r.Version, r.Go, r.Postgres, r.Machine)
	fmt.Fprint(&b, "Servers, database and load share the machine. Absolute figures hold for it alone; what we claim are the\n"+
		"ratios: medians of rounds in which the variants took turns, with the lowest and the highest round beside them.\n")
	for _, part := range r.parts() {
		fmt.Fprintf(&b, "\n## %s\n\n", part.title)
		for _, line := range part.lines {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	fmt.Fprintf(&b, "\n## Figures\n\n| %s |\n|---|---|---|---:|---:|---:|---|---|---|\n", strings.Join(heads, " | "))
	for i := range r.Figures {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r.Figures[i].cells(), " | "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f *Figure) verdict() string {
	switch {
	case f.Reached == nil:
		return ""
	case *f.Reached:
		return "yes"
	}
	return "**no**"
}

func (f *Figure) spread() string {
	if f.Low == f.High {
		return ""
	}
	return ratio(f.Low) + " – " + ratio(f.High)
}

func ratio(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}

func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 100:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// compare makes a figure of two series of rounds.
func compare(name, unit, baseline string, base, ours []float64, goal string, reached func(ratio float64) bool) Figure {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / base[i]
	}
	f := Figure{Name: name, Unit: unit, Baseline: baseline, Base: median(base), Value: median(ours), Ratio: median(ratios), Goal: goal}
	f.Reached = reached(f.Ratio)
	return f
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// WriteTable prints the report for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tunit\tbaseline\tbase\ttaskfeed\tratio\tgoal\t")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.Unit, f.Baseline, number(f.Base), number(f.Value), number(f.Ratio), f.Goal, verdict(f))
	}
	return t.Flush()
}

// WriteMarkdown prints the report as docs/BENCHMARKS.md shows it.
func (r *Report) WriteMarkdown(w io.Writer, command string) error {
	fmt.Fprintf(w, "# Benchmarks\n\nMade by `%s` on %s: %s, PostgreSQL %s (durable commits), %s.\n\n",
		command, r.At.Format("2006-01-02"), r.Machine, r.Postgres, r.Go)
	fmt.Fprint(w, "Server, database and load share the machine. Absolute figures hold for it alone; the\n"+
		"ratios, medians of rounds in which the variants took turns, are what we claim.\n\n"+
		"| figure | unit | baseline | base | taskfeed | ratio | goal | reached |\n|---|---|---|---:|---:|---:|---|---|\n")
	for _, f := range r.Figures {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", f.Name, f.Unit, f.Baseline, number(f.Base), number(f.Value), number(f.Ratio), f.Goal, verdict(f))
	}
	_, err := fmt.Fprintln(w)
	return err
}

func verdict(f Figure) string {
	if f.Reached {
		return "yes"
	}
	return "no"
}

func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 100:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

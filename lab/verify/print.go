package verify

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/check"
)

// say writes a line of progress.
func (r *round) say(format string, args ...any) {
	fmt.Fprintf(r.cfg.Progress, "%6.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// report writes the progress of the round whenever it starts something new and every
// few seconds, until ctx is done.
func (r *round) report(ctx context.Context) {
	said, at := "", time.Time{}
	for pause.For(ctx, 100*time.Millisecond) {
		doing := *r.doing.Load()
		if doing == said && time.Since(at) < 5*time.Second {
			continue
		}
		said, at = doing, time.Now()
		var events int64
		if r.truth != nil {
			events = r.truth.events.Load()
		}
		r.say("%-46s writes %-7d events %-7d deliveries %-8d faults %d", doing,
			sum(r.writers, func(s *actor.Status) int64 { return s.Writes }), events,
			sum(r.clients, func(s *actor.Status) int64 { return s.Deliveries }), r.fired.Load())
	}
}

// command repeats this round.
func (r *round) command() string {
	if r.cfg.Mutation != "" {
		return fmt.Sprintf("%s --seed %d", MutationCommand(r.cfg.Mutation), r.seed)
	}
	parts := []string{"taskfeed-lab verify", fmt.Sprintf("--seed %d", r.seed), "--duration " + r.cfg.Duration.String(), fmt.Sprintf("--servers %d", r.cfg.Servers)}
	if len(r.cfg.Faults) > 0 {
		parts = append(parts, "--faults "+strings.Join(r.cfg.Faults, ","))
	}
	if len(r.cfg.Without) > 0 {
		parts = append(parts, "--without "+strings.Join(r.cfg.Without, ","))
	}
	if !r.private() {
		parts = append(parts, "--database-url …")
	}
	return strings.Join(parts, " ")
}

// WriteText prints the results of a run on one page, and the stories of its failures.
func (r *Result) WriteText(w io.Writer) error {
	p := &printer{w: w}
	for i := range r.Rounds {
		p.round(&r.Rounds[i])
	}
	p.faults(r.Rounds)
	p.void(r)
	p.line("%s  taskfeed %s, PostgreSQL %s, %d rounds", r.Verdict, r.Version, r.Postgres, len(r.Rounds))
	return p.err
}

// faults prints for each fault in how many of its rounds it had an effect, and which
// effect in the last of them.
func (p *printer) faults(rounds []Round) {
	type tally struct {
		of, fired, tries int
		detail           string
	}
	all := make(map[string]*tally)
	for i := range rounds {
		for _, o := range rounds[i].Faults {
			t := all[o.Name]
			if t == nil {
				t = &tally{}
				all[o.Name] = t
			}
			t.of, t.tries = t.of+1, t.tries+o.Tries
			if o.Fired > 0 {
				t.fired++
			}
			if o.Fired > 0 || t.fired == 0 {
				t.detail = o.Detail
			}
		}
	}
	if len(all) > 0 {
		p.line("faults: rounds in which each had its effect, tries in all, and the effect")
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t := all[name]
		p.line("  %-22s %d of %d, %3d  %s", name, t.fired, t.of, t.tries, t.detail)
	}
	if len(all) > 0 {
		p.line("")
	}
}

// void prints which rounds are void and what is missing from all of them.
func (p *printer) void(r *Result) {
	for i := range r.Rounds {
		if one := &r.Rounds[i]; one.void() {
			p.line("void: the round with seed %d, which lacks %s", one.Seed, strings.Join(one.Lacking, ", "))
		}
	}
	if len(r.Lacking) > 0 {
		p.line("not shown by any round: %s", strings.Join(r.Lacking, ", "))
	}
}

// WriteReport prints the report of a single check.
func WriteReport(w io.Writer, r *check.Report) error {
	p := &printer{w: w}
	p.report(r)
	p.line("%s", r.Verdict)
	return p.err
}

// printer keeps the first error of a sequence of writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) round(r *Round) {
	p.line("round with seed %d, %v", r.Seed, r.Took)
	p.report(&r.Report)
	p.notRun(r.NotRun)
	if r.Dir != "" {
		p.line("the history is in %s; to judge it again: taskfeed-lab verify --check %s", r.Dir, r.Dir)
	}
	p.line("to repeat the round: %s", r.Command)
	p.line("")
}

// notRun prints what was not run, grouped by the reason.
func (p *printer) notRun(why map[string]string) {
	byReason := make(map[string][]string)
	for _, name := range slices.Sorted(maps.Keys(why)) {
		byReason[why[name]] = append(byReason[why[name]], name)
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		p.line("not run: %s: %s", wrapAt(strings.Join(byReason[reason], ", "), 96, "\n  "), reason)
	}
}

func (p *printer) report(r *check.Report) {
	for _, property := range check.Properties {
		mark := "ok"
		if n := r.Counts[property.Name]; n > 0 {
			mark = fmt.Sprintf("%d broken", n)
		}
		p.line("  %-4s %-46s %s", property.Name, property.Says, mark)
	}
	p.figures(r.Figures)
	p.latencies(r.Latencies)
	for _, v := range r.Violations {
		p.line("%s: %s", v.Property, v.What)
	}
	for _, story := range r.Stories {
		p.line("")
		for _, line := range story.Lines {
			p.line("  %s", line)
		}
	}
}

func (p *printer) figures(figures map[string]int64) {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		if name == "memory_max" {
			parts = append(parts, fmt.Sprintf("memory at most %d MB", figures[name]>>20))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %d", strings.ReplaceAll(name, "_", " "), figures[name]))
	}
	p.line("  %s", wrapAt(strings.Join(parts, ", "), 96, "\n  "))
}

// wrapAt breaks a line at commas.
func wrapAt(text string, width int, with string) string {
	var b strings.Builder
	length := 0
	for i, part := range strings.Split(text, ", ") {
		switch {
		case i == 0:
		case length+len(part) > width:
			b.WriteString("," + with)
			length = 0
		default:
			b.WriteString(", ")
		}
		b.WriteString(part)
		length += len(part) + 2
	}
	return b.String()
}

// slowest is how many latencies are printed; the JSON has all.
const slowest = 10

// latencies prints the latencies without a fault and the slowest with one.
func (p *printer) latencies(all []check.Latency) {
	if len(all) == 0 {
		return
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b check.Latency) int {
		return cmp.Or(-cmp.Compare(quiet(a), quiet(b)), -cmp.Compare(a.P99, b.P99))
	})
	p.line("  commit to client          count        p50        p99        max")
	for _, l := range all[:min(len(all), slowest+1)] {
		p.line("  %-22s %8d %10v %10v %10v", l.Phase, l.Count, short(l.P50), short(l.P99), short(l.Max))
	}
	if rest := len(all) - slowest - 1; rest > 0 {
		p.line("  %d more, each with a p99 of %v at most", rest, short(all[slowest+1].P99))
	}
}

// quiet is 1 for the latencies without a fault, so that they come first.
func quiet(l check.Latency) int {
	if l.Phase == check.NoFault {
		return 1
	}
	return 0
}

func short(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// How often a fault without an effect is tried, and how long each time: long enough
// for a busy machine.
const (
	tries    = 3
	patience = 30 * time.Second

	// recovery is how long Postgres may take to replay its log after a crash: millions
	// of rows, on a busy machine.
	recovery = 3 * time.Minute
)

// effect returns what a fault has done to the system, or an error that says what has
// not happened yet. It is called repeatedly. For faults of several steps, a call also
// does the next step.
type effect func(ctx context.Context) (string, error)

// injection is a fault that has begun. It counts as fired only when effect succeeds.
type injection struct {
	effect effect
	// lasts is the minimum time before undo.
	lasts time.Duration
	// patience is how long to wait for the effect; 0 means that of the round.
	patience time.Duration
	// undo ends the fault, whether or not it had an effect; nil: nothing to undo.
	undo func(ctx context.Context) error
}

// errEffectUnchecked is the error of an injection without an effect to check.
var errEffectUnchecked = errors.New("it does not check its effect")

// inject runs a fault, tries it again while it has no effect, waits until the
// servers are ready afterwards, and records each try. It reports whether they are
// ready. A fault of a mixture is not tried again: another one may prevent its effect.
// One that runs beside another does not wait for the servers: the other does.
func (r *round) inject(ctx context.Context, f fault, phase string) (well bool) {
	for try := 1; ; try++ {
		record := history.Fault{Name: f.name, Begin: history.Now(), Phase: phase, Try: try}
		err := r.attempt(ctx, f, &record)
		record.End = history.Now()
		if r.borrowed && phase == "alone" && errors.Is(err, errNoLeader) {
			r.leaveOut(f, "a server that is not of the run leads on this database")
			return true
		}
		if err != nil && ctx.Err() == nil {
			record.Detail = joinText(record.Detail, err.Error())
		}
		well = phase != "alone" || r.readyAfter(ctx, &record)
		r.faults.Append(record)
		if record.Fired {
			r.fired.Add(1)
			r.sampleAll(ctx, "run", 0) // before the next fault hides its consequences
			return well
		}
		if !well || phase == "mixed" || try == tries || ctx.Err() != nil {
			return well
		}
		r.say("%s had no effect, trying again: %s", f.name, record.Detail)
	}
}

// attempt begins a fault, waits for its effect, and undoes it.
func (r *round) attempt(ctx context.Context, f fault, record *history.Fault) error {
	began := time.Now()
	d, err := f.begin(ctx, r, record)
	if err == nil {
		err = r.awaitEffect(ctx, d, record)
		pause.For(ctx, d.lasts-time.Since(began))
	}
	if d.undo != nil {
		err = errors.Join(err, d.undo(ctx))
	}
	return err
}

// awaitEffect waits until a fault has had its effect.
func (r *round) awaitEffect(ctx context.Context, d injection, record *history.Fault) error {
	if d.effect == nil {
		return errEffectUnchecked
	}
	limit := cmp.Or(d.patience, r.patience)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var missing error
	for {
		what, err := d.effect(limited)
		if err == nil {
			record.Fired, record.Detail = true, joinText(record.Detail, what)
			return nil
		}
		if missing == nil || limited.Err() == nil { // else err says only that the time is over
			missing = err
		}
		if !pause.For(limited, 20*time.Millisecond) {
			return fmt.Errorf("no effect within %v: %w", limit, missing)
		}
	}
}

// leaveOut removes a fault that turned out to be impossible from the round.
func (r *round) leaveOut(f fault, why string) {
	r.header.NotRun[f.name] = why
	r.header.Faults = without(r.header.Faults, f.name)
	r.header.Paths = r.pathsOf(r.chosen())
}

func joinText(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// all is the effect that all parts have happened.
func all(parts ...effect) effect {
	return func(ctx context.Context) (string, error) {
		text := ""
		for _, part := range parts {
			what, err := part(ctx)
			if err != nil {
				return "", err
			}
			text = joinText(text, what)
		}
		return text, nil
	}
}

// happened is an effect that beginning the fault has already ensured.
func happened(format string, args ...any) effect {
	return func(context.Context) (string, error) { return fmt.Sprintf(format, args...), nil }
}

// times is the effect of calling hit n times, with pauses. hit returns how many
// things it hit; a call that hits none does not count.
func times(n int, every time.Duration, unit string, hit func(ctx context.Context) (int, error)) effect {
	done, all := 0, 0
	return func(ctx context.Context) (string, error) {
		for done < n {
			met, err := hit(ctx)
			if err != nil {
				return "", err
			}
			if met == 0 {
				return "", fmt.Errorf("there were no %s", unit)
			}
			done, all = done+1, all+met
			if !pause.For(ctx, every) {
				return "", context.Cause(ctx)
			}
		}
		return fmt.Sprintf("%d %s", all, unit), nil
	}
}

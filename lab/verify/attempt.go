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

// How often a fault without an effect is tried, and how long each time. A machine
// that is busy with other things needs its time.
const (
	tries    = 3
	patience = 30 * time.Second
)

// felt says what a fault has been seen to do to the system, or by an error what
// is still to be seen. It is asked again and again, and does once more what has to
// be done more than once.
type felt func(ctx context.Context) (string, error)

// deed is a fault that has begun. Nobody hopes that it has an effect: it fires
// when felt says so, and in no other way.
type deed struct {
	felt felt
	// lasts is how long it goes on at the least.
	lasts time.Duration
	// patience is how long felt is asked at most; 0 means that of the round.
	patience time.Duration
	// undo takes it back, felt or not; nil: nothing is left to take back.
	undo func(ctx context.Context) error
}

// errNotLooked is what a fault comes to that does not look for its effect.
var errNotLooked = errors.New("nobody looked for its effect")

// inject runs a fault, again when it had no effect, sees the servers well
// afterwards, and writes each try down. It reports whether they are well. One of
// several faults at once is not tried again: another one may be what is in its way.
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
		well = phase != "alone" || r.wellAfter(ctx, &record)
		r.faults.Append(record)
		if record.Fired {
			r.fired.Add(1)
			r.sampleAll(ctx, "run", 0) // what it led to is seen before the next one hides it
			return well
		}
		if !well || phase != "alone" || try == tries || ctx.Err() != nil {
			return well
		}
		r.say("%s had no effect, once more: %s", f.name, record.Detail)
	}
}

// attempt does a fault, waits for its effect, and undoes it.
func (r *round) attempt(ctx context.Context, f fault, record *history.Fault) error {
	began := time.Now()
	d, err := f.begin(ctx, r, record)
	if err == nil {
		err = r.feel(ctx, d, record)
		pause.For(ctx, d.lasts-time.Since(began))
	}
	if d.undo != nil {
		err = errors.Join(err, d.undo(ctx))
	}
	return err
}

// feel waits until a fault has had its effect.
func (r *round) feel(ctx context.Context, d deed, record *history.Fault) error {
	if d.felt == nil {
		return errNotLooked
	}
	limit := cmp.Or(d.patience, r.patience)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var missing error
	for {
		what, err := d.felt(limited)
		if err == nil {
			record.Fired, record.Detail = true, joinText(record.Detail, what)
			return nil
		}
		if missing == nil || limited.Err() == nil { // else it says only that the time is over
			missing = err
		}
		if !pause.For(limited, 20*time.Millisecond) {
			return fmt.Errorf("no effect within %v: %w", limit, missing)
		}
	}
}

// leaveOut has the round do without a fault that turned out not to be possible.
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

// all is an effect of several parts.
func all(parts ...felt) felt {
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

// did is an effect that has been seen already: the fault could not have been done
// without it.
func did(format string, args ...any) felt {
	return func(context.Context) (string, error) { return fmt.Sprintf(format, args...), nil }
}

// times is an effect of something that is done so many times, with pauses: hit says
// how much it met. A time at which it met nothing does not count.
func times(n int, every time.Duration, unit string, hit func(ctx context.Context) (int, error)) felt {
	done, all := 0, 0
	return func(ctx context.Context) (string, error) {
		for done < n {
			met, err := hit(ctx)
			if err != nil {
				return "", err
			}
			if met == 0 {
				return "", fmt.Errorf("it met no %s", unit)
			}
			done, all = done+1, all+met
			if !pause.For(ctx, every) {
				return "", context.Cause(ctx)
			}
		}
		return fmt.Sprintf("%d %s", all, unit), nil
	}
}

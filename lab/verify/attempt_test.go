package verify

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/verify/check"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// newRound returns a round without servers and with short time-outs.
func newRound(t *testing.T, progress io.Writer) *round {
	t.Helper()
	r := &round{cfg: Config{Progress: progress}, dir: t.TempDir(), rand: rand.New(rand.NewPCG(1, 1)), began: time.Now(), patience: 50 * time.Millisecond, readyWithin: 50 * time.Millisecond}
	r.header = history.Header{Format: 1, Marker: "w1.1", Truth: "slot", MemoryLimit: 1, Faults: []string{"quake"}}
	var err error
	if r.faults, err = history.Create(r.dir, "faults.jsonl"); err != nil {
		t.Fatal(err)
	}
	if r.resources, err = history.Create(r.dir, "resources.jsonl"); err != nil {
		t.Fatal(err)
	}
	return r
}

// judged ends the round and judges its history.
func (r *round) judged(t *testing.T) (check.Report, []history.Fault) {
	t.Helper()
	if err := errors.Join(r.faults.Close(), r.resources.Close(), history.WriteHeader(r.dir, r.header)); err != nil {
		t.Fatal(err)
	}
	h, err := history.Load(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	return check.Run(h), h.Faults
}

// quake is a fault that has its effect from the try effectFrom on. It counts how
// often it was begun and undone.
type quake struct{ effectFrom, begun, undone int }

func (q *quake) fault() fault {
	return fault{name: "quake", begin: func(context.Context, *round, *history.Fault) (injection, error) {
		q.begun++
		return injection{
			effect: func(context.Context) (string, error) {
				if q.effectFrom == 0 || q.begun < q.effectFrom {
					return "", errors.New("nothing moved")
				}
				return "the ground moved", nil
			},
			undo: func(context.Context) error { q.undone++; return nil },
		}, nil
	}}
}

// A round was INVALID when a fault had no effect at its first try. The fault must be
// tried again, undone each time, and every try reported.
func TestFaultWithoutEffectIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		effectFrom   int
		phase        string
		tries, fired int
		verdict      check.Verdict
	}{
		{"effect at once", 1, "alone", 1, 1, check.Pass},
		{"effect at the second try", 2, "alone", 2, 1, check.Pass},
		{"effect at the last try", tries, "alone", tries, 1, check.Pass},
		{"no effect", 0, "alone", tries, 0, check.Invalid},
		{"one of several", 0, "mixed", 1, 0, check.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var told strings.Builder
			r, q := newRound(t, &told), &quake{effectFrom: c.effectFrom}
			if !r.inject(t.Context(), q.fault(), c.phase) {
				t.Error("a round without servers is not ready, want ready")
			}
			report, records := r.judged(t)
			if q.begun != c.tries || q.undone != c.tries || len(records) != c.tries {
				t.Errorf("begun %d times, undone %d times, recorded %d times, want %d", q.begun, q.undone, len(records), c.tries)
			}
			if got := report.Faults[0]; got.Tries != c.tries || got.Fired != c.fired || report.Verdict != c.verdict {
				t.Errorf("%+v and %s, want %d tries, %d fired and %s", got, report.Verdict, c.tries, c.fired, c.verdict)
			}
			if again := strings.Count(told.String(), "quake had no effect, trying again"); again != c.tries-1 {
				t.Errorf("reported another try %d times, want %d: %s", again, c.tries-1, told.String())
			}
			if detail := report.Faults[0].Detail; c.fired == 0 && !strings.Contains(detail, "nothing moved") {
				t.Errorf("the report says %q, want the missing effect", detail)
			}
		})
	}
}

// A fault does not fire when it has no effect to check or cannot begin. It is undone
// in both cases.
func TestFaultThatIsNotFelt(t *testing.T) {
	t.Parallel()
	undone := 0
	undo := func(context.Context) error { undone++; return nil }
	for name, begin := range map[string]func(context.Context, *round, *history.Fault) (injection, error){
		"no effect to check": func(context.Context, *round, *history.Fault) (injection, error) { return injection{undo: undo}, nil },
		"cannot begin": func(context.Context, *round, *history.Fault) (injection, error) {
			return injection{effect: happened("all"), undo: undo}, errors.New("no way")
		},
	} {
		r := newRound(t, io.Discard)
		record := history.Fault{}
		if err := r.attempt(t.Context(), fault{begin: begin}, &record); err == nil || record.Fired {
			t.Errorf("%s: error %v and fired %v, want an error and no effect", name, err, record.Fired)
		}
	}
	if undone != 2 {
		t.Errorf("undone %d times, want 2", undone)
	}
}

// Every fault has a beginning, which also says how its effect is checked.
func TestEveryFaultCanBegin(t *testing.T) {
	t.Parallel()
	for _, f := range catalogue {
		if f.begin == nil || f.kind == "" || f.says == "" {
			t.Errorf("the fault %s lacks its beginning, its kind or its description", f.name)
		}
	}
}

// A mode of a link that no byte passes through has no effect. Rounds were INVALID
// when all clients were connected to the other server.
func TestShapingNothingIsNotFelt(t *testing.T) {
	t.Parallel()
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	for name, mode := range map[string]netfault.Mode{"held": holdBoth, "held up": holdUp, "sliced": sliced, "late": late, "crawling": crawling, "cut": {CutAfter: 3}} {
		p, err := netfault.New("tcp", target.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		seen, undo := shaped(mode, p)
		if what, err := seen(t.Context()); err == nil {
			t.Errorf("%s: %q before a byte came, want no effect", name, what)
		}
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		err = await(t.Context(), 10*time.Second, func() error {
			_, err := seen(t.Context())
			return err
		})
		if err != nil {
			t.Errorf("%s: no effect on what was sent: %v", name, err)
		}
		if err := undo(t.Context()); err != nil {
			t.Errorf("%s: undo: %v", name, err)
		}
	}
}

// times counts only calls that hit something.
func TestTimes(t *testing.T) {
	t.Parallel()
	hits := []int{0, 2, 0, 3}
	seen := times(2, 0, "sessions", func(context.Context) (n int, err error) {
		n, hits = hits[0], hits[1:]
		return n, nil
	})
	var what string
	asked := 0
	for err := errors.New("not yet"); err != nil; asked++ {
		what, err = seen(t.Context())
	}
	if what != "5 sessions" || asked != 3 {
		t.Errorf("%q after %d calls, want 5 sessions after 3", what, asked)
	}
}

// On a slow machine changes wait even though the doorbell rang for them: that is no
// violation.
func TestDoorbellOnASlowMachine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trial         bellTrial
		wrong, unsure bool
	}{
		"all in time":             {bellTrial{bursts: 30, awake: 10, asleep: 20}, false, false},
		"two were late":           {bellTrial{bursts: 30, awake: 10, waited: 2, asleep: 20}, false, false},
		"no doorbell":             {bellTrial{bursts: 30, awake: 10, waited: 5, asleep: 20, slow: 1}, true, false},
		"everything was late":     {bellTrial{bursts: 30, awake: 10, waited: 5, asleep: 20, slow: 12}, false, true},
		"late, and never at rest": {bellTrial{bursts: 10, awake: 10, waited: 5}, true, false},
	} {
		var record history.Fault
		_, err := c.trial.judge(&record)
		if wrong := record.Wrong != ""; wrong != c.wrong || (err != nil) != c.unsure {
			t.Errorf("%s: wrong %q and error %v, want wrong %v and unsure %v", name, record.Wrong, err, c.wrong, c.unsure)
		}
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// settle is how long memory is watched before it counts: the garbage of the
// handshakes is collected meanwhile, and the first pings are sent.
const settle = 12 * time.Second

// measureIdle opens many idle connections and measures the memory and the CPU that
// the server's process uses for them.
func measureIdle(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	n := b.connections(b.cfg.Idle)
	bare, err := b.idle(ctx, p, b.serveBare, n, 0)
	if errors.Is(err, errNotHere) {
		b.note("idle was left out: %v", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ours, err := b.idle(ctx, p, b.serve, n, b.cfg.IdleTime)
	if err != nil {
		return nil, err
	}
	memory := compare(fmt.Sprintf("memory for each of %d idle connections", n), "KB", []float64{ours.memory}).
		lower().beside(bareServerName, []float64{bare.memory}).judge(atMost(8))
	cpu := compare(fmt.Sprintf("CPU for %d idle connections, pinged every 25 s", n), "% of a core", []float64{ours.cpu}).
		lower().beside("without connections", []float64{ours.alone})
	for _, f := range []Figure{memory, cpu} {
		b.say("idle: %s: %.2f %s, %s %.2f", f.Name, f.Value, f.Unit, f.Baseline, f.Base)
	}
	return []Figure{memory, cpu}, nil
}

// idleCost is the cost of idle connections: memory in KB for each, CPU in percent
// of a core with all connections, and alone, without any.
type idleCost struct{ memory, cpu, alone float64 }

// idle measures one server with n connections. It measures the CPU for the time
// over, and not at all if that is 0.
func (b *bench) idle(ctx context.Context, p *place, serve func(context.Context, *place) (*server, error), n int, over time.Duration) (c idleCost, err error) {
	s, err := serve(ctx, p)
	if err != nil {
		return c, err
	}
	defer s.stop()
	if c.alone, err = s.busy(ctx, over/4); err != nil {
		return c, err
	}
	before, err := s.memory()
	if err != nil {
		return c, err
	}
	b.say("idle: opening %d connections", n)
	feeds, err := s.openFeeds(ctx, n, func(i int) string { return fmt.Sprint(p.prefix, "i", i) }, func([]byte) {})
	if err != nil {
		return c, err
	}
	defer feeds.close()
	least, err := s.leastMemory(ctx, min(settle, 10*b.cfg.Step))
	if err != nil {
		return c, err
	}
	c.memory = (least - before) / float64(n) / 1024
	if over > 0 {
		if err := sleep(ctx, min(settle, over)); err != nil { // the first pings come after half an interval
			return c, err
		}
	}
	c.cpu, err = s.busy(ctx, over)
	return c, err
}

// busy returns how many percent of a core the process uses during the time.
func (s *server) busy(ctx context.Context, over time.Duration) (float64, error) {
	if over <= 0 {
		return 0, nil
	}
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := sleep(ctx, over); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return 100 * float64(after-before) / float64(time.Since(began)), err
}

// leastMemory returns the smallest memory of the process during the time.
func (s *server) leastMemory(ctx context.Context, during time.Duration) (least float64, err error) {
	for began := time.Now(); ; {
		now, err := s.memory()
		if err != nil {
			return 0, err
		}
		if least == 0 || now < least {
			least = now
		}
		if time.Since(began) > during {
			return least, nil
		}
		if err := sleep(ctx, during/20); err != nil {
			return 0, err
		}
	}
}

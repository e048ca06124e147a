package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/jackc/pgx/v5"
)

// latencyRate is how many updates a second the latency is measured at.
const latencyRate = 50

// measureLatency compares the time from the moment at which an update was due to
// the moment at which its event is in a client's hands: over a connection that
// LISTENs with the payload inside NOTIFY, and over our WebSocket.
func measureLatency(ctx context.Context, b *bench) ([]Figure, error) {
	if err := b.fill(ctx); err != nil {
		return nil, err
	}
	s, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	arrivals := newArrivals()
	stopListening, err := b.listenBare(ctx, func(payload string) { arrivals.message([]byte(payload)) })
	if err != nil {
		return nil, err
	}
	defer stopListening()
	stopReading, err := s.readFeed(ctx, "user-0", arrivals.message)
	if err != nil {
		return nil, err
	}
	defer stopReading()
	p50 := map[string][]float64{}
	for round := range b.cfg.Rounds {
		for _, table := range []string{tableNotify, tableOurs} {
			histogram, err := b.latencies(ctx, table, arrivals)
			if err != nil {
				return nil, err
			}
			median := float64(histogram.ValueAtQuantile(50)) / 1000
			b.say("latency, round %d: %s p50 %.2f ms, p99 %.2f ms", round+1, table, median, float64(histogram.ValueAtQuantile(99))/1000)
			p50[table] = append(p50[table], median)
		}
	}
	name := fmt.Sprintf("update to client at %d/s, p50", latencyRate)
	return []Figure{compare(name, "ms", "bare LISTEN with payload", p50[tableNotify], p50[tableOurs],
		"at most 2.0", func(r float64) bool { return r <= 2.0 })}, nil
}

// arrivals says when the event of an update came. Updates are told apart by
// their message.
type arrivals struct {
	mu   sync.Mutex
	came map[string]chan time.Time
}

func newArrivals() *arrivals { return &arrivals{came: make(map[string]chan time.Time)} }

func (a *arrivals) expect(message string) <-chan time.Time {
	ch := make(chan time.Time, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.came[message] = ch
	return ch
}

func (a *arrivals) message(frame []byte) {
	now := time.Now()
	var event struct{ Message string }
	if json.Unmarshal(frame, &event) != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ch := a.came[event.Message]; ch != nil {
		ch <- now
		delete(a.came, event.Message)
	}
}

// latencies updates a row of user-0 at the set rate for one step, whether or not
// earlier ones have come back, and measures each from when it was due.
func (b *bench) latencies(ctx context.Context, table string, arrivals *arrivals) (*hdrhistogram.Histogram, error) {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	statement := "UPDATE " + table + " SET progress = $1, message = $2 WHERE id = 'w0-0'"
	type sample struct {
		due  time.Time
		came <-chan time.Time
	}
	var samples []sample
	start := time.Now().Add(50 * time.Millisecond)
	for i := range int(b.cfg.Step.Seconds() * latencyRate) {
		due := start.Add(time.Duration(i) * time.Second / latencyRate)
		message := fmt.Sprintf("%s %d", table, due.UnixNano())
		samples = append(samples, sample{due, arrivals.expect(message)})
		time.Sleep(time.Until(due))
		if _, err := conn.Exec(ctx, statement, i%101, message); err != nil {
			return nil, err
		}
	}
	histogram := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	lost := time.After(10 * time.Second)
	for _, s := range samples {
		select {
		case at := <-s.came:
			_ = histogram.RecordValue(max(1, at.Sub(s.due).Microseconds())) // within the bounds above
		case <-lost:
			return nil, fmt.Errorf("an event of %s did not arrive within 10s", table)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return histogram, nil
}

// listenBare hands on the payloads of the plain NOTIFY trigger until stop is
// called.
func (b *bench) listenBare(ctx context.Context, handle func(payload string)) (stop func(), err error) {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channelBare); err != nil {
		conn.Close(ctx)
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer conn.Close(context.Background())
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return
			}
			handle(n.Payload)
		}
	})
	return func() { cancel(); wg.Wait() }, nil
}

// readFeed hands on the frames of a user until stop is called.
func (s *server) readFeed(ctx context.Context, user string, handle func(frame []byte)) (stop func(), err error) {
	conn, err := s.dial(ctx, user)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				return
			}
			handle(frame)
		}
	})
	return func() { conn.Close(); wg.Wait() }, nil
}

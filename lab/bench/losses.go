package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/query"
	"github.com/taskfeed/taskfeed/relay"
)

// lossy is a transport that loses messages before they reach a gateway: all batches, and
// so many beacons after each.
type lossy struct {
	relay.Transport
	beacons int
}

// kindOfBatch is the fourth byte of a message with events.
const kindOfBatch = 1

// Subscribe implements relay.Transport.
func (l lossy) Subscribe(subject string, handle func([]byte)) (stop func(), err error) {
	lose := 0
	return l.Transport.Subscribe(subject, func(message []byte) {
		switch {
		case len(message) > 3 && message[3] == kindOfBatch:
			lose = l.beacons
		case lose > 0:
			lose--
		default:
			handle(message)
		}
	})
}

const (
	lossGateways = 8  // of each kind
	lossEvents   = 12 // with the usual number of rounds
	// lossPause is longer than a beacon and the next are apart, so that nothing else shows
	// a gateway what it lacks.
	lossPause = 1300 * time.Millisecond
)

// losses measures how long an event takes to a client of a gateway when its message is
// lost, and nothing follows it but beacons. The gateways are a receiver and a hub each, in
// this process, on a transport that loses their messages.
func (b *bench) losses(ctx context.Context, p *place, e *engine) (figures []Figure, err error) {
	core, err := b.serveCore(ctx, p, e)
	if err != nil {
		return nil, err
	}
	defer core.stop()
	transport, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer transport.Close()
	user := p.prefix + "lost"
	kinds := []struct {
		name      string
		transport relay.Transport
		tally     *tally
	}{
		{"", transport, b.newTally()},
		{"whose message is lost", lossy{transport, 0}, b.newTally()},
		{"whose message and the beacon after it are lost", lossy{transport, 1}, b.newTally()},
	}
	running, cancel := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	defer func() { cancel(); err = errors.Join(err, group.Wait()) }()
	for _, kind := range kinds {
		for range lossGateways {
			if err := listenTo(running, group, kind.transport, user, kind.tally); err != nil {
				return nil, err
			}
		}
	}
	events := max(2, lossEvents*b.cfg.Rounds/5)
	if err := b.sendAlone(running, p, user, events); err != nil {
		return nil, err
	}
	for i, kind := range kinds {
		if err := kind.tally.wait(running, events*lossGateways); err != nil {
			return nil, fmt.Errorf("events %s: %w", kind.name, err)
		}
		if i == 0 {
			continue
		}
		for _, q := range []float64{50, 99} {
			f := compare(fmt.Sprintf("event to client of a gateway %s, p%.0f", kind.name, q), "ms", []float64{kind.tally.quantile(q)}).
				lower().beside("nothing is lost", []float64{kinds[0].tally.quantile(q)})
			if q == 99 {
				f = f.judge(atMost(1500))
			}
			b.say("gateways: %s: %.0f ms, %.1f without a loss", f.Name, f.Value, f.Base)
			figures = append(figures, f)
		}
	}
	return figures, nil
}

// sendAlone sends a user events that are far apart.
func (b *bench) sendAlone(ctx context.Context, p *place, user string, events int) error {
	conn, err := connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer query.Close(conn)
	for range events {
		if err := sleep(ctx, lossPause+rand.N(300*time.Millisecond)); err != nil {
			return err
		}
		const sql = "SELECT taskfeed.notify($1, 'bench.lost', jsonb_build_object('at', $2::text))"
		if _, err := conn.Exec(ctx, sql, user, b.stamp(time.Now())); err != nil {
			return err
		}
	}
	return sleep(ctx, lossPause)
}

// listenTo runs a gateway without sockets, with one client, in the group. It returns when
// the gateway is ready.
func listenTo(ctx context.Context, group *errgroup.Group, t relay.Transport, user string, arrived *tally) error {
	asks := relay.NewClient(t, relay.ClientConfig{})
	h, err := hub.New(asks, hub.Config{})
	if err != nil {
		return err
	}
	receiver := relay.NewReceiver(asks, h, relay.ReceiverConfig{Logger: slog.New(slog.DiscardHandler)})
	group.Go(func() error { return receiver.Run(ctx) })
	if err := await(ctx, time.Minute, "a gateway to become ready", func() (bool, error) { return receiver.Ready() == nil, nil }); err != nil {
		return err
	}
	wake := make(chan struct{}, 1)
	sub, err := h.Subscribe(hub.SubscribeOptions{Filter: taskfeed.Filter{UserID: user}, Wake: func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		return err
	}
	group.Go(func() error {
		defer sub.Close()
		return follow(ctx, sub, wake, arrived)
	})
	return nil
}

// follow tells the tally of all that a subscriber gets, until ctx is done.
func follow(ctx context.Context, sub *hub.Subscriber, wake <-chan struct{}, arrived *tally) error {
	for {
		frames, err := sub.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		for _, f := range frames {
			arrived.arrive(f.Bytes)
		}
		if len(frames) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
	}
}

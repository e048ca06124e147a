package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// measureWriters compares how many single-row updates a second many writers get
// through, each its own transaction, with no trigger, with a trigger that
// notifies at every commit, and with ours while a server serves.
func measureWriters(ctx context.Context, b *bench) ([]Figure, error) {
	if err := b.fill(ctx); err != nil {
		return nil, err
	}
	s, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	stopListening, err := b.listenBare(ctx, func(string) {})
	if err != nil {
		return nil, err
	}
	defer stopListening()
	rates := map[string][]float64{}
	for round := range b.cfg.Rounds {
		for _, table := range []string{tablePlain, tableNotify, tableOurs} {
			rate, err := b.updateRate(ctx, table)
			if err != nil {
				return nil, err
			}
			b.say("writers, round %d: %s %.0f updates/s", round+1, table, rate)
			rates[table] = append(rates[table], rate)
		}
	}
	name := fmt.Sprintf("single-row updates, %d writers", b.cfg.Writers)
	return []Figure{
		compare(name, "updates/s", "no trigger", rates[tablePlain], rates[tableOurs], "at least 0.60", func(r float64) bool { return r >= 0.60 }),
		compare(name, "updates/s", "plain NOTIFY trigger", rates[tableNotify], rates[tableOurs], "at least 2.5", func(r float64) bool { return r >= 2.5 }),
	}, nil
}

// updateRate updates random rows of each writer's own for one step.
func (b *bench) updateRate(ctx context.Context, table string) (float64, error) {
	statement := "UPDATE " + table + " SET progress = $1, message = $2 WHERE id = $3"
	var updates atomic.Int64
	var ready, began sync.WaitGroup
	ready.Add(b.cfg.Writers)
	began.Add(1)
	stop := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	for w := range b.cfg.Writers {
		group.Go(func() error {
			conn, err := pgx.Connect(ctx, b.url)
			ready.Done()
			began.Wait()
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return nil
				default:
				}
				id := fmt.Sprintf("w%d-%d", w, rand.N(rowsPerWriter))
				if _, err := conn.Exec(ctx, statement, i%101, fmt.Sprint("step ", i), id); err != nil {
					return err
				}
				updates.Add(1)
			}
		})
	}
	ready.Wait()
	start := time.Now()
	began.Done()
	timer := time.AfterFunc(b.cfg.Step, func() { close(stop) })
	defer timer.Stop()
	err := group.Wait()
	return float64(updates.Load()) / time.Since(start).Seconds(), err
}

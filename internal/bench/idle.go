package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

// measureIdle opens many connections that do nothing and measures what the
// server's process has grown by.
func measureIdle(ctx context.Context, b *bench) ([]Figure, error) {
	s, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	before, err := s.memory()
	if err != nil {
		return nil, err
	}
	b.say("idle: opening %d connections", b.cfg.Connections)
	conns, err := s.dialMany(ctx, b.cfg.Connections)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	least, err := s.leastMemory(ctx)
	if err != nil {
		return nil, err
	}
	each := (least - before) / float64(b.cfg.Connections) / 1024
	b.say("idle: %.1f KB for each connection", each)
	return []Figure{{Name: fmt.Sprintf("idle connection, of %d", b.cfg.Connections), Unit: "KB of resident memory", Value: each,
		Goal: "at most 10", Reached: each <= 10}}, nil
}

func (s *server) memory() (float64, error) { return s.metric("process_resident_memory_bytes") }

// leastMemory watches the process for some seconds, in which garbage of the
// handshakes goes.
func (s *server) leastMemory(ctx context.Context) (least float64, err error) {
	for i := range 10 {
		now, err := s.memory()
		if err != nil {
			return 0, err
		}
		if i == 0 || now < least {
			least = now
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return least, nil
}

// dialMany opens n feeds, each of a user of its own, some at a time.
func (s *server) dialMany(ctx context.Context, n int) ([]*websocket.Conn, error) {
	conns := make([]*websocket.Conn, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range n {
		group.Go(func() (err error) {
			conns[i], err = s.dial(ctx, fmt.Sprint("idle-", i))
			return err
		})
	}
	return conns, group.Wait()
}

package server

import (
	"context"
	"log/slog"
	"time"
)

const (
	shedShare    = 0.05 // of the connections, in each shedInterval
	shedInterval = time.Second
)

// shedSome closes some of the connections.
func (g *Gateway) shedSome() int {
	n := g.http.Shed(shedShare, shedInterval/2)
	g.shed.Add(uint64(n))
	return n
}

// shedWhile sheds connections in each interval in which this server is overloaded, until
// ctx is done.
func shedWhile(ctx context.Context, overloaded func() bool, shed func() int, logger *slog.Logger) error {
	tick := time.NewTicker(shedInterval)
	defer tick.Stop()
	shedding, sum := false, 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch now := overloaded(); {
		case now && !shedding:
			shedding, sum = true, 0
			logger.Warn("this gateway cannot keep up with the log: it closes a part of its connections each second; add gateways, or give it more CPU")
		case !now && shedding:
			shedding = false
			logger.Info("this gateway keeps up again", "connections_closed", sum)
		}
		if shedding {
			sum += shed()
		}
	}
}

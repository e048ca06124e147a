package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/taskfeed/taskfeed/internal/verify/history"
	"github.com/taskfeed/taskfeed/internal/verify/proxy"
)

// Modes that both kinds of link are put into.
var (
	holdBoth = proxy.Mode{HoldUp: true, HoldDown: true}
	holdUp   = proxy.Mode{HoldUp: true}
	holdDown = proxy.Mode{HoldDown: true}
	late     = proxy.Mode{Delay: 100 * time.Millisecond, Jitter: 100 * time.Millisecond, Rate: 64 << 10}
	sliced   = proxy.Mode{Slice: 5}
	crawling = proxy.Mode{Rate: 100}
)

var linkFaults = []fault{
	{name: "db-blackhole", says: "nothing passes between the leader and the database for 5 s", kind: kindLink, safe: true, run: holdingLeader(holdBoth)},
	{name: "db-blackhole-up", says: "nothing passes from the leader to the database for 5 s", kind: kindLink, safe: true, run: holdingLeader(holdUp)},
	{name: "db-blackhole-down", says: "nothing passes from the database to the leader for 5 s", kind: kindLink, safe: true, run: holdingLeader(holdDown)},
	{name: "db-reset", says: "TCP resets of all connections to the database, three times", kind: kindLink, safe: true, run: resetLinks},
	{name: "db-slow", says: "100 to 200 ms more to the database, and 64 KB/s, for 4 s", kind: kindLink, safe: true, run: shapingLinks(late, 4*time.Second)},
	{name: "db-slice", says: "one to five bytes at a time to and from the database for 2 s", kind: kindLink, safe: true, run: shapingLinks(sliced, 2*time.Second)},
	{name: "db-cut", says: "connections to the database are reset after some thousand bytes each, for 2 s", kind: kindLink, safe: true, run: cutLinks},
}

// holdingLeader holds back what passes between the leader and the database. A
// held byte comes out in the end, unless the seed has the link reset instead.
func holdingLeader(m proxy.Mode) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		s, err := r.leader(ctx)
		if err != nil {
			return err
		}
		f.Target, f.Fired = s.name, s.db.Open() > 0
		s.db.Set(m)
		defer s.db.Set(proxy.Mode{})
		pause(ctx, 5*time.Second)
		if r.seed%2 == 0 {
			f.Detail = fmt.Sprintf("ended with %d resets", s.db.Reset())
		}
		return nil
	}
}

func resetLinks(ctx context.Context, r *round, f *history.Fault) error {
	n := 0
	for range 3 {
		for _, s := range r.servers {
			n += s.db.Reset()
		}
		pause(ctx, 700*time.Millisecond)
	}
	f.Fired, f.Detail = n > 0, fmt.Sprintf("%d connections", n)
	return nil
}

func shapingLinks(m proxy.Mode, d time.Duration) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		for _, s := range r.servers {
			f.Fired = f.Fired || s.db.Open() > 0
			s.db.Set(m)
			defer s.db.Set(proxy.Mode{})
		}
		pause(ctx, d)
		return nil
	}
}

// cutLinks has every connection break at a byte of its own, also in the middle of
// a reply.
func cutLinks(ctx context.Context, r *round, f *history.Fault) error {
	before := int64(0)
	for _, s := range r.servers {
		before += s.db.Accepted()
	}
	for i := range 4 {
		for j, s := range r.servers {
			s.db.Set(proxy.Mode{CutAfter: 3000 + int64((r.seed+uint64(i*7+j*13))%40)*500})
			defer s.db.Set(proxy.Mode{})
		}
		pause(ctx, 500*time.Millisecond)
	}
	for _, s := range r.servers {
		before -= s.db.Accepted()
	}
	f.Fired, f.Detail = before < 0, fmt.Sprintf("%d new connections", -before)
	return nil
}

var netFaults = []fault{
	{name: "net-blackhole", says: "nothing passes between clients and one server for 6 s", kind: kindNet, safe: true, paths: []string{"close: no pong"}, run: shapingNet(holdBoth, 6*time.Second, 1)},
	{name: "net-blackhole-up", says: "nothing passes from clients to one server for 6 s", kind: kindNet, safe: true, paths: []string{"close: no pong"}, run: shapingNet(holdUp, 6*time.Second, 1)},
	{name: "net-blackhole-down", says: "nothing passes from one server to clients for 9 s", kind: kindNet, safe: true, paths: []string{"close: no pong"}, run: shapingNet(holdDown, 9*time.Second, 1)},
	{name: "net-reset", says: "TCP resets of all connections of clients, three times", kind: kindNet, safe: true, run: resetNet},
	{name: "net-slow", says: "100 to 200 ms more to clients, and 64 KB/s, for 3 s", kind: kindNet, safe: true, run: shapingNet(late, 3*time.Second, 0)},
	{name: "net-slice", says: "one to five bytes at a time to and from clients for 2 s", kind: kindNet, safe: true, run: shapingNet(sliced, 2*time.Second, 0)},
	{name: "net-crawl", says: "100 bytes a second to and from clients of one server for 6 s", kind: kindNet, safe: true, run: shapingNet(crawling, 6*time.Second, 1)},
	{name: "net-cut", says: "connections of clients are reset in the middle of a frame, for 2 s", kind: kindNet, safe: true, run: shapingNet(proxy.Mode{CutAfter: 2345}, 2*time.Second, 0)},
}

// shapingNet puts the links from clients into a mode: those of so many servers, or
// of all with 0.
func shapingNet(m proxy.Mode, d time.Duration, servers int) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		chosen := r.servers
		if servers > 0 {
			one := r.servers[r.seed%uint64(len(r.servers))]
			if one.net.Open() == 0 { // its clients have gone elsewhere
				one = slices.MaxFunc(r.servers, func(a, b *server) int { return cmp.Compare(a.net.Open(), b.net.Open()) })
			}
			chosen, f.Target = []*server{one}, one.name
		}
		for _, s := range chosen {
			f.Fired = f.Fired || s.net.Open() > 0
			s.net.Set(m)
			defer s.net.Set(proxy.Mode{})
		}
		pause(ctx, d)
		return nil
	}
}

func resetNet(ctx context.Context, r *round, f *history.Fault) error {
	n := 0
	for range 3 {
		for _, s := range r.servers {
			n += s.net.Reset()
		}
		pause(ctx, 700*time.Millisecond)
	}
	f.Fired, f.Detail = n > 0, fmt.Sprintf("%d connections", n)
	return nil
}

package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Modes for links to the database and to clients.
var (
	holdBoth = netfault.Mode{HoldUp: true, HoldDown: true}
	holdUp   = netfault.Mode{HoldUp: true}
	holdDown = netfault.Mode{HoldDown: true}
	late     = netfault.Mode{Delay: 100 * time.Millisecond, Jitter: 100 * time.Millisecond, Rate: 64 << 10}
	sliced   = netfault.Mode{Slice: 5}
	crawling = netfault.Mode{Rate: 100}
)

var linkFaults = []fault{
	{name: "db-blackhole", says: "nothing passes between the leader and the database for 5 s", kind: kindLink, safe: true, begin: holdingLeader(holdBoth)},
	{name: "db-blackhole-up", says: "nothing passes from the leader to the database for 5 s", kind: kindLink, safe: true, begin: holdingLeader(holdUp)},
	{name: "db-blackhole-down", says: "nothing passes from the database to the leader for 5 s", kind: kindLink, safe: true, begin: holdingLeader(holdDown)},
	{name: "db-reset", says: "TCP resets of all connections to the database, three times", kind: kindLink, safe: true, begin: resetting((*round).dbLinks)},
	{name: "db-slow", says: "100 to 200 ms more delay to the database, and 64 KB/s, for 4 s", kind: kindLink, safe: true, begin: shapingLinks(late, 4*time.Second)},
	{name: "db-slice", says: "one to five bytes at a time to and from the database for 2 s", kind: kindLink, safe: true, begin: shapingLinks(sliced, 2*time.Second)},
	{name: "db-cut", says: "connections to the database are reset after some thousand bytes each, for 2 s", kind: kindLink, safe: true, begin: cutLinks},
}

// shaped sets the mode of proxies. The effect is that each of them has applied it to
// some bytes; undo resets the mode.
func shaped(m netfault.Mode, proxies ...*netfault.Proxy) (seen effect, undo func(context.Context) error) {
	before := make([]netfault.Counts, len(proxies))
	for i, p := range proxies {
		before[i] = p.Counts()
		p.Set(m)
	}
	seen = func(context.Context) (string, error) {
		var total netfault.Counts
		for i, p := range proxies {
			c := p.Counts().Minus(before[i])
			if c == (netfault.Counts{}) {
				return "", errors.New("no byte passed through the proxy")
			}
			total = netfault.Counts{Held: total.Held + c.Held, Shaped: total.Shaped + c.Shaped, Cut: total.Cut + c.Cut}
		}
		return fmt.Sprintf("%d bytes held, %d bytes slowed, %d connections cut", total.Held, total.Shaped, total.Cut), nil
	}
	return seen, func(context.Context) error {
		for _, p := range proxies {
			p.Set(netfault.Mode{})
		}
		return nil
	}
}

// dbLinks returns the proxies of all servers to the database, netLinks those to
// clients.
func (r *round) dbLinks() (all []*netfault.Proxy) {
	for _, s := range r.servers {
		all = append(all, s.db)
	}
	return all
}

func (r *round) netLinks() (all []*netfault.Proxy) {
	for _, s := range r.all() {
		all = append(all, s.net)
	}
	return all
}

// holdingLeader holds back the bytes between the leader and the database. They arrive
// at the end, unless the seed resets the link instead.
func holdingLeader(m netfault.Mode) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		s, err := r.leader(ctx)
		if err != nil {
			return injection{}, err
		}
		f.Target = s.name
		seen, let := shaped(m, s.db)
		return injection{effect: seen, lasts: 5 * time.Second, undo: func(ctx context.Context) error {
			if r.seed%2 == 0 {
				f.Detail = joinText(f.Detail, fmt.Sprintf("ended with %d resets", s.db.Reset()))
			}
			return let(ctx)
		}}, nil
	}
}

// resetting resets all connections of proxies, three times.
func resetting(links func(*round) []*netfault.Proxy) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(_ context.Context, r *round, _ *history.Fault) (injection, error) {
		return injection{effect: times(3, 700*time.Millisecond, "connections", func(context.Context) (n int, err error) {
			for _, p := range links(r) {
				n += p.Reset()
			}
			return n, nil
		})}, nil
	}
}

func shapingLinks(m netfault.Mode, d time.Duration) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(_ context.Context, r *round, _ *history.Fault) (injection, error) {
		seen, undo := shaped(m, r.dbLinks()...)
		return injection{effect: seen, lasts: d, undo: undo}, nil
	}
}

// cutLinks resets every connection after a different number of bytes, also in the
// middle of a reply.
func cutLinks(ctx context.Context, r *round, _ *history.Fault) (injection, error) {
	links, again := r.dbLinks(), 0
	before := make([]netfault.Counts, len(links))
	for i, p := range links {
		before[i] = p.Counts()
	}
	cut := func(ctx context.Context) (n int, err error) {
		for i, p := range links {
			p.Set(netfault.Mode{CutAfter: 3000 + int64((r.seed+uint64(again*7+i*13))%40)*500})
		}
		again++
		pause.For(ctx, 500*time.Millisecond)
		for i, p := range links {
			n += int(p.Counts().Minus(before[i]).Cut)
			before[i] = p.Counts()
		}
		return n, nil
	}
	_, undo := shaped(netfault.Mode{}, links...)
	return injection{effect: times(4, 0, "connections cut", cut), undo: undo}, nil
}

var netFaults = []fault{
	{name: "net-blackhole", says: "nothing passes between clients and one server for 6 s", kind: kindNet, safe: true, paths: []string{"close: no pong"}, begin: shapingNet(holdBoth, 6*time.Second, true, "close: no pong")},
	{name: "net-blackhole-up", says: "nothing passes from clients to one server for 6 s", kind: kindNet, safe: true, paths: []string{"close: no pong"}, begin: shapingNet(holdUp, 6*time.Second, true, "close: no pong")},
	{name: "net-blackhole-down", says: "nothing passes from one server to clients for 9 s", kind: kindNet, safe: true, paths: []string{"close: no pong"}, begin: shapingNet(holdDown, 9*time.Second, true, "close: no pong")},
	{name: "net-reset", says: "TCP resets of all connections of clients, three times", kind: kindNet, safe: true, begin: resetting((*round).netLinks)},
	{name: "net-slow", says: "100 to 200 ms more delay to clients, and 64 KB/s, for 3 s", kind: kindNet, safe: true, begin: shapingNet(late, 3*time.Second, false)},
	{name: "net-slice", says: "one to five bytes at a time to and from clients for 2 s", kind: kindNet, safe: true, begin: shapingNet(sliced, 2*time.Second, false)},
	{name: "net-crawl", says: "100 bytes a second to and from clients of one server for 6 s", kind: kindNet, safe: true, begin: shapingNet(crawling, 6*time.Second, true)},
	{name: "net-cut", says: "connections of clients are reset in the middle of a frame, for 2 s", kind: kindNet, safe: true, begin: shapingNet(netfault.Mode{CutAfter: 2345}, 2*time.Second, false)},
}

// fewClients is a number of clients that may all disconnect by themselves before the
// fault has an effect.
const fewClients = 6

// shapingNet sets the mode of the links from clients, of one server or of all. The
// paths must be taken as well.
func shapingNet(m netfault.Mode, d time.Duration, one bool, paths ...string) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		links := r.netLinks()
		if one {
			servers := r.all()
			s := servers[r.seed%uint64(len(servers))]
			if s.net.Open() < fewClients { // most have gone elsewhere
				s = slices.MaxFunc(servers, func(a, b *server) int { return cmp.Compare(a.net.Open(), b.net.Open()) })
			}
			if err := r.connected(ctx, s, 1); err != nil {
				return injection{}, err
			}
			links, f.Target = []*netfault.Proxy{s.net}, s.name
		}
		parts := []effect{nil}
		for _, path := range paths {
			parts = append(parts, r.taken(ctx, path))
		}
		seen, undo := shaped(m, links...)
		parts[0] = seen
		return injection{effect: all(parts...), lasts: d, undo: undo}, nil
	}
}

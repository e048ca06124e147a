package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/taskfeed/taskfeed/lab/query"
)

const (
	groupFeeds  = 64     // that a token may list
	groupMissed = 10_000 // events, over all of them
)

// measureGroups measures feeds of groups beside what they stand in for: one event to all
// members of a group beside a broadcast to the same connections, and the replay of many
// feeds beside that of one with as many events.
func measureGroups(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	s, err := b.serve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	var figures []Figure
	for _, n := range b.cfg.Audience {
		f, err := b.groupShots(ctx, s, p, b.connections(n))
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	f, err := b.groupReplay(ctx, s, p)
	if err != nil {
		return figures, err
	}
	return append(figures, f), nil
}

// groupShots sends single events to n connections in turns, as a broadcast and to a group
// of which all are members.
func (b *bench) groupShots(ctx context.Context, s *server, p *place, n int) (Figure, error) {
	b.say("groups: opening %d connections", n)
	s.feeds = []string{p.crowd()}
	t := b.newTally()
	clients, err := s.openFeeds(ctx, n, func(i int) string { return fmt.Sprint(p.prefix, "m", i) }, t.arrive)
	if err != nil {
		return Figure{}, err
	}
	defer clients.close()
	conn, err := connect(ctx, p.url)
	if err != nil {
		return Figure{}, err
	}
	defer query.Close(conn)
	var last [2][]float64
	for round := range 2*b.cfg.Rounds + 1 { // the first one warms up
		for i, sql := range []string{
			"SELECT taskfeed.broadcast('bench.shot', jsonb_build_object('at', $1::text))",
			"SELECT taskfeed.notify('" + p.crowd() + "', 'bench.shot', jsonb_build_object('at', $1::text))",
		} {
			if err := sleep(ctx, 200*time.Millisecond); err != nil {
				return Figure{}, err
			}
			t.begin()
			if _, err := conn.Exec(ctx, sql, b.stamp(time.Now())); err != nil {
				return Figure{}, err
			}
			if err := t.wait(ctx, n); err != nil {
				return Figure{}, clients.explain(err)
			}
			if round > 0 {
				last[i] = append(last[i], millis(t.toLast()))
			}
		}
	}
	f := compare(fmt.Sprintf("1 event to a group of %d connections, time to the last", n), "ms", last[1]).lower().beside("a broadcast to them", last[0])
	if n >= 10_000 {
		f = f.judge(ratioAtMost(1.2))
	}
	b.say("groups: %s: %.0f ms, %s %.0f ms", f.Name, f.Value, f.Baseline, f.Base)
	return f, nil
}

// groupReplay measures in turns how long a client takes to get what it missed in many
// feeds, and in one feed.
func (b *bench) groupReplay(ctx context.Context, s *server, p *place) (Figure, error) {
	each := groupMissed / groupFeeds
	one, many := p.prefix+"one", p.prefix+"group"
	fromOne, err := p.miss(ctx, one, 1, each*groupFeeds, 1)
	if err != nil {
		return Figure{}, err
	}
	fromMany, err := p.miss(ctx, many, groupFeeds, each, 1)
	if err != nil {
		return Figure{}, err
	}
	groups := make([]string, groupFeeds)
	for i := range groups {
		groups[i] = fmt.Sprint(many, i)
	}
	var ours, base []float64
	for round := range 4*b.cfg.Rounds + 1 { // the first one warms up
		s.feeds = nil
		single, err := s.comeBack(ctx, one+"0", fromOne, each*groupFeeds)
		if err != nil {
			return Figure{}, err
		}
		s.feeds = groups
		took, err := s.comeBack(ctx, p.prefix+"member", fromMany, each*groupFeeds)
		if err != nil {
			return Figure{}, err
		}
		if round > 0 {
			base, ours = append(base, millis(single)), append(ours, millis(took))
		}
	}
	f := compare(fmt.Sprintf("%d missed events of %d feeds to one client", each*groupFeeds, groupFeeds), "ms", ours).lower().
		beside("of one feed", base).judge(ratioAtMost(2))
	b.say("groups: %s: %.1f ms, %.2f times %s", f.Name, f.Value, f.Ratio, f.Baseline)
	return f, nil
}

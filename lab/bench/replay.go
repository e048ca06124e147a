package bench

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed/lab/query"
)

// sqlMiss sends {events} events to each of {users} users, in turns.
const sqlMiss = `
SELECT count(taskfeed.notify('{user}' || u, 'bench.missed', jsonb_build_object('step', i, 'text', 'about as long as the message of a step')))
FROM generate_series(1, {events}) AS i, generate_series(0, {users} - 1) AS u`

// miss sends events to users that are not connected, in so many transactions, and
// returns the cursor before them. Each transaction is in the log before the next.
func (p *place) miss(ctx context.Context, user string, users, events, transactions int) (cursor int64, err error) {
	if err := p.drained(ctx); err != nil {
		return 0, err
	}
	if cursor, err = p.lastID(ctx); err != nil {
		return 0, err
	}
	sql := strings.NewReplacer("{user}", user, "{users}", fmt.Sprint(users), "{events}", fmt.Sprint(events/transactions)).Replace(sqlMiss)
	for range transactions {
		if err := query.Script(ctx, at(p.url), sql); err != nil {
			return 0, err
		}
		if err := p.drained(ctx); err != nil {
			return 0, err
		}
	}
	return cursor, nil
}

func (p *place) lastID(ctx context.Context) (int64, error) {
	return query.One[int64](ctx, at(p.url), "SELECT coalesce(max(id), 0) FROM taskfeed.events")
}

// measureReplay measures how long clients take to get the events that they have
// missed: one client many events, many clients at once some events each, and one client
// what still matters of many.
func measureReplay(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	figures, err := b.replays(ctx, p)
	if err != nil {
		return figures, err
	}
	compacted, err := b.replayCompact(ctx, p)
	if err != nil {
		return figures, err
	}
	return append(figures, compacted), nil
}

func (b *bench) replays(ctx context.Context, p *place) ([]Figure, error) {
	s, err := b.serve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	var figures []Figure
	for _, n := range b.cfg.Missed {
		f, err := b.replayOne(ctx, s, p, n)
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	some, nothing, err := b.replayMany(ctx, s, p, missedAs{user: "r", transactions: b.cfg.MissedEach, goal: 800})
	if err != nil {
		return figures, err
	}
	atOnce, _, err := b.replayMany(ctx, s, p, missedAs{user: "b", transactions: 1, name: " in one transaction", goal: 3000})
	if err != nil {
		return figures, err
	}
	return append(figures, nothing, some, atOnce), nil
}

// replayOne measures one client that has missed n events.
func (b *bench) replayOne(ctx context.Context, s *server, p *place, n int) (Figure, error) {
	user := fmt.Sprintf("%sback%d-", p.prefix, n)
	cursor, err := p.miss(ctx, user, 1, n, 1)
	if err != nil {
		return Figure{}, err
	}
	user += "0"
	var ours, base []float64
	for round := range b.cfg.Rounds + 1 { // the first one warms up
		selected, err := p.selectEvents(ctx, sqlMissed, user, cursor, n)
		if err != nil {
			return Figure{}, err
		}
		took, err := s.comeBack(ctx, user, cursor, n)
		if err != nil {
			return Figure{}, err
		}
		if round > 0 {
			base, ours = append(base, millis(selected)), append(ours, millis(took))
		}
	}
	f := compare(fmt.Sprintf("%d missed events to one client", n), "ms", ours).lower().beside("one SELECT of them", base)
	b.say("replay: %s: %.1f ms, %.2f times %s", f.Name, f.Value, f.Ratio, f.Baseline)
	return f, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// comeBack connects with a cursor, reads until the missed events have come and the
// replay is over, and returns how long that took.
func (s *server) comeBack(ctx context.Context, user string, cursor int64, want int, wishes ...string) (time.Duration, error) {
	began := time.Now()
	f, err := s.dial(ctx, user, strings.Join(append([]string{fmt.Sprint("after=", cursor)}, wishes...), "&"))
	if err != nil {
		return 0, err
	}
	defer f.conn.Close()
	stop := context.AfterFunc(ctx, func() { f.conn.Close() })
	defer stop()
	_ = f.conn.SetReadDeadline(began.Add(time.Minute)) // cannot fail on a new connection
	got, live := 0, false
	err = f.read(func(payload []byte) error {
		switch {
		case bytes.HasPrefix(payload, []byte(`{"type":"feed_live"`)):
			live = true // a server that lags may send the newest events after this
		case bytes.HasPrefix(payload, []byte(`{"type":"feed_`)):
			return fmt.Errorf("after %d of %d events came %s", got, want, payload)
		default:
			got++
		}
		if live && got >= want {
			return errStop
		}
		return nil
	})
	if err == nil && got > want {
		err = fmt.Errorf("%d events came, want %d", got, want)
	}
	if err != nil {
		return 0, fmt.Errorf("replay to %s: %w", user, err)
	}
	return time.Since(began), nil
}

const sqlMissed = `
SELECT id, type, coalesce(task_id, ''), coalesce(version, 0), data, created_at
FROM taskfeed.events
WHERE user_id = $1 AND id > $2
ORDER BY id`

// selectEvents reads events with a SELECT, as an app without a feed would.
func (p *place) selectEvents(ctx context.Context, sql, user string, cursor int64, want int) (time.Duration, error) {
	began := time.Now()
	conn, err := connect(ctx, p.url)
	if err != nil {
		return 0, err
	}
	defer query.Close(conn)
	rows, _ := conn.Query(ctx, sql, user, cursor) // ForEachRow returns the error
	var id, version int64
	var kind, task string
	var data []byte
	var at time.Time
	tag, err := pgx.ForEachRow(rows, []any{&id, &kind, &task, &version, &data, &at}, func() error { return nil })
	if err == nil && int(tag.RowsAffected()) != want {
		err = fmt.Errorf("the log has %d events of %s, want %d", tag.RowsAffected(), user, want)
	}
	return time.Since(began), err
}

// missedAs says how the events came that many clients missed. What came in one large
// transaction is read from the log, the rest from the memory of the server.
type missedAs struct {
	user         string // prefix of the users' names
	transactions int
	name         string  // in the figure's
	goal         float64 // in milliseconds
}

// replayMany measures many clients that reconnect at the same moment, with events
// missed and with none.
func (b *bench) replayMany(ctx context.Context, s *server, p *place, missed missedAs) (some, nothing Figure, err error) {
	users, each := b.connections(b.cfg.Returning), b.cfg.MissedEach
	b.say("replay: %d clients miss %d events each", users, each)
	user := p.prefix + missed.user
	cursor, err := p.miss(ctx, user, users, each, missed.transactions)
	if err != nil {
		return some, nothing, err
	}
	head, err := p.lastID(ctx)
	if err != nil {
		return some, nothing, err
	}
	var ours, base []float64
	for round := range max(1, b.cfg.Rounds*3/5) + 1 { // the first one warms up
		none, err := b.returnAll(ctx, s, user, users, head, 0)
		if err != nil {
			return some, nothing, err
		}
		took, err := b.returnAll(ctx, s, user, users, cursor, each)
		if err != nil {
			return some, nothing, err
		}
		if round > 0 {
			base, ours = append(base, millis(none)), append(ours, millis(took))
		}
	}
	nothing = compare(fmt.Sprintf("%d clients back at once, nothing missed", users), "ms", base).lower().judge(atMost(300))
	some = compare(fmt.Sprintf("%d clients back at once, %d missed events each%s, until the last has them", users, each, missed.name), "ms", ours).
		lower().beside("with nothing missed", base).judge(atMost(missed.goal))
	b.say("replay: %s: %.0f ms, %s %.0f ms", some.Name, some.Value, some.Baseline, some.Base)
	return some, nothing, nil
}

// returnAll connects all users at once and waits for the last to be live.
func (b *bench) returnAll(ctx context.Context, s *server, user string, users int, cursor int64, want int) (time.Duration, error) {
	var ready sync.WaitGroup
	start := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	for i := range users {
		ready.Add(1)
		group.Go(func() error {
			ready.Done()
			<-start
			_, err := s.comeBack(ctx, fmt.Sprint(user, i), cursor, want)
			return err
		})
	}
	ready.Wait()
	began := time.Now()
	close(start)
	err := group.Wait()
	return time.Since(began), err
}

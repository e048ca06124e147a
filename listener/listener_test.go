package listener_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// never is an interval that does not pass in a test.
const never = time.Hour

// TestNoWakeupIsLost has several writers commit in rounds, each at a random moment
// before, while or after the sequencer falls asleep. The fallback look is off: the
// doorbell and polling alone must find every change of a round before the next.
func TestNoWakeupIsLost(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	var armed atomic.Int64
	s := startQuickRing(t, store.Config{URL: url, StallTimeout: never}, listener.Config{FallbackInterval: never},
		func(inner listener.Session) listener.Session { return &drowsy{inner, &armed} }, 100*time.Millisecond)
	s.leads(t)
	const writers, rounds = 3, 120
	var conns []*pgx.Conn
	for range writers {
		conns = append(conns, pgtest.Connect(t, url))
	}
	random := rand.New(rand.NewPCG(5, 6))
	committed := 0
	for range rounds {
		var wg sync.WaitGroup
		for _, conn := range conns {
			burst := 1
			if random.IntN(2) == 0 {
				burst = 12 // rings so often that the sequencer polls
			}
			pause := time.Duration(random.IntN(10_000)) * time.Microsecond // it takes about 5 ms to fall asleep
			rollback := random.IntN(4) == 0
			if !rollback {
				committed += burst
			}
			wg.Go(func() {
				if err := writeBurst(t.Context(), conn, pause, burst, rollback); err != nil {
					t.Errorf("write: %v", err)
				}
			})
		}
		wg.Wait()
		s.has(t, committed)
	}
	publishesLog(t, pgtest.Connect(t, url), committed, s)
	if wakeups, armed := s.Stats().Wakeups, armed.Load(); wakeups == 0 || armed < 5 {
		t.Errorf("the sequencer fell asleep %d times and was woken %d times in %d rounds, want more", armed, wakeups, rounds)
	}
}

// drowsy is a session that waits between the last look and falling asleep, so that
// many commits come in between.
type drowsy struct {
	listener.Session
	armed *atomic.Int64
}

func (s *drowsy) Arm(ctx context.Context) (bool, error) {
	select {
	case <-time.After(2 * time.Millisecond):
	case <-ctx.Done():
	}
	armed, err := s.Session.Arm(ctx)
	if armed {
		s.armed.Add(1)
	}
	return armed, err
}

// writeBurst makes n transactions of one change each after a pause.
func writeBurst(ctx context.Context, conn *pgx.Conn, pause time.Duration, n int, rollback bool) error {
	end := "COMMIT"
	if rollback {
		end = "ROLLBACK"
	}
	if _, err := conn.Exec(ctx, "SELECT pg_sleep($1)", pause.Seconds()); err != nil {
		return err
	}
	for range n {
		if _, err := conn.Exec(ctx, "BEGIN; INSERT INTO taskfeed.tasks (user_id) VALUES ('alice'); "+end); err != nil {
			return err
		}
	}
	return nil
}

// TestForgedRings is bad input 76: rings of strangers, whatever their payload, cost
// few looks, and the payload is never read.
func TestForgedRings(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := start(t, store.Config{URL: url}, listener.Config{}, nil)
	s.leads(t)
	follower := start(t, store.Config{URL: url}, listener.Config{}, nil)
	follower.follows(t)
	app, forger := pgtest.Connect(t, url), pgtest.Connect(t, url)
	const rounds, rings = 20, 200
	const longest = 7999 // bytes of a payload
	junk := strings.Repeat("{\"id\":9007199254740991,\"x\x01", 350)
	payloads := []string{"", junk[:longest], strings.Repeat("[", longest), "{}", "taskfeed_log"}
	for range rounds {
		batch := &pgx.Batch{}
		for i := range rings {
			batch.Queue("SELECT pg_notify('taskfeed', $1), pg_notify('taskfeed_log', $1)", fmt.Sprint(i, junk)[:longest])
		}
		if err := forger.SendBatch(t.Context(), batch).Close(); err != nil {
			t.Fatalf("forge: %v", err)
		}
		for i := range rings { // each a transaction of its own
			exec(t, forger, "SELECT pg_notify('taskfeed', $1), pg_notify('taskfeed_log', $1)", payloads[i%len(payloads)])
		}
		add(t, app, 2)
	}
	publishesLog(t, app, 2*rounds, s, follower)
	for name, server := range map[string]*server{"leader": s, "follower": follower} {
		if got, most := server.Stats().Wakeups, uint64(rounds*rings); got > most/2 {
			t.Errorf("the %s woke up %d times for %d false rings, want few", name, got, most)
		}
	}
	if got, most := s.Stats().Moves, uint64(rounds*rings); got > most/2 {
		t.Errorf("the leader made %d looks in a flood of %d false rings, want few", got, most)
	}
}

func TestNotifyIsOff(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Exec(t, url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET taskfeed.notify = off', current_database()); END $$")
	s := start(t, store.Config{URL: url}, listener.Config{}, nil)
	s.leads(t)
	app := pgtest.Connect(t, url)
	add(t, app, 20)
	publishesLog(t, app, 20, s)
	if got := s.Stats().Wakeups; got != 0 {
		t.Errorf("wake-ups: got %d, want 0: nobody rings", got)
	}
}

// The fallback look finds the change of a writer whose session has notifications
// switched off, and of one that rang while the leader did not listen. After that
// the leader listens again.
func TestLostRings(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := start(t, store.Config{URL: url}, listener.Config{FallbackInterval: 200 * time.Millisecond},
		func(inner listener.Session) listener.Session { return &deaf{Session: inner} })
	s.leads(t)
	app := pgtest.Connect(t, url)
	n := 0
	for range 3 {
		exec(t, app, "SET taskfeed.notify = 'off'")
		add(t, app, 1)
		exec(t, app, "RESET taskfeed.notify")
		n++
		s.has(t, n)
	}
	eventually(t, "the first ring that is heard", func() bool {
		add(t, app, 1)
		n++
		s.has(t, n)
		return s.Stats().Wakeups > 0
	})
	publishesLog(t, app, n, s)
}

// deaf is a session whose first LISTEN has no effect.
type deaf struct {
	listener.Session
	calls int
}

func (s *deaf) Listen(ctx context.Context) error {
	if s.calls++; s.calls == 1 {
		return nil
	}
	return s.Session.Listen(ctx)
}

// Two servers on one database: one leads, both publish the same.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := start(t, store.Config{URL: url}, listener.Config{}, nil)
	a.leads(t)
	b := start(t, store.Config{URL: url}, listener.Config{TakeoverInterval: never, FallbackInterval: never}, nil) // is rung for
	b.follows(t)
	app := pgtest.Connect(t, url)
	add(t, app, 20)
	exec(t, app, "INSERT INTO taskfeed.tasks (user_id) SELECT 'alice' FROM generate_series(1, 3000)") // more than a page
	publishesLog(t, app, 3020, a, b)
	if !a.Stats().Leader || b.Stats().Leader {
		t.Errorf("leaders: a %t, b %t; want a alone", a.Stats().Leader, b.Stats().Leader)
	}
	if got := b.Stats(); got.Captured != 0 || got.Wakeups == 0 {
		t.Errorf("the follower: %+v, want nothing captured, and woken", got)
	}
	if got := a.Stats().Captured; got != 3020 {
		t.Errorf("captured by the leader: got %d, want 3020", got)
	}
}

// The leader stops in order, loses its session, or freezes: the other server leads,
// and both publish every event once.
func TestTakeover(t *testing.T) {
	t.Parallel()

	t.Run("the leader stops in order", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		a := start(t, store.Config{URL: url}, listener.Config{}, nil)
		a.leads(t)
		b := start(t, store.Config{URL: url}, listener.Config{}, nil)
		b.follows(t)
		app := pgtest.Connect(t, url)
		add(t, app, 5)
		a.has(t, 5)
		a.stop()
		add(t, app, 5)
		publishesLog(t, app, 10, b)
	})

	t.Run("its backend is terminated repeatedly", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		a := start(t, store.Config{URL: url}, listener.Config{}, nil)
		a.leads(t)
		b := start(t, store.Config{URL: url}, listener.Config{}, nil)
		b.follows(t)
		app := pgtest.Connect(t, url)
		for range 15 {
			add(t, app, 4)
			eventually(t, "a session to kill", func() bool { return value[int](t, app, sqlTerminateSessions) > 0 })
			add(t, app, 4)
		}
		publishesLog(t, app, 120, a, b)
	})

	t.Run("it is frozen between two statements", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		var frozen gate
		a := start(t, store.Config{URL: url, StallTimeout: stall}, listener.Config{},
			func(inner listener.Session) listener.Session { return &freezer{inner, &frozen} })
		a.leads(t)
		b := start(t, store.Config{URL: url, StallTimeout: stall}, listener.Config{}, nil)
		b.follows(t)
		app := pgtest.Connect(t, url)
		add(t, app, 5)
		a.has(t, 5)
		frozen.shut(t)
		add(t, app, 5)
		b.leads(t)
		publishesLog(t, app, 10, b)
		frozen.open()
		add(t, app, 5)
		publishesLog(t, app, 15, a, b)
		a.follows(t)
	})
}

// gate blocks whoever passes while it is shut.
type gate struct {
	mu    sync.Mutex
	wait  chan struct{} // nil while it is open
	holds bool          // somebody is blocked
}

// shut shuts the gate and returns once somebody is blocked.
func (g *gate) shut(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	g.wait, g.holds = make(chan struct{}), false
	g.mu.Unlock()
	eventually(t, "somebody at the gate", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.holds
	})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.wait)
	g.wait = nil
}

func (g *gate) pass(ctx context.Context) {
	g.mu.Lock()
	wait := g.wait
	g.holds = wait != nil
	g.mu.Unlock()
	if wait == nil {
		return
	}
	select {
	case <-wait:
	case <-ctx.Done():
	}
}

// freezer is a session that blocks while a gate is shut.
type freezer struct {
	listener.Session
	gate *gate
}

func (s *freezer) Move(ctx context.Context) (taskfeed.Moved, error) {
	s.gate.pass(ctx)
	return s.Session.Move(ctx)
}

func (s *freezer) Wait(ctx context.Context, d time.Duration) (bool, error) {
	s.gate.pass(ctx)
	return s.Session.Wait(ctx, d)
}

// A follower that was away for longer than the log keeps goes on from the end of
// the log.
func TestRetentionPassesAFollower(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	leader := start(t, store.Config{URL: url}, listener.Config{Retention: time.Hour, MaintainInterval: time.Millisecond}, nil)
	leader.leads(t)
	var frozen gate
	follower := start(t, store.Config{URL: url, StallTimeout: never}, listener.Config{},
		func(inner listener.Session) listener.Session { return &freezer{inner, &frozen} })
	follower.follows(t)
	app := pgtest.Connect(t, url)
	add(t, app, 3)
	follower.has(t, 3)
	frozen.shut(t)
	add(t, app, 4)
	leader.has(t, 7)
	exec(t, app, "UPDATE taskfeed.events SET created_at = now() - interval '3 hours'")
	eventually(t, "the drop of the first partition", func() bool {
		return value[bool](t, app, "SELECT to_regclass('taskfeed.events_0') IS NULL")
	})
	add(t, app, 1)
	ids := leader.has(t, 8)
	frozen.open()
	eventually(t, "the follower's new head", func() bool { return follower.feed.head() == ids[7] })
	add(t, app, 2)
	leader.has(t, 10)
	got := follower.has(t, 5)
	if want := log(t, app)[1:]; len(want) != 2 || got[3] != want[0] || got[4] != want[1] {
		t.Errorf("the follower published %v, want the first three and the last two of %v", got, want)
	}
}

// Events that a move appended and did not return are read from the log, and so is
// data that does not fit in one page.
func TestPartialMoves(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := start(t, store.Config{URL: url}, listener.Config{}, nil)
	s.leads(t)
	app := pgtest.Connect(t, url)
	exec(t, app, `INSERT INTO taskfeed.tasks (user_id, status, result)
		SELECT 'alice', 'completed', to_jsonb((SELECT string_agg(md5(random()::text || g || i), '') FROM generate_series(1, 7000) AS g))
		FROM generate_series(1, 12) AS i`) // 220 KB each
	exec(t, app, "INSERT INTO taskfeed.tasks (user_id) SELECT 'alice' FROM generate_series(1, 2500)")
	add(t, app, 1)
	publishesLog(t, app, 2513, s)
}

// A feed that can do without the events of a backlog is not handed all of them, but for
// the last page.
func TestSkippedBacklog(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := start(t, store.Config{URL: url}, listener.Config{}, nil)
	s.leads(t)
	s.feed.mu.Lock()
	s.feed.skips = true
	s.feed.mu.Unlock()
	app := pgtest.Connect(t, url)
	exec(t, app, "INSERT INTO taskfeed.tasks (user_id) SELECT 'alice' FROM generate_series(1, 22000)")
	got := s.has(t, 2000)
	if s.feed.skipped != 20_000 {
		t.Errorf("%d events were skipped, want one page of 20,000", s.feed.skipped)
	}
	if want := log(t, app); !slices.Equal(got[1000:], want[21_000:]) {
		t.Errorf("published %d events, the last %v, want the first and the last 1,000 of the log", len(got), got[len(got)-1])
	}
}

// Changes that wait when a server starts are published, events already in the log
// are not.
func TestStart(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	app := pgtest.Connect(t, url)
	first := start(t, store.Config{URL: url}, listener.Config{}, nil)
	first.leads(t)
	add(t, app, 5)
	ids := first.has(t, 5)
	first.stop()
	add(t, app, 2) // they wait in taskfeed.changes
	second := start(t, store.Config{URL: url}, listener.Config{}, nil)
	got := second.has(t, 2)
	if second.feed.head() != ids[4] || got[0] != ids[4]+1 {
		t.Errorf("a new server: head %d and published %v, want %d and what came after", second.feed.head(), got, ids[4])
	}
}

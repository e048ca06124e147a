package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// must turns a call's error into a failure of the test.
func must[T any](t *testing.T, doing string) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", doing, err)
		}
		return v
	}
}

func TestLeadership(t *testing.T) {
	t.Parallel()
	f := setup(t)
	other := openSession(t, f.store)
	lead := must[bool](t, "try to lead")
	if !lead(f.session.TryLead(t.Context())) {
		t.Fatal("the first session does not lead")
	}
	if lead(other.TryLead(t.Context())) {
		t.Fatal("two sessions lead")
	}
	elsewhere := openSession(t, openStore(t, store.Config{URL: pgtest.New(t)}))
	if !lead(elsewhere.TryLead(t.Context())) {
		t.Error("a session of another database does not lead there")
	}
	f.session.Close()
	eventually(t, "the takeover", func() bool { return lead(other.TryLead(t.Context())) })
}

// ring writes a change as the app and reports whether it rang.
func rings(t *testing.T, f *fixture, ear *pgx.Conn, write func()) bool {
	t.Helper()
	write()
	exec(t, f.app, "NOTIFY marker")
	n, err := ear.WaitForNotification(t.Context())
	if err != nil {
		t.Fatalf("wait for a notification: %v", err)
	}
	if n.Channel == "marker" {
		return false
	}
	if n, err = ear.WaitForNotification(t.Context()); err != nil || n.Channel != "marker" {
		t.Fatalf("second notification: got %v (%v), want the marker", n, err)
	}
	return true
}

func TestDoorbell(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ear := pgtest.Connect(t, f.url)
	exec(t, ear, "LISTEN taskfeed")
	exec(t, ear, "LISTEN marker")
	arm := must[bool](t, "arm")
	write := func() { exec(t, f.app, "INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')") }

	if rings(t, f, ear, write) {
		t.Error("a writer rang while the sequencer was busy")
	}
	if !arm(f.session.Arm(t.Context())) {
		t.Fatal("arming failed with no writer in flight")
	}
	if !rings(t, f, ear, write) {
		t.Error("a writer did not ring while the sequencer slept")
	}
	if err := f.session.Disarm(t.Context()); err != nil {
		t.Fatalf("disarm: %v", err)
	}
	if rings(t, f, ear, write) {
		t.Error("a writer rang after the sequencer woke up")
	}

	silent := f.begin(t)
	exec(t, silent, "INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')")
	if arm(f.session.Arm(t.Context())) {
		t.Fatal("arming succeeded with a writer in flight that did not ring")
	}
	exec(t, silent, "COMMIT")
	eventually(t, "arming after the commit", func() bool { return arm(f.session.Arm(t.Context())) })
	if m := move(t, f.session); m.Count != 4 {
		t.Errorf("moved %d, want 4: arming succeeds when all who did not ring are visible", m.Count)
	}

	if err := f.session.Listen(t.Context()); err != nil {
		t.Fatalf("listen: %v", err)
	}
	write()
	move(t, f.session) // hears of it in passing
	if !must[bool](t, "wait")(f.session.Wait(t.Context(), patience)) {
		t.Error("a ring that came during a move was lost")
	}
}

// The end of a wait leaves the session as it was.
func TestWait(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.session.Conn(), "LISTEN taskfeed")
	wait := must[bool](t, "wait")
	for i := range 50 {
		if wait(f.session.Wait(t.Context(), time.Millisecond)) {
			t.Fatalf("wait %d rang, want that it ends by itself", i)
		}
		if m := move(t, f.session); m.Count != 0 {
			t.Fatalf("moved %d, want 0", m.Count)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.session.Wait(ctx, patience); err == nil || !f.session.Alive() {
		t.Errorf("a cancelled wait: error %v, alive %t; want an error, and true", err, f.session.Alive())
	}
	exec(t, f.app, "NOTIFY taskfeed")
	if !wait(f.session.Wait(t.Context(), patience)) {
		t.Error("the ring after a cancelled wait was lost")
	}
	exec(t, f.app, "SELECT pg_terminate_backend($1)", pid(f.session))
	if _, err := f.session.Wait(t.Context(), patience); taskfeed.CodeOf(err) != taskfeed.CodeUnavailable || f.session.Alive() {
		t.Errorf("a wait whose backend was terminated: error %v, alive %t; want unavailable, and false", err, f.session.Alive())
	}
}

// A wait may end in the middle of a message that arrives slowly.
func TestWaitInTheMiddleOfAMessage(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	app := pgtest.Connect(t, url)
	net, through := pgtest.Network(t, url)
	net.Set(netfault.Mode{Slice: 3, Rate: 10_000})
	s := openSession(t, openStore(t, store.Config{URL: through}))
	exec(t, s.Conn(), "LISTEN taskfeed")
	waits := 0
	for i := range 5 {
		exec(t, app, "SELECT pg_notify('taskfeed', $1)", strings.Repeat("x", 100+i))
		eventually(t, "the ring", func() bool {
			waits++
			return must[bool](t, "wait")(s.Wait(t.Context(), time.Millisecond))
		})
		add(t, app, strings.Repeat("t", i+1))
		if m := move(t, s); m.Count != 1 {
			t.Fatalf("moved %d, want 1", m.Count)
		}
	}
	if waits < 10 {
		t.Errorf("waits: %d for 5 rings, want that some ended too early", waits)
	}
}

// A server that is frozen, by SIGSTOP or with its machine, stops being the leader.
func TestStalledLeader(t *testing.T) {
	t.Parallel()
	const stall = 3 * time.Second

	t.Run("between statements", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		st := openStore(t, store.Config{URL: url, StallTimeout: stall})
		frozen, waiting := openSession(t, st), openSession(t, st)
		lead := must[bool](t, "try to lead")
		if !lead(frozen.TryLead(t.Context())) {
			t.Fatal("the first session does not lead")
		}
		eventually(t, "the takeover", func() bool { return lead(waiting.TryLead(t.Context())) })
		_, err := frozen.Move(t.Context())
		wantCode(t, err, taskfeed.CodeUnavailable)
		if frozen.Alive() {
			t.Error("the frozen leader's session is alive when it comes back, want it dead")
		}
	})

	t.Run("in a transaction", func(t *testing.T) {
		t.Parallel()
		st := openStore(t, store.Config{URL: pgtest.New(t), StallTimeout: stall})
		frozen, waiting := openSession(t, st), openSession(t, st)
		lead := must[bool](t, "try to lead")
		lead(frozen.TryLead(t.Context()))
		exec(t, frozen.Conn(), "BEGIN")
		eventually(t, "the takeover", func() bool { return lead(waiting.TryLead(t.Context())) })
	})

	// The time-outs of an idle session do not reach these, and that of TCP does not
	// either when the session came over a local socket; without it, this is one.
	stuck := map[string]func(t *testing.T, s *store.Session) error{
		"while it is sent an answer": func(t *testing.T, s *store.Session) error {
			s.Conn().PgConn().Frontend().SendQuery(query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"))
			return s.Conn().PgConn().Frontend().Flush() // and reads nothing
		},
		"while it sends a statement": func(t *testing.T, s *store.Session) error {
			s.Conn().PgConn().Frontend().SendParse(parse("SELECT 1")) // the rest does not come
			return s.Conn().PgConn().Frontend().Flush()
		},
	}
	for name, freeze := range stuck {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := openStore(t, store.Config{URL: pgtest.New(t), StallTimeout: stall})
			frozen, waiting := openSession(t, st), openSession(t, st)
			lead := must[bool](t, "try to lead")
			if !lead(frozen.TryLead(t.Context())) {
				t.Fatal("the first session does not lead")
			}
			exec(t, frozen.Conn(), "SET tcp_user_timeout = 0")
			end := must[bool](t, "end a stalled leader")
			if end(waiting.EndStalledLeader(t.Context())) {
				t.Fatal("a leader that is well was ended")
			}
			if err := freeze(t, frozen); err != nil {
				t.Fatalf("freeze: %v", err)
			}
			eventually(t, "the end of the stalled leader", func() bool { return end(waiting.EndStalledLeader(t.Context())) })
			eventually(t, "the takeover", func() bool { return lead(waiting.TryLead(t.Context())) })
		})
	}
}

// Bad input 69: a pooler that shares sessions is detected, and the error says what to
// set.
func TestCheckListen(t *testing.T) {
	t.Parallel()

	t.Run("well", func(t *testing.T) {
		t.Parallel()
		if err := openStore(t, store.Config{URL: pgtest.New(t)}).CheckListen(t.Context()); err != nil {
			t.Errorf("check: %v, want nil", err)
		}
	})

	t.Run("notifications do not arrive", func(t *testing.T) {
		t.Parallel()
		s := openStore(t, store.Config{URL: pgtest.New(t), ListenURL: pgtest.Empty(t)}) // two databases: NOTIFY stays in one
		err := s.CheckListen(t.Context())
		if !mention(err, "LISTEN does not work", "TASKFEED_LISTEN_DATABASE_URL") {
			t.Errorf("check: %v, want an error that says what to set", err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("check: %q, want one line", err)
		}
	})

	t.Run("a pooler swallows them", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		s := openStore(t, store.Config{URL: pgtest.Through(t, url, pgtest.WithoutNotifications), ListenURL: ""})
		if err := s.CheckListen(t.Context()); !mention(err, "LISTEN does not work") {
			t.Errorf("check: %v, want an error that says that LISTEN does not work", err)
		}
		direct := openStore(t, store.Config{URL: pgtest.Through(t, url, pgtest.WithoutNotifications), ListenURL: url})
		if err := direct.CheckListen(t.Context()); err != nil {
			t.Errorf("check with a direct URL beside: %v, want nil", err)
		}
	})

	t.Run("no database", func(t *testing.T) {
		t.Parallel()
		s := openStore(t, store.Config{URL: "postgres://nobody@127.0.0.1:1/none"})
		wantCode(t, s.CheckListen(t.Context()), taskfeed.CodeUnavailable)
		wantCode(t, s.Ping(t.Context()), taskfeed.CodeUnavailable)
		_, _, _, err := s.After(t.Context(), taskfeed.Filter{All: true}, 0, 1)
		wantCode(t, err, taskfeed.CodeUnavailable)
	})
}

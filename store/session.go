package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Names of the NOTIFY channels. Payloads are empty; that of marks is in marks.go.
const (
	channelDoorbell = "taskfeed"     // a change was captured while the sequencer slept
	channelLog      = "taskfeed_log" // events were appended to the log
)

// Session is the one connection of a server that leads or follows. It is not safe for
// concurrent use. When Alive is false after an error, close the session and open
// another.
type Session struct {
	store     *Store
	conn      *pgx.Conn
	timeout   time.Duration // bounds each statement
	pages     pages
	rang      bool    // a notification came since Wait last returned
	seen      string  // snapshot of the last look that left no change behind
	noted     note    // of it
	search    search  // for changes that looks have missed
	sources   sources // what is to be done for attached tables
	stalls    stalls  // how far it has looked for stalled tasks
	notify    bool    // the doorbell is in use
	leads     bool    // it has the leader lock
	follows   bool    // it has the followers' lock
	engine    bool    // it shares the lock of those that reach the engine
	intruders locks.Watch
	worked    func() // see Watch
	log       *slog.Logger
}

// Plans must not depend on the statistics of a table that is empty at one moment and
// huge at the next. The move commits durably whatever the database's default is.
// internal/dial makes the other settings. The session of a server that is frozen ends
// when it has been silent for the stall timeout; that of a machine that is gone, when
// the kernel notices.
const sqlSessionSettings = `
SELECT set_config('application_name', '` + locks.Listener + `', false),
       set_config('enable_seqscan', 'off', false),
       set_config('max_parallel_workers_per_gather', '0', false),
       set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on' ELSE current_setting('synchronous_commit') END, false),
       set_config('idle_session_timeout', @stall, false),
       set_config('idle_in_transaction_session_timeout', @stall, false),
       set_config('tcp_keepalives_idle', '3', false),
       set_config('tcp_keepalives_interval', '1', false),
       set_config('tcp_keepalives_count', '5', false),
       set_config('tcp_user_timeout', @stall, false)`

const sqlDoorbellInUse = `SELECT current_setting('taskfeed.notify', true) IS DISTINCT FROM 'off'`

// OpenSession connects over the listen URL and prepares the session.
func (s *Store) OpenSession(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StallTimeout)
	defer cancel()
	session := &Session{store: s, worked: func() {}, timeout: s.cfg.StallTimeout, pages: defaultPages.halved(s.setbacks.Load()), seen: seenNothing, log: s.cfg.Logger}
	conn, err := dial.Connect(ctx, s.listen, func(cfg *pgx.ConnConfig) {
		cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
			session.rang = !s.notified(n.Channel, n.Payload) || session.rang
		}
		dial.Prepare(cfg) // a move is one round trip only when prepared
	})
	if err != nil {
		return nil, pg.Wrap("connect to listen", err)
	}
	session.conn = conn
	if err := session.prepare(ctx); err != nil {
		session.Close()
		return nil, pg.Wrap("prepare session", err)
	}
	return session, nil
}

func (s *Session) prepare(ctx context.Context) error {
	stall := fmt.Sprintf("%dms", s.timeout.Milliseconds())
	if _, err := s.conn.Exec(ctx, sqlSessionSettings, pgx.NamedArgs{"stall": stall}); err != nil {
		return err
	}
	if err := s.conn.QueryRow(ctx, sqlDoorbellInUse).Scan(&s.notify); err != nil {
		return err
	}
	return s.exec(ctx, "LISTEN "+channelRead)
}

// Close ends the session and with it all its locks. It waits up to a second for the
// database to end the session's statement.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // the connection is given up anyway
	select {
	case <-s.conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}

// Alive reports whether the session may still be used after an error.
func (s *Session) Alive() bool { return !s.conn.IsClosed() }

// DoorbellInUse reports whether writers ring; without it the caller polls.
func (s *Session) DoorbellInUse() bool { return s.notify }

// TryLead tries to become the one sequencer of this database.
func (s *Session) TryLead(ctx context.Context) (leads bool, err error) {
	leads, err = s.ask(ctx, "try to lead", "SELECT pg_try_advisory_lock("+locks.Leader+")")
	s.leads = leads
	return leads, err
}

// A sequencer that moves page after page has the lock most of the time, so this waits
// for it, for a moment. Only an intruder has it for longer: then the sequencer does not
// get it either, and rings as if somebody followed.
const sqlFollow = `
BEGIN;
LISTEN ` + channelLog + `;
SET LOCAL lock_timeout = '100ms';
SELECT pg_advisory_lock_shared(` + locks.Followers + `);
COMMIT`

// Follow makes the sequencer ring this session whenever it appends to the log. Call it
// again from time to time: the lock that tells the sequencer may not have been free.
func (s *Session) Follow(ctx context.Context) error {
	if s.follows {
		return nil
	}
	err := s.do(ctx, "follow the log", sqlFollow)
	if s.follows = err == nil; s.follows || !s.Alive() || !pg.IsLockTimeout(err) {
		return err
	}
	return s.do(ctx, "follow the log", "ROLLBACK; LISTEN "+channelLog)
}

// Unfollow ends Follow.
func (s *Session) Unfollow(ctx context.Context) error {
	statement := "UNLISTEN " + channelLog
	if s.follows {
		statement += "; SELECT pg_advisory_unlock_shared(" + locks.Followers + ")"
	}
	s.follows = false
	return s.do(ctx, "stop following", statement)
}

// Listen makes writers ring this session while it is armed.
func (s *Session) Listen(ctx context.Context) error {
	return s.do(ctx, "listen for changes", "LISTEN "+channelDoorbell)
}

// Arm makes every writer that begins from now on ring. It returns false while a
// transaction is open whose writer did not ring. When it returns true, all changes of
// writers that did not ring are visible: look once more, then sleep.
func (s *Session) Arm(ctx context.Context) (bool, error) {
	return s.ask(ctx, "arm the doorbell", "SELECT pg_try_advisory_lock("+locks.Doorbell+")")
}

// Disarm lets writers commit without ringing; the caller polls from now on.
func (s *Session) Disarm(ctx context.Context) error {
	return s.do(ctx, "disarm the doorbell", "SELECT pg_advisory_unlock("+locks.Doorbell+")")
}

// Wait sleeps until somebody rings or d is over, and reports which. A ring is only a
// hint: it may be forged, stale or lost.
func (s *Session) Wait(ctx context.Context, d time.Duration) (rang bool, err error) {
	if !s.rang {
		err = s.wait(ctx, d)
	}
	rang, s.rang = s.rang, false
	return rang, err
}

func (s *Session) wait(ctx context.Context, d time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := s.conn.PgConn().WaitForNotification(bounded)
	for err == nil && !s.rang { // it was about read marks
		err = s.conn.PgConn().WaitForNotification(bounded)
	}
	if err != nil && ctx.Err() == nil && bounded.Err() != nil && !s.conn.IsClosed() {
		return nil // d is over
	}
	return pg.Wrap("wait for the doorbell", err)
}

// do runs a statement, or several without arguments, and ignores the result.
func (s *Session) do(ctx context.Context, doing, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return pg.Wrap(doing, s.exec(ctx, statement))
}

// exec runs statements without arguments in the simple protocol.
func (s *Session) exec(ctx context.Context, statements string) error {
	_, err := s.conn.PgConn().Exec(ctx, statements).ReadAll()
	return err
}

// ask runs a statement that returns a boolean.
func (s *Session) ask(ctx context.Context, doing, statement string) (yes bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.conn.QueryRow(ctx, statement).Scan(&yes)
	return yes, pg.Wrap(doing, err)
}

// sqlEndStalledLeader ends a leader's session that is stuck in the middle of a
// statement, because it sends to a frozen server or waits for the rest of what that
// server sent. The timeouts of idle sessions do not apply to it.
const sqlEndStalledLeader = `
SELECT count(pg_terminate_backend(a.pid))
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid, l.objid, l.objsubid) = (1952543595, 2, 2)
  AND a.state_change < clock_timestamp() - @stall::interval
  AND a.state = 'active'
  AND a.wait_event IN ('ClientWrite', 'ClientRead')`

// EndStalledLeader ends the session of a leader whose server stopped in the middle of a
// statement and did not continue within the stall timeout. Servers that wait to lead
// call it from time to time: it reads all locks of the cluster.
func (s *Session) EndStalledLeader(ctx context.Context) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var n int
	err = s.conn.QueryRow(ctx, sqlEndStalledLeader, pgx.NamedArgs{"stall": s.timeout}).Scan(&n)
	return n > 0, pg.Wrap("look for a stalled leader", err)
}

// CheckListen checks that NOTIFY reaches a session opened over the listen URL. Behind a
// pooler that shares sessions neither NOTIFY nor advisory locks work.
func (s *Store) CheckListen(ctx context.Context) error {
	session, err := s.OpenSession(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	channel := fmt.Sprintf("taskfeed_check_%d", session.conn.PgConn().PID())
	if err := session.do(ctx, "listen", "LISTEN "+channel); err != nil {
		return err
	}
	if err := s.ring(ctx, channel); err != nil {
		return err
	}
	rang, err := session.Wait(ctx, 2*time.Second)
	if err == nil && !rang {
		err = &taskfeed.Error{Code: taskfeed.CodeInternal, Message: "LISTEN does not work through this database URL (a pooler in transaction mode?): " +
			"set TASKFEED_LISTEN_DATABASE_URL to a direct one", Err: errors.New("a NOTIFY did not arrive within 2s")}
	}
	return err
}

func (s *Store) ring(ctx context.Context, channel string) error {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	return pg.Wrap("notify", s.checks.Do(ctx, func(db pg.Conn) error {
		var nothing any
		return db.QueryRow(ctx, "SELECT pg_notify($1, '')", channel).Scan(&nothing)
	}))
}

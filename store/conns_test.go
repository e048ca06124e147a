package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
	"github.com/taskfeed/taskfeed/store/history"
)

// Bad input 134. After the type of a column had changed, each connection of the pool
// answered 500 once: "cached plan must not change result type". So did a connection
// whose prepared statements had been discarded.
func TestPlansAreMadeAnew(t *testing.T) {
	t.Parallel()
	f := setup(t)
	newWorld(t, f)
	const atOnce = 12 // more than any pool has connections
	read := func(when string) {
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				if task, err := f.history().FindTask(t.Context(), "t €"); err != nil || task.Message != "€ 2" {
					t.Errorf("%s: find: got %q, error %v", when, task.Message, err)
				}
				if events, _, _, err := f.store.After(t.Context(), taskfeed.Filter{UserID: zoe}, 0, 10); err != nil || len(events) == 0 {
					t.Errorf("%s: replay: got %d events, error %v", when, len(events), err)
				}
				if commands, err := f.store.CommandsAfter(t.Context(), 0); err != nil || len(commands) == 0 {
					t.Errorf("%s: commands: got %d, error %v", when, len(commands), err)
				}
			})
		}
		wg.Wait()
		if _, _, _, err := f.session.After(t.Context(), taskfeed.Filter{UserID: zoe}, 0, 10); err != nil {
			t.Errorf("%s: replay over the session: %v", when, err)
		}
		add(t, f.app, when)
		move(t, f.session)
	}
	if err := f.store.Command(t.Context(), taskfeed.CommandDisconnectUser, "x"); err != nil {
		t.Fatal(err)
	}
	moveAll(t, f.session)
	for range 2 {
		read("before")
		exec(t, f.app, "DELETE FROM taskfeed.tasks WHERE id = 'before'")
	}
	exec(t, f.app, "ALTER TABLE taskfeed.tasks ALTER message TYPE pg_catalog.varchar")
	exec(t, f.app, "ALTER TABLE taskfeed.events ALTER type TYPE pg_catalog.varchar")
	exec(t, f.app, "ALTER TABLE taskfeed.commands DROP CONSTRAINT kind_is_known, ALTER kind TYPE pg_catalog.varchar")
	f.app = pgtest.Connect(t, f.url) // PL/pgSQL keeps the types of a row for the rest of a session
	read("after the change")
	if _, err := f.session.Conn().PgConn().Exec(t.Context(), "DEALLOCATE ALL").ReadAll(); err != nil {
		t.Fatal(err)
	}
	read("after the discard")
}

// Bad input 135. Twelve lists that waited for an ALTER TABLE held every connection:
// replays got nothing and the server was not ready. Feeds and checks have connections
// of their own, and each list fails after the lock timeout with advice to try again.
func TestReadsThatWaitLeaveOthersTheirs(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	f := &fixture{url: url, store: openStore(t, store.Config{URL: url, LockTimeout: time.Minute}), app: pgtest.Connect(t, url)}
	f.session = openSession(t, f.store)
	newWorld(t, f)
	moveAll(t, f.session)
	exec(t, f.app, "BEGIN; LOCK TABLE taskfeed.tasks")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = f.history().ListTasks(ctx, history.TaskQuery{Limit: 10}) }) // waits until it is let go
	}
	watch := pgtest.Connect(t, url)
	eventually(t, "lists that wait", func() bool {
		return value[int](t, watch, "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") >= 5
	})
	for range 20 {
		bounded, done := context.WithTimeout(t.Context(), patience)
		if events, _, _, err := f.store.After(bounded, taskfeed.Filter{UserID: zoe}, 0, 10); err != nil || len(events) == 0 {
			t.Errorf("replay: got %d events, error %v, want some", len(events), err)
		}
		if err := f.store.Ping(bounded); err != nil {
			t.Errorf("ping: %v", err)
		}
		if _, err := f.store.Figures(bounded); err != nil {
			t.Errorf("figures: %v", err)
		}
		done()
	}
	cancel()
	wg.Wait()

	impatient := openStore(t, store.Config{URL: url, LockTimeout: 50 * time.Millisecond})
	_, err := history.New(impatient.Queries()).ListTasks(t.Context(), history.TaskQuery{Limit: 10})
	if wantCode(t, err, taskfeed.CodeUnavailable); !mention(err, "locked by another session") {
		t.Errorf("a list that meets a lock: got %v, want an error that says so", err)
	}
}

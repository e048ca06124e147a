package store_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/taskfeed/taskfeed/internal/locks"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/store"
)

// newStranger makes a role that may only connect, and returns its name. It is dropped
// when the test ends.
func newStranger(t *testing.T, f *fixture) string {
	t.Helper()
	role := strings.ToLower(fmt.Sprintf("stranger_%d_%s", pid(f.session), strings.NewReplacer("/", "_", " ", "_", ",", "_", "'", "_").Replace(t.Name())))
	role = role[:min(len(role), 60)]
	exec(t, f.app, "CREATE ROLE "+role+" LOGIN PASSWORD 'secret'")
	t.Cleanup(func() {
		conn, err := pgtest.Dial(context.Background(), f.url)
		if err == nil {
			_, _ = conn.Exec(context.Background(), "REASSIGN OWNED BY "+role+" TO CURRENT_USER; DROP OWNED BY "+role+"; DROP ROLE "+role)
			_ = conn.Close(context.Background())
		}
	})
	return role
}

// urlOf returns the URL for another role, and for another database unless that is empty.
func urlOf(t *testing.T, raw, role, database string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "secret")
	if database != "" {
		u.Path = "/" + database
	}
	q := u.Query()
	q.Del("user")
	u.RawQuery = q.Encode()
	return u.String()
}

// checkLocks looks twice: one look is not enough to report an intruder.
func checkLocks(t *testing.T, s *store.Session) (led bool, found []locks.Found) {
	t.Helper()
	for range 2 {
		seen, err := s.CheckLocks(t.Context())
		if err != nil {
			t.Fatalf("check locks: %v", err)
		}
		led, found = seen.Led, seen.Intruders
	}
	return led, found
}

// Any role that may connect can take the locks of servers: then nobody led, followed or
// migrated, and nothing reported it. Such a session is named, whatever its
// application_name, and ended.
func TestIntruders(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ take, lock string }{
		"leader":                      {"SELECT pg_advisory_lock(1952543595, 2)", "leader"},
		"leader, shared":              {"SELECT pg_advisory_lock_shared(1952543595, 2)", "leader"},
		"leader, for a transaction":   {"BEGIN; SELECT pg_advisory_xact_lock(1952543595, 2)", "leader"},
		"leader, under a false name":  {"SET application_name = 'taskfeed listener'; SELECT pg_advisory_lock(1952543595, 2)", "leader"},
		"followers":                   {"SELECT pg_advisory_lock(1952543595, 3)", "followers"},
		"followers, shared":           {"SELECT pg_advisory_lock_shared(1952543595, 3)", "followers"},
		"migration":                   {"SELECT pg_advisory_lock(1952543595, 4)", "migration"},
		"migration, under a name":     {"SET application_name = 'taskfeed migrations'; SELECT pg_advisory_lock(1952543595, 4)", "migration"},
		"doorbell":                    {"SELECT pg_advisory_lock(1952543595, 1)", "doorbell"},
		"engine":                      {"SELECT pg_advisory_lock(1952543595, 5)", "engine"},
		"engine, shared":              {"SELECT pg_advisory_lock_shared(1952543595, 5)", "engine"},
		"doorbell, shared":            {"SELECT pg_advisory_lock_shared(1952543595, 1)", "doorbell"},
		"doorbell, for a transaction": {"BEGIN; SELECT pg_advisory_xact_lock_shared(1952543595, 1)", "doorbell"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			role := newStranger(t, f)
			stranger := pgtest.Connect(t, urlOf(t, f.url, role, ""))
			if _, err := stranger.PgConn().Exec(t.Context(), c.take).ReadAll(); err != nil {
				t.Fatalf("take the lock: %v", err)
			}
			inDoctor, err := f.store.Intruders(t.Context())
			if err != nil || len(inDoctor) != 1 {
				t.Fatalf("intruders: got %v (%v), want one", inDoctor, err)
			}
			_, found := checkLocks(t, f.session)
			if len(found) != 1 || found[0].Lock != c.lock || found[0].Role != role || found[0].PID != int(stranger.PgConn().PID()) || !found[0].Has {
				t.Fatalf("found %+v, want the %s lock with role %s and session %d", found, c.lock, role, stranger.PgConn().PID())
			}
			if !strings.Contains(found[0].String(), role) || found[0].Since.IsZero() {
				t.Errorf("it says %q since %v, want the role and a time", found[0], found[0].Since)
			}
			eventually(t, "the end of the session", func() bool {
				return !value[bool](t, f.app, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", found[0].PID)
			})
			if _, found := checkLocks(t, f.session); len(found) > 0 {
				t.Errorf("after its end: found %v, want none", found)
			}
		})
	}
}

// Servers, writers and sessions with other locks are no intruders.
func TestNoIntruders(t *testing.T) {
	t.Parallel()
	f := setup(t)
	role := newStranger(t, f)
	exec(t, f.app, "SELECT taskfeed.grant_app($1)", role)
	exec(t, f.app, "GRANT CONNECT ON DATABASE postgres TO "+role)
	if leads, err := f.session.TryLead(t.Context()); err != nil || !leads {
		t.Fatalf("TryLead: got %t (%v), want true", leads, err)
	}
	if armed, err := f.session.Arm(t.Context()); err != nil || !armed {
		t.Fatalf("arm: %t (%v), want true", armed, err)
	}
	follower := openSession(t, f.store)
	if err := follower.Follow(t.Context()); err != nil {
		t.Fatalf("follow: %v", err)
	}
	if err := f.session.Disarm(t.Context()); err != nil {
		t.Fatalf("disarm: %v", err)
	}
	writer, prepared, stranger := pgtest.Connect(t, urlOf(t, f.url, role, "")), pgtest.Connect(t, urlOf(t, f.url, role, "")), pgtest.Connect(t, urlOf(t, f.url, role, ""))
	exec(t, writer, "BEGIN")
	add(t, writer, "in a transaction")
	exec(t, prepared, "BEGIN")
	add(t, prepared, "prepared")
	exec(t, prepared, "PREPARE TRANSACTION 'writer of "+role+"'")
	defer exec(t, f.app, "ROLLBACK PREPARED 'writer of "+role+"'")
	exec(t, stranger, "SELECT pg_advisory_lock((1952543595::bigint << 32) | 2), pg_advisory_lock(1952543595, 7), pg_advisory_lock(1952543596, 2)")
	elsewhere := pgtest.Connect(t, urlOf(t, f.url, role, "postgres"))
	exec(t, elsewhere, "SELECT pg_advisory_lock(1952543595, 2)")
	for who, s := range map[string]*store.Session{"leader": f.session, "follower": follower} {
		if led, found := checkLocks(t, s); !led || len(found) > 0 {
			t.Errorf("%s: led %t, found %v; want true and none", who, led, found)
		}
	}
	exec(t, writer, "ROLLBACK")
}

// Writers whose transactions are short and follow one another are no intruders either,
// however often a look meets one between two transactions.
func TestBusyWritersAreNoIntruders(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var writers sync.WaitGroup
	done := make(chan struct{})
	for i := range 6 {
		conn := pgtest.Connect(t, f.url)
		exec(t, conn, "SET synchronous_commit = off")
		id := fmt.Sprintf("busy-%d", i)
		add(t, conn, id)
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := conn.Exec(context.Background(), "UPDATE taskfeed.tasks SET progress = $2 WHERE id = $1", id, n%100); err != nil {
					t.Errorf("a writer: %v", err)
					return
				}
			}
		})
	}
	for look := range 300 {
		if seen, err := f.session.CheckLocks(t.Context()); err != nil || len(seen.Intruders) > 0 {
			t.Errorf("look %d: found %v (%v), want none", look, seen.Intruders, err)
			break
		}
	}
	close(done)
	writers.Wait()
}

// A prepared transaction has no session to end, and a session of a role that ours may
// not end continues: both are named.
func TestIntrudersThatStay(t *testing.T) {
	t.Parallel()
	f := setup(t)
	owner, role := newStranger(t, f), newStranger(t, &fixture{url: f.url, app: f.app, session: openSession(t, f.store)})
	server := openSession(t, openStore(t, store.Config{URL: urlOf(t, f.url, owner, "")}))
	stranger := pgtest.Connect(t, urlOf(t, f.url, role, ""))
	exec(t, stranger, "BEGIN; SELECT pg_advisory_xact_lock(1952543595, 2); PREPARE TRANSACTION 'it''s "+role+"'")
	defer exec(t, f.app, "ROLLBACK PREPARED 'it''s "+role+"'")
	exec(t, stranger, "SELECT pg_advisory_lock(1952543595, 3)")
	if leads, err := server.TryLead(t.Context()); err != nil || leads {
		t.Errorf("TryLead: got %t (%v), want false", leads, err)
	}
	led, found := checkLocks(t, server)
	if led || len(found) != 2 || found[0].Role != role || !strings.Contains(found[0].String(), "ROLLBACK PREPARED 'it''s "+role+"'") || found[1].Lock != "followers" {
		t.Errorf("led %t, found %v; want false, the prepared transaction and the session of %s", led, found, role)
	}
	exec(t, stranger, "SELECT 1") // it lives
	if err := server.Follow(t.Context()); err != nil || !server.Alive() {
		t.Errorf("follow: %v, want to go on without the lock", err)
	}
	exec(t, stranger, "SELECT pg_advisory_unlock(1952543595, 3)")
	if err := server.Follow(t.Context()); err != nil {
		t.Errorf("follow: %v", err)
	}
	if _, found := checkLocks(t, server); len(found) != 1 {
		t.Errorf("found %v, want only the prepared transaction: the follower has its lock", found)
	}
}

// The name of a prepared transaction can be chosen so that doctor printed lines of its
// author, and a ROLLBACK PREPARED of another name.
func TestNamesOfPreparedTransactions(t *testing.T) {
	t.Parallel()
	for i, name := range []string{`it's`, `a\b`, `a\'b`, "well: all is well\nx", "\x1b[31mred'\\", "\u009b1m", "right\u202eleft", "zoë 用户 👩", "\U000e0041'", "tab\t"} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			role := newStranger(t, f)
			name += role // is the server's alone
			quoted := `E'` + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(name) + `'`
			exec(t, pgtest.Connect(t, urlOf(t, f.url, role, "")), "BEGIN; SELECT pg_advisory_xact_lock(1952543595, 3); PREPARE TRANSACTION "+quoted)
			_, found := checkLocks(t, f.session)
			if len(found) != 1 {
				exec(t, f.app, "ROLLBACK PREPARED "+quoted)
				t.Fatalf("bad input 155: found %v, want the prepared transaction", found)
			}
			_, remedy, ok := strings.Cut(found[0].String(), "ROLLBACK")
			if !ok || strings.ContainsFunc(found[0].String(), func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("bad input 155: got %q, want what can be printed, with a remedy", found[0].String())
			}
			exec(t, f.app, "ROLLBACK"+remedy) // what is printed works
			if _, found := checkLocks(t, f.session); len(found) > 0 {
				t.Errorf("bad input 155: after the remedy: found %v, want none", found)
			}
		})
	}
}

package migrations_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/migrations"
)

// told collects the lines that a migration reports.
type told struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func (l *told) tell(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *told) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// stranger returns a connection of a role that may connect, and the role's name.
func stranger(t *testing.T, url string) (*pgx.Conn, string) {
	t.Helper()
	admin := pgtest.Connect(t, url)
	role := fmt.Sprintf("stranger_%d", admin.PgConn().PID())
	if _, err := admin.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD 'secret'"); err != nil {
		t.Fatalf("create a role: %v", err)
	}
	t.Cleanup(func() { // after its connection is closed
		again, err := pgx.ConnectConfig(context.Background(), admin.Config())
		if err == nil {
			_, err = again.Exec(context.Background(), "DROP ROLE "+role)
			_ = again.Close(context.Background())
		}
		if err != nil {
			t.Errorf("drop the role: %v", err)
		}
	})
	cfg := admin.Config().Copy()
	cfg.User, cfg.Password = role, "secret"
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatalf("connect as %s: %v", role, err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, role
}

// Any role that may connect can take the lock of migrations, and a migration waited for
// it for ever without saying so.
func TestSomebodyKeepsTheLockOfMigrations(t *testing.T) {
	t.Parallel()

	t.Run("who is no migration is ended", func(t *testing.T) {
		t.Parallel()
		url := pgtest.Empty(t)
		conn, role := stranger(t, url)
		if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(1952543595, 4)"); err != nil {
			t.Fatal(err)
		}
		var lines told
		if err := migrations.UpTelling(t.Context(), url, lines.tell); err != nil {
			t.Fatalf("up: %v, told %v", err, &lines)
		}
		if got := lines.String(); !strings.Contains(got, role) || !strings.Contains(got, "ended the session") {
			t.Errorf("told %q, want the role %s and that its session was ended", got, role)
		}
	})

	t.Run("who cannot be ended is named", func(t *testing.T) {
		t.Parallel()
		url := pgtest.Empty(t)
		conn, role := stranger(t, url)
		name := "of " + role
		if _, err := conn.PgConn().Exec(t.Context(), "BEGIN; SELECT pg_advisory_xact_lock(1952543595, 4); PREPARE TRANSACTION '"+name+"'").ReadAll(); err != nil {
			t.Fatal(err)
		}
		defer pgtest.Exec(t, url, "ROLLBACK PREPARED '"+name+"'")
		err := migrations.Up(t.Context(), url)
		if err == nil || !strings.Contains(err.Error(), role) || !strings.Contains(err.Error(), "ROLLBACK PREPARED '"+name+"'") {
			t.Errorf("up: got %v, want an error that names the role and the prepared transaction", err)
		}
	})

	t.Run("another migration is waited for", func(t *testing.T) {
		t.Parallel()
		url := pgtest.Empty(t)
		other := pgtest.Connect(t, url)
		if _, err := other.PgConn().Exec(t.Context(), "SET application_name = 'taskfeed migrations'; SELECT pg_advisory_lock(1952543595, 4)").ReadAll(); err != nil {
			t.Fatal(err)
		}
		lines := told{more: make(chan struct{}, 1)}
		done := make(chan error, 1)
		go func() { done <- migrations.UpTelling(t.Context(), url, lines.tell) }()
		select {
		case <-lines.more:
		case err := <-done:
			t.Fatalf("up ended with %v, want it to wait", err)
		}
		if got := lines.String(); !strings.Contains(got, "waiting for another migration") {
			t.Errorf("told %q, want that it waits", got)
		}
		if _, err := other.Exec(t.Context(), "SELECT pg_advisory_unlock(1952543595, 4)"); err != nil {
			t.Fatalf("the other migration: %v, want it alive", err)
		}
		if err := <-done; err != nil {
			t.Errorf("up: %v", err)
		}
	})
}

package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestServerCheck is bad input 13 for servers that are too old, and databases of
// another encoding.
func TestServerCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server server
		want   string // in the error; empty: none
	}{
		{server{140000, "14.0", "UTF8"}, ""},
		{server{180001, "18.1", "UTF8"}, ""},
		{server{130099, "13.99", "UTF8"}, "PostgreSQL 13.99 is too old: taskfeed needs version 14 or newer"},
		{server{90624, "9.6.24", "UTF8"}, "PostgreSQL 9.6.24 is too old"},
		{server{150000, "15.0", "SQL_ASCII"}, "encoding is SQL_ASCII"},
		{server{150000, "15.0", "LATIN1"}, "encoding is LATIN1"},
	} {
		err := c.server.check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: got %v, want an error that says %q", c.server, err, c.want)
		}
	}
}

func TestRetryLocked(t *testing.T) {
	t.Parallel()
	locked := fmt.Errorf("alter: %w", &pgconn.PgError{Code: "55P03", Message: "canceling statement due to lock timeout"})
	other := errors.New("disk full")
	for _, c := range []struct {
		name  string
		fails []error // one a try; after them it works
		tries int
		want  error
	}{
		{"bad input 73: no lock is in the way", nil, 1, nil},
		{"bad input 73: a lock is in the way for a while", []error{locked, locked}, 3, nil},
		{"another error ends it", []error{locked, other}, 2, other},
		{"bad input 73: a lock stays in the way", slices.Repeat([]error{locked}, 100), lockTries, locked},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := retryLocked(t.Context(), time.Second, func() error {
					tries++
					if tries <= len(c.fails) {
						return c.fails[tries-1]
					}
					return nil
				})
				if !errors.Is(err, c.want) || tries != c.tries {
					t.Errorf("got %v after %d tries, want %v after %d", err, tries, c.want, c.tries)
				}
			})
		})
	}
	t.Run("the caller gives up", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		err := retryLocked(ctx, time.Hour, func() error { cancel(stopped); return locked })
		if !errors.Is(err, stopped) || !errors.Is(err, locked) {
			t.Errorf("got %v, want %v and %v", err, stopped, locked)
		}
	})
}

package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
)

// A database that goes away while a server starts is waited for; what waiting does not
// help is not.
func TestFirstReadsWait(t *testing.T) {
	t.Parallel()
	away := &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database is not available"}
	broken := errors.New("no such column")
	for name, c := range map[string]struct {
		wait     time.Duration
		failures []error
		want     error
		tries    int
	}{
		"it is there":             {time.Minute, nil, nil, 1},
		"it is away for a moment": {time.Minute, []error{away, away, away}, nil, 4},
		"it stays away":           {1500 * time.Millisecond, []error{away, away, away, away}, away, 3},
		"nobody wants to wait":    {-1, []error{away}, away, 1},
		"waiting does not help":   {time.Minute, []error{away, broken}, broken, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &Server{cfg: Config{StartWait: c.wait, Log: slog.New(slog.DiscardHandler)}}
				tries := 0
				n, err := s.first(t.Context(), func(context.Context) (int64, error) {
					if tries++; tries <= len(c.failures) {
						return 0, c.failures[tries-1]
					}
					return 7, nil
				})
				if !errors.Is(err, c.want) || tries != c.tries || err == nil && n != 7 {
					t.Errorf("got %d, %v after %d tries, want %v after %d", n, err, tries, c.want, c.tries)
				}
			})
		})
	}
}

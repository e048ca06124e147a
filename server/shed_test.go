package server

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed/lab/locked"
)

// Connections are shed once a second while the gateway is overloaded, with one line in the
// log at the beginning and one at the end.
func TestShedWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log locked.Buffer
		var overloaded atomic.Bool
		shed := 0
		done := make(chan error)
		go func() {
			done <- shedWhile(ctx, overloaded.Load, func() int { shed += 7; return 7 }, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		for _, tt := range []struct {
			overloaded bool
			seconds    time.Duration
			shed, said int
		}{{false, 10, 0, 0}, {true, 5, 35, 1}, {false, 10, 35, 2}, {true, 2, 49, 3}} {
			overloaded.Store(tt.overloaded)
			time.Sleep(tt.seconds * time.Second)
			synctest.Wait()
			if said := strings.Count(log.String(), "\n"); shed != tt.shed || said != tt.said {
				t.Errorf("overloaded %t: %d were shed with %d lines in the log, want %d and %d:\n%s", tt.overloaded, shed, said, tt.shed, tt.said, &log)
			}
		}
		if !strings.Contains(log.String(), "connections_closed=35") {
			t.Errorf("the log is %s, want the number of connections", &log)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("returned %v, want nil", err)
		}
	})
}

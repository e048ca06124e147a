package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
)

// fakeCommandLog fails while failing is set.
type fakeCommandLog struct {
	mu       sync.Mutex
	commands []taskfeed.Command
	failing  bool
}

func (l *fakeCommandLog) change(failing bool, more ...taskfeed.Command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing = failing
	l.commands = append(l.commands, more...)
}

func (l *fakeCommandLog) CommandsAfter(_ context.Context, id int64) ([]taskfeed.Command, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing {
		return nil, errors.New("the database is away")
	}
	var after []taskfeed.Command
	for _, c := range l.commands {
		if c.ID > id {
			after = append(after, c)
		}
	}
	return after, nil
}

func TestCommandsAreObeyedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var logs bytes.Buffer
		var obeyed []string
		log := &fakeCommandLog{commands: []taskfeed.Command{{ID: 7, Kind: "old", Argument: "x"}}}
		done := make(chan error)
		go func() {
			done <- obeyCommands(ctx, log, 7, func(kind taskfeed.CommandKind, argument string) {
				obeyed = append(obeyed, fmt.Sprint(kind, " ", argument))
			}, slog.New(slog.NewTextHandler(&logs, nil)))
		}()
		pass := func(seconds int) {
			time.Sleep(time.Duration(seconds) * time.Second)
			synctest.Wait()
		}
		pass(2)
		log.change(false, taskfeed.Command{ID: 8, Kind: taskfeed.CommandDisconnectUser, Argument: "alice"})
		pass(3)
		log.change(true, taskfeed.Command{ID: 9, Kind: taskfeed.CommandDisconnectConnection, Argument: "c-1"})
		pass(3)
		if want := []string{"disconnect_user alice"}; !slices.Equal(obeyed, want) {
			t.Errorf("obeyed %q during the outage, want %q", obeyed, want)
		}
		log.change(false)
		pass(2)
		if want := []string{"disconnect_user alice", "disconnect_connection c-1"}; !slices.Equal(obeyed, want) {
			t.Errorf("obeyed %q, want %q", obeyed, want)
		}
		if got := strings.Count(logs.String(), "\n"); got != 1 {
			t.Errorf("%d lines about the outage, want 1:\n%s", got, logs.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("returned %v, want nil", err)
		}
	})
}

type fakeErasures struct{ n atomic.Int64 } // -1 fails

func (l *fakeErasures) Erasures(context.Context) (int64, error) {
	if n := l.n.Load(); n >= 0 {
		return n, nil
	}
	return 0, errors.New("the database is away")
}

// Recent events are forgotten twice after an erasure: an event may have been on its way
// the first time.
func TestErasuresAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log fakeErasures
		log.n.Store(7)
		forgotten := 0
		done := make(chan error)
		go func() { done <- watchErasures(ctx, &log, 7, func() { forgotten++ }) }()
		for _, tt := range []struct {
			n    int64
			want int
		}{{7, 0}, {8, 2}, {8, 2}, {-1, 2}, {9, 4}, {1, 6}} { // 1: of a restored database
			log.n.Store(tt.n)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if forgotten != tt.want {
				t.Errorf("after number %d recent events were forgotten %d times, want %d", tt.n, forgotten, tt.want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("returned %v, want nil", err)
		}
	})
}

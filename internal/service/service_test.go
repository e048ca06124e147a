package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

// stops records the order in which services end.
type stops struct {
	mu    sync.Mutex
	names []string
}

// until returns a service that runs until it is told to stop.
func (s *stops) until(name string) Service {
	return Service{name, func(ctx context.Context) error {
		<-ctx.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.names = append(s.names, name)
		return nil
	}}
}

func TestMain(m *testing.M) { leaktest.Main(m) }

// When one service ends, the server ends with its error. Once, the server went on without
// a failed part: http ended only on signals.
func TestRunServerEndsWithAnyService(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, failure := range []error{broken, nil} {
		var stopped stops
		err := RunServer(t.Context(), stopped.until("http").Run,
			stopped.until("listener"),
			Service{"tokens", func(context.Context) error { return failure }})
		if !errors.Is(err, failure) {
			t.Errorf("a service ended with %v: got %v", failure, err)
		}
		if failure != nil && err.Error() != "tokens: broken" {
			t.Errorf("error: got %q, want it to name the service", err)
		}
		if slices.Sort(stopped.names); !slices.Equal(stopped.names, []string{"http", "listener"}) {
			t.Errorf("stopped: got %v, want http and listener", stopped.names)
		}
	}
}

// The error of http ends the others too.
func TestRunServerEndsWithHTTP(t *testing.T) {
	t.Parallel()
	taken := errors.New("address already in use")
	var stopped stops
	err := RunServer(t.Context(), func(context.Context) error { return taken }, stopped.until("listener"))
	if !errors.Is(err, taken) || !slices.Equal(stopped.names, []string{"listener"}) {
		t.Errorf("got %v and stopped %v, want the error and listener", err, stopped.names)
	}
}

// A signal ends http first: its connections get events while they drain.
func TestRunServerDrains(t *testing.T) {
	t.Parallel()
	ctx, signal := context.WithCancel(t.Context())
	var stopped stops
	feeding := make(chan struct{})
	http := func(ctx context.Context) error {
		<-ctx.Done()
		feeding <- struct{}{} // a service that has stopped would not take it
		return stopped.until("http").Run(ctx)
	}
	feed := Service{"listener", func(ctx context.Context) error {
		signal()
		select {
		case <-feeding:
		case <-ctx.Done():
			t.Error("the listener was stopped before http had drained")
			<-feeding
		}
		return stopped.until("listener").Run(ctx)
	}}
	if err := RunServer(ctx, http, feed); err != nil {
		t.Errorf("an ordered stop: got %v, want nil", err)
	}
	if !slices.Equal(stopped.names, []string{"http", "listener"}) {
		t.Errorf("stopped: got %v, want http before listener", stopped.names)
	}
}

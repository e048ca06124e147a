package server_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
	"github.com/taskfeed/taskfeed/server"
)

// spans keeps the spans that have ended.
type spans struct {
	sdktrace.SpanProcessor
	mu    sync.Mutex
	ended []sdktrace.ReadOnlySpan
}

func (s *spans) OnEnd(span sdktrace.ReadOnlySpan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, span)
}

func (s *spans) find(is func(sdktrace.ReadOnlySpan) bool) sdktrace.ReadOnlySpan {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.ended, is); i >= 0 {
		return s.ended[i]
	}
	return nil
}

func named(name string) func(sdktrace.ReadOnlySpan) bool {
	return func(s sdktrace.ReadOnlySpan) bool { return s.Name() == name }
}

func attributeOf(s sdktrace.ReadOnlySpan, key string) attribute.Value {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value
		}
	}
	return attribute.Value{}
}

// The traces that a caller names in its header, and an app in its transaction.
const (
	traceID    = "0af7651916cd43dd8448eb211c80319c"
	appTraceID = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// Requests, moves and replays have spans; a request is in its caller's trace.
func TestTraces(t *testing.T) {
	t.Parallel()
	got := &spans{SpanProcessor: sdktrace.NewSimpleSpanProcessor(nil)}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(got))
	url := pgtest.New(t)
	m := mount(t, url, func(cfg *server.Config) { cfg.TracerProvider = provider })
	m.run()
	header := as("alice")
	header.Set("traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
	m.want("/v1/me/tasks", header, http.StatusOK, "")
	m.want("/v1/me/tasks/none", as("alice"), http.StatusNotFound, "")
	m.eventually("a request has a span in its caller's trace", func() bool {
		s := got.find(named("GET /v1/me/tasks"))
		return s != nil && s.SpanContext().TraceID().String() == traceID && s.Parent().SpanID().String() == "b7ad6b7169203331" &&
			attributeOf(s, "http.response.status_code").AsInt64() == 200
	})
	m.eventually("a route is named by its pattern", func() bool { return got.find(named("GET /v1/me/tasks/:id")) != nil })
	pgtest.Exec(t, url, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a1', 'alice')`)
	m.eventually("a move has a span", func() bool {
		s := got.find(named("move"))
		return s != nil && attributeOf(s, "taskfeed.events").AsInt64() == 1 && s.EndTime().After(s.StartTime())
	})
	pgtest.Exec(t, url, `DO $$ BEGIN
		PERFORM set_config('taskfeed.traceparent', '00-`+appTraceID+`-00f067aa0ba902b7-01', true);
		UPDATE taskfeed.tasks SET progress = 5 WHERE id = 'a1'; END $$`)
	m.eventually("an event has a span in the trace of the app, linked with its move", func() bool {
		s := got.find(named("taskfeed task_progress"))
		return s != nil && s.SpanContext().TraceID().String() == appTraceID && s.Parent().SpanID().String() == "00f067aa0ba902b7" && len(s.Links()) == 1 &&
			got.find(func(move sdktrace.ReadOnlySpan) bool {
				return move.Name() == "move" && move.SpanContext().Equal(s.Links()[0].SpanContext)
			}) != nil
	})
	stream := ssetest.Open(t, m.url+"/v1/events/stream?after=0", as("alice"))
	if f := stream.Frame(); f.Type != taskfeed.TypeTaskQueued {
		t.Fatalf("got %s, want task_queued", f.Type)
	}
	if f := stream.Frame(); f.Type != taskfeed.TypeTaskProgress || !strings.Contains(string(f.Event.Data), `"traceparent":"00-`+appTraceID) {
		t.Errorf("got %s with %s, want task_progress with the app's trace", f.Type, f.Event.Data)
	}
	m.eventually("a replay has a span", func() bool {
		return got.find(func(s sdktrace.ReadOnlySpan) bool {
			return s.Name() == "replay" && attributeOf(s, "taskfeed.events").AsInt64() == 2
		}) != nil
	})
	if s := got.find(func(s sdktrace.ReadOnlySpan) bool { return s.Name() == "GET /readyz" || s.Name() == "GET /healthz" }); s != nil {
		t.Errorf("a probe has the span %s, want none", s.Name())
	}
}

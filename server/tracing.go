package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/listener"
)

// scope names what makes the spans.
const scope = "github.com/taskfeed/taskfeed"

// fieldTraceparent is the field of an event that has the trace of the app's transaction.
const fieldTraceparent = "traceparent"

// maxTraced bounds the events of one move that get a span in the traces of apps.
const maxTraced = 64

var propagator propagation.TraceContext

// tracer makes spans of requests, moves and replays.
type tracer struct{ trace.Tracer }

// request begins the span of a request, in the trace of the caller if it names one. It
// implements httpapi.Deps.Observe.
func (t tracer) request(r *http.Request) (context.Context, func(route string, status int)) {
	ctx := propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func(route string, status int) {
		span.SetName(r.Method + " " + route)
		span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// tracedLog makes a span of each read of the log by a subscriber.
type tracedLog struct {
	hub.Log
	tracer
}

// After implements hub.Log.
func (l tracedLog) After(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (events []taskfeed.Event, through taskfeed.Cursor, more bool, err error) {
	ctx, span := l.Start(ctx, "replay", trace.WithAttributes(attribute.Int64("taskfeed.after", int64(after))))
	events, through, more, err = l.Log.After(ctx, f, after, limit)
	span.SetAttributes(attribute.Int("taskfeed.events", len(events)), attribute.Bool("taskfeed.more", more))
	fail(span, err)
	span.End()
	return events, through, more, err
}

func fail(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, string(taskfeed.CodeOf(err)))
	}
}

// tracedSession makes a span of each move that moves something or fails.
type tracedSession struct {
	listener.Session
	tracer
}

// Move implements listener.Mover.
func (s tracedSession) Move(ctx context.Context) (taskfeed.Moved, error) {
	began := time.Now()
	moved, err := s.Session.Move(ctx)
	s.moved(ctx, began, moved, err)
	return moved, err
}

// MoveBacklog implements listener.Mover.
func (s tracedSession) MoveBacklog(ctx context.Context, appended func(taskfeed.Moved) error) error {
	began := time.Now()
	return s.Session.MoveBacklog(ctx, func(m taskfeed.Moved) error {
		s.moved(ctx, began, m, nil)
		err := appended(m)
		began = time.Now()
		return err
	})
}

// moved makes the span of a move, and one for each of its events in the trace of the
// app that wrote it: from the capture to the log.
func (t tracer) moved(ctx context.Context, began time.Time, m taskfeed.Moved, err error) {
	if m.Count == 0 && (err == nil || ctx.Err() != nil) {
		return
	}
	ended := time.Now()
	_, span := t.Start(context.WithoutCancel(ctx), "move", trace.WithTimestamp(began), trace.WithAttributes(attribute.Int("taskfeed.events", m.Count)))
	traced := 0
	for _, e := range m.Events {
		of := traceOf(e)
		if !of.IsValid() || traced == maxTraced {
			continue
		}
		traced++
		span.AddLink(trace.Link{SpanContext: of})
		_, event := t.Start(trace.ContextWithRemoteSpanContext(context.WithoutCancel(ctx), of), "taskfeed "+string(e.Type), trace.WithTimestamp(e.Timestamp),
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.Link{SpanContext: span.SpanContext()}),
			trace.WithAttributes(attribute.Int64("taskfeed.event_id", int64(e.ID))))
		event.End(trace.WithTimestamp(ended))
	}
	fail(span, err)
	span.End(trace.WithTimestamp(ended))
}

// traceOf returns the trace that an event names; it is not valid when there is none.
func traceOf(e taskfeed.Event) trace.SpanContext {
	if !bytes.Contains(e.Data, []byte(`"`+fieldTraceparent+`"`)) {
		return trace.SpanContext{}
	}
	var data struct{ Traceparent string }
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return trace.SpanContext{}
	}
	ctx := propagator.Extract(context.Background(), propagation.MapCarrier{fieldTraceparent: data.Traceparent})
	return trace.SpanContextFromContext(ctx)
}

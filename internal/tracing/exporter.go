package tracing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exporter implements sdktrace.SpanExporter.
type exporter struct {
	settings
	client http.Client
	log    *slog.Logger
}

func newExporter(s settings, log *slog.Logger) *exporter {
	return &exporter{settings: s, client: http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}, log: log}
}

// ExportSpans sends a batch. It reports a failure to the log and not to the SDK, which
// would write it to the standard error.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.send(ctx, spans); err != nil {
		e.log.Warn("spans of traces are lost", "count", len(spans), "error", err)
	}
	return nil
}

func (e *exporter) send(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	body, err := json.Marshal(encode(spans))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range e.headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/json")
	w, err := e.client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(w.Body, 64<<10)) // so that the connection is kept
	if w.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", w.Status)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

// The request of OTLP in its JSON form: ids in hexadecimal, 64-bit integers as text.
type (
	request struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   attributes   `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	attributes struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Spans []span `json:"spans"`
	}
	span struct {
		TraceID    string     `json:"traceId"`
		SpanID     string     `json:"spanId"`
		ParentID   string     `json:"parentSpanId,omitempty"`
		Name       string     `json:"name"`
		Kind       int        `json:"kind"`
		Start      string     `json:"startTimeUnixNano"`
		End        string     `json:"endTimeUnixNano"`
		Attributes []keyValue `json:"attributes,omitempty"`
		Links      []link     `json:"links,omitempty"`
		Status     *status    `json:"status,omitempty"`
	}
	link struct {
		TraceID string `json:"traceId"`
		SpanID  string `json:"spanId"`
	}
	status struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
	keyValue struct {
		Key   string         `json:"key"`
		Value map[string]any `json:"value"`
	}
)

// encode puts all spans under one resource: there is one in a process.
func encode(spans []sdktrace.ReadOnlySpan) request {
	if len(spans) == 0 {
		return request{}
	}
	var scope scopeSpans
	scope.Scope.Name = spans[0].InstrumentationScope().Name
	for _, s := range spans {
		scope.Spans = append(scope.Spans, encodeSpan(s))
	}
	return request{[]resourceSpans{{attributes{encodeAttributes(spans[0].Resource().Attributes())}, []scopeSpans{scope}}}}
}

func encodeSpan(s sdktrace.ReadOnlySpan) span {
	encoded := span{
		TraceID:    s.SpanContext().TraceID().String(),
		SpanID:     s.SpanContext().SpanID().String(),
		Name:       s.Name(),
		Kind:       int(s.SpanKind()),
		Start:      nanos(s.StartTime()),
		End:        nanos(s.EndTime()),
		Attributes: encodeAttributes(s.Attributes()),
	}
	if s.Parent().IsValid() {
		encoded.ParentID = s.Parent().SpanID().String()
	}
	for _, l := range s.Links() {
		encoded.Links = append(encoded.Links, link{l.SpanContext.TraceID().String(), l.SpanContext.SpanID().String()})
	}
	if s.Status().Code == codes.Error {
		encoded.Status = &status{Code: 2, Message: s.Status().Description} // STATUS_CODE_ERROR; the SDK counts otherwise
	}
	return encoded
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func encodeAttributes(list []attribute.KeyValue) (encoded []keyValue) {
	for _, a := range list {
		var value map[string]any
		switch a.Value.Type() {
		case attribute.BOOL:
			value = map[string]any{"boolValue": a.Value.AsBool()}
		case attribute.INT64:
			value = map[string]any{"intValue": strconv.FormatInt(a.Value.AsInt64(), 10)}
		case attribute.FLOAT64:
			value = map[string]any{"doubleValue": a.Value.AsFloat64()}
		default:
			value = map[string]any{"stringValue": a.Value.String()}
		}
		encoded = append(encoded, keyValue{string(a.Key), value})
	}
	return encoded
}

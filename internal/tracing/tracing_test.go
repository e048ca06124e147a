package tracing

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// open is Open with these variables.
func open(t *testing.T, vars map[string]string, log io.Writer) (trace.Tracer, func()) {
	t.Helper()
	p, err := Open(t.Context(), func(name string) string { return vars[name] }, "1.2.3", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if p == nil {
		return nil, nil
	}
	return p.Tracer("scope"), func() {
		if err := p.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("shut down: %v", err)
		}
	}
}

// Without settings there is nothing, and wrong settings are named without their values.
func TestSettings(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, tt := range []struct {
		name string
		vars map[string]string
		url  string // "": off
		err  string
	}{
		{"nothing is set", nil, "", ""},
		{"an endpoint", map[string]string{endpoint: "http://c:4318/"}, "http://c:4318/v1/traces", ""},
		{"an endpoint of traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/x", endpoint: "http://other"}, "https://c/x", ""},
		{"an exporter", map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces", ""},
		{"no exporter", map[string]string{"OTEL_TRACES_EXPORTER": "none", endpoint: "http://c"}, "", ""},
		{"disabled", map[string]string{"OTEL_SDK_DISABLED": "TRUE", endpoint: "http://c"}, "", ""},
		{"another exporter", map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, "", "OTEL_TRACES_EXPORTER"},
		{"gRPC", map[string]string{endpoint: "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "", "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{"no URL", map[string]string{endpoint: "secret:4318"}, "", endpoint},
		{"no header", map[string]string{endpoint: "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "secret"}, "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"no time", map[string]string{endpoint: "http://c", "OTEL_EXPORTER_OTLP_TIMEOUT": "secret"}, "", "OTEL_EXPORTER_OTLP_TIMEOUT"},
	} {
		s, err := read(func(name string) string { return tt.vars[name] })
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v, want an error that names %s and no value", tt.name, err, tt.err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case s == nil && tt.url != "" || s != nil && s.url != tt.url:
			t.Errorf("%s: got %+v, want %q", tt.name, s, tt.url)
		}
	}
	if tracer, _ := open(t, nil, io.Discard); tracer != nil {
		t.Error("without settings: got a provider, want none")
	}
}

// A collector gets spans in the JSON form of OTLP.
func TestExport(t *testing.T) {
	t.Parallel()
	got := make(chan map[string]any, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("read a batch: %v", err)
		}
		if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Api-Key") != "a=b c" {
			t.Errorf("got %s with %v, want JSON with the header at /v1/traces", r.URL, r.Header)
		}
		got <- body
	}))
	defer collector.Close()
	tracer, shutdown := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%3Db%20c, "}, io.Discard)
	began := time.Unix(7, 8)
	ctx, parent := tracer.Start(t.Context(), "parent", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began),
		trace.WithAttributes(attribute.Int("n", 1<<40), attribute.Bool("yes", true), attribute.Float64("f", 0.5), attribute.String("s", "x"), attribute.StringSlice("l", []string{"a"})))
	_, child := tracer.Start(ctx, "child", trace.WithLinks(trace.Link{SpanContext: parent.SpanContext()}))
	child.SetStatus(codes.Error, "broken")
	child.End()
	parent.End(trace.WithTimestamp(began.Add(time.Second)))
	shutdown()
	batch := (<-got)["resourceSpans"].([]any)[0].(map[string]any)
	text, err := json.Marshal(batch["scopeSpans"].([]any)[0].(map[string]any)["spans"])
	if err != nil {
		t.Fatal(err)
	}
	id, spanID := parent.SpanContext().TraceID().String(), parent.SpanContext().SpanID().String()
	for _, want := range []string{
		`"name":"parent"`, `"kind":2`, `"startTimeUnixNano":"7000000008"`, `"endTimeUnixNano":"8000000008"`, `"traceId":"` + id + `"`,
		`{"key":"n","value":{"intValue":"1099511627776"}}`, `{"key":"yes","value":{"boolValue":true}}`, `{"key":"f","value":{"doubleValue":0.5}}`,
		`{"key":"s","value":{"stringValue":"x"}}`, `"parentSpanId":"` + spanID + `"`, `"links":[{"spanId":"` + spanID + `","traceId":"` + id + `"}]`,
		`"status":{"code":2,"message":"broken"}`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the batch lacks %s:\n%s", want, text)
		}
	}
	about, err := json.Marshal(batch["resource"])
	if err != nil || !bytes.Contains(about, []byte(`{"key":"service.name","value":{"stringValue":"taskfeed"}}`)) || !bytes.Contains(about, []byte("1.2.3")) {
		t.Errorf("the resource is %s (%v), want the name and version of the service", about, err)
	}
}

// A collector that refuses or is away costs spans and a line in the log, nothing else.
func TestCollectorFails(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer collector.Close()
	for _, url := range []string{collector.URL, "http://127.0.0.1:1"} {
		var log bytes.Buffer
		tracer, shutdown := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url}, &log)
		_, span := tracer.Start(t.Context(), "lost")
		span.End()
		shutdown()
		if got := log.String(); !strings.Contains(got, "spans of traces are lost") || !strings.Contains(got, "count=1") {
			t.Errorf("%s: the log is %q, want a line about one lost span", url, got)
		}
	}
}

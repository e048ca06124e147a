package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// serve sends traces where OpenTelemetry's variables say, the last ones when it ends.
func TestServeSendsTraces(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	got.Store("")
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read a batch: %v", err)
		}
		got.Store(got.Load().(string) + string(body))
	}))
	defer collector.Close()
	s := startServing(t, pgtest.New(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
	get(t, s.base+"/v1/me")
	s.Signal(syscall.SIGTERM)
	if status := s.wait(t, 20*time.Second); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	if text := got.Load().(string); !strings.Contains(text, `"name":"GET /v1/me"`) || !strings.Contains(text, `"stringValue":"taskfeed"`) {
		t.Errorf("the collector has %s, want the span of the request", text)
	}
	if status, _, stderr := try(t, []string{"DATABASE_URL=postgres://x", "TASKFEED_JWT_SECRET=" + testSecret, "OTEL_TRACES_EXPORTER=zipkin"}, "serve"); status != 2 || !strings.Contains(stderr, "OTEL_TRACES_EXPORTER") {
		t.Errorf("a wrong setting: status %d and %q, want 2 and its name", status, stderr)
	}
}

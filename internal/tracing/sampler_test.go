package tracing

import (
	"log/slog"
	"strings"
	"testing"
)

// The SDK takes every trace where it does not understand the sampler: that is refused.
func TestSampler(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sampler, arg, want string }{
		{"", "", ""}, {"always_off", "abc", ""}, {"traceidratio", "0.01", ""}, {" ParentBased_TraceIDRatio ", "1", ""}, {"traceidratio", "", ""},
		{"sometimes", "", "OTEL_TRACES_SAMPLER: "}, {"jaeger_remote", "", "OTEL_TRACES_SAMPLER: "},
		{"traceidratio", "abc", "OTEL_TRACES_SAMPLER_ARG: "}, {"parentbased_traceidratio", "7", "OTEL_TRACES_SAMPLER_ARG: "},
		{"traceidratio", "-0.1", "OTEL_TRACES_SAMPLER_ARG: "}, {"traceidratio", "NaN", "OTEL_TRACES_SAMPLER_ARG: "},
	} {
		env := map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": c.sampler, "OTEL_TRACES_SAMPLER_ARG": c.arg}
		provider, err := Open(t.Context(), func(name string) string { return env[name] }, "", slog.New(slog.DiscardHandler))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%q with %q: %v, want %q", c.sampler, c.arg, err, c.want)
		}
		if provider != nil {
			_ = provider.Shutdown(t.Context())
		}
	}
}

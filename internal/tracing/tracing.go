// Package tracing sends OpenTelemetry traces as the environment says, by the names that
// OpenTelemetry gives to its variables. Without these it does nothing.
//
// The exporter speaks OTLP over HTTP in JSON, which every collector takes at the same
// URL as protobuf. The SDK's own exporter brings protobuf and gRPC, a third of the
// program. A batch that cannot be delivered is lost, and the log says so.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	defaultEndpoint = "http://localhost:4318"
	defaultTimeout  = 10 * time.Second
	tracesPath      = "/v1/traces"
)

// settings are where and how spans are sent.
type settings struct {
	url     string
	headers map[string]string
	timeout time.Duration
}

// Open returns a provider of tracers, or nil when the environment asks for none. The
// caller shuts it down, which sends what is left.
//
// Beside the variables of the exporter that are read here, the SDK reads those of the
// resource (OTEL_SERVICE_NAME), the sampler (OTEL_TRACES_SAMPLER), the batches
// (OTEL_BSP_…) and the limits of spans.
func Open(ctx context.Context, env func(string) string, version string, log *slog.Logger) (*sdktrace.TracerProvider, error) {
	s, err := read(env)
	if err != nil || s == nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "taskfeed"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(newExporter(*s, log)), sdktrace.WithResource(about)), nil
}

// samplers are the names of samplers that the SDK knows, and whether they take a ratio.
var samplers = map[string]bool{
	"always_on": false, "always_off": false, "traceidratio": true,
	"parentbased_always_on": false, "parentbased_always_off": false, "parentbased_traceidratio": true,
}

// checkSampler refuses what the SDK would take for all traces.
func checkSampler(env func(string) string) error {
	name := strings.ToLower(strings.TrimSpace(env("OTEL_TRACES_SAMPLER")))
	ratio, known := samplers[name]
	if name != "" && !known {
		return fmt.Errorf("OTEL_TRACES_SAMPLER: %q is no sampler; use one of %s", name, strings.Join(slices.Sorted(maps.Keys(samplers)), ", "))
	}
	text := strings.TrimSpace(env("OTEL_TRACES_SAMPLER_ARG"))
	if r, err := strconv.ParseFloat(text, 64); ratio && text != "" && (err != nil || !(r >= 0 && r <= 1)) {
		return errors.New("OTEL_TRACES_SAMPLER_ARG: it must be a ratio from 0 to 1")
	}
	return nil
}

// read returns nil when no traces are to be sent.
func read(env func(string) string) (*settings, error) {
	first := func(name string) string {
		if text := env("OTEL_EXPORTER_OTLP_TRACES_" + name); text != "" {
			return text
		}
		return env("OTEL_EXPORTER_OTLP_" + name)
	}
	exporter := env("OTEL_TRACES_EXPORTER")
	switch {
	case strings.EqualFold(env("OTEL_SDK_DISABLED"), "true"), exporter == "none", exporter == "" && first("ENDPOINT") == "":
		return nil, nil
	case exporter != "" && exporter != "otlp":
		return nil, errors.New("OTEL_TRACES_EXPORTER: only otlp and none are known")
	case first("PROTOCOL") == "grpc":
		return nil, errors.New("OTEL_EXPORTER_OTLP_PROTOCOL: grpc is not spoken; use http/json, at port 4318 of most collectors")
	}
	if err := checkSampler(env); err != nil {
		return nil, err
	}
	s := &settings{timeout: defaultTimeout}
	var err error
	if s.url, err = endpoint(env); err != nil {
		return nil, err
	}
	if s.headers, err = headers(first("HEADERS")); err != nil {
		return nil, err
	}
	if text := first("TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms <= 0 {
			return nil, errors.New("OTEL_EXPORTER_OTLP_TIMEOUT: it must be a number of milliseconds")
		}
		s.timeout = time.Duration(ms) * time.Millisecond
	}
	return s, nil
}

// endpoint returns the URL to send to. Only the general variable gets the path.
func endpoint(env func(string) string) (string, error) {
	name, path := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""
	text := env(name)
	if text == "" {
		name, path = "OTEL_EXPORTER_OTLP_ENDPOINT", tracesPath
		if text = env(name); text == "" {
			text = defaultEndpoint
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%s: it must be a URL such as %s", name, defaultEndpoint)
	}
	return strings.TrimSuffix(text, "/") + path, nil
}

// headers reads a list such as "api-key=secret,other=value". Values are escaped as in
// URLs. The error repeats nothing, because a value may be a secret.
func headers(list string) (map[string]string, error) {
	found := make(map[string]string)
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		text, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || strings.TrimSpace(name) == "" {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: it must be a list such as name=value,other=value")
		}
		found[strings.TrimSpace(name)] = text
	}
	return found, nil
}

package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/store"
)

// written returns the duration in a file that the pattern's group matches, as it is
// written in Go, TypeScript, a Dockerfile or a proxy's configuration.
func written(t *testing.T, file, pattern string) time.Duration {
	t.Helper()
	text, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has nothing like %s: the list of bounds must follow", file, pattern)
	}
	value := strings.NewReplacer(" * time.Second", "s", "*time.Second", "s", "_", "").Replace(string(m[1]))
	if !strings.HasSuffix(value, "s") {
		value += "ms"
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return d
}

// TestBoundsOfLayers: each layer must wait longer than the layer below takes to fail
// with an error. Once, the store and net/http both gave up after 30 s, so the advice to
// narrow the filter never arrived, and the console gave up after 15 s.
func TestBoundsOfLayers(t *testing.T) {
	t.Parallel()
	var cfg config
	if err := newSettings(cfg.serveSettings()).read(func(name string) string {
		return map[string]string{"DATABASE_URL": "postgres://x", "TASKFEED_JWT_SECRET": testSecret}[name]
	}); err != nil {
		t.Fatal(err)
	}
	if err := cfg.finish(); err != nil {
		t.Fatal(err)
	}
	b := cfg.http.Bounds()
	if b.Read != store.DefaultReadTimeout {
		t.Errorf("handlers count on reads of %v, the store allows %v; want the same", b.Read, store.DefaultReadTimeout)
	}
	verify := written(t, "httpapi/config.go", `fill\(&c\.VerifyTimeout, (5\*time\.Second)\)`)
	type bound struct {
		what string
		d    time.Duration
	}
	api := bound{"the first byte of an answer", b.Answer}
	stop := bound{"a shutdown", cfg.http.DrainDelay + cfg.http.Drain + closeTime + time.Second}
	compose := written(t, "docker-compose.yml", `timeout: (5s)\n      start_period`)
	for _, pair := range [][2]bound{
		{{"a read", b.Read}, {"its handler", b.Handle}},
		{{"a handler", b.Handle}, {"the first byte", b.Answer}},
		{api, {"net/http's deadline", b.Write}},
		{api, {"a command's patience", apiTimeout}},
		{api, {"the console's patience", written(t, "web/console/src/api.ts", `timeout = ([\d_]+);`)}},
		{api, {"the usual proxy's patience", usualIdleCut}},
		{api, {"nginx as documented", written(t, "docs/OPERATIONS.md", `proxy_read_timeout (\d+s);`)}},
		{{"a fetch of the key set", written(t, "auth/jwks.go", `fetchTimeout += (\d+ \* time\.Second)`)}, {"the check of a token", verify}},
		{{"the check of a token", verify}, {"the Go client's handshake", written(t, "client/session.go", `handshakeTimeout = (\d+ \* time\.Second)`)}},
		{{"a ping, written late", cfg.http.PingInterval + cfg.http.WriteTimeout}, {"the Go client's patience", written(t, "client/config.go", `PeerTimeout = (\d+ \* time\.Second)`)}},
		{{"a ping and its pong", cfg.http.PingInterval + cfg.http.PongTimeout}, {"the usual proxy's patience", usualIdleCut}},
		{{"a comment, written late", cfg.http.CommentInterval + cfg.http.WriteTimeout}, {"the usual proxy's patience", usualIdleCut}},
		{{"the checks of /readyz", written(t, "httpapi/health.go", `checkTimeout = (\d+ \* time\.Second)`)}, {"who asks for them", 4 * time.Second}},
		{{"taskfeed healthcheck", written(t, "cmd/taskfeed/small.go", `WithTimeout\(ctx, (\d+\*time\.Second)\)`)}, {"the image's HEALTHCHECK", written(t, "Dockerfile", `--timeout=(\d+s)`)}},
		{{"taskfeed healthcheck", written(t, "cmd/taskfeed/small.go", `WithTimeout\(ctx, (\d+\*time\.Second)\)`)}, {"compose", compose}},
		{stop, {"the usual supervisor", usualStopWait}},
		{stop, {"compose", written(t, "docker-compose.yml", `stop_grace_period: (\d+s)`)}},
		{{"a read of the store", store.DefaultReadTimeout}, {"an export in all", 30 * time.Minute}},
	} {
		if inner, outer := pair[0], pair[1]; inner.d <= 0 || inner.d >= outer.d {
			t.Errorf("%s may take %v, %s waits for %v; want it to wait longer", inner.what, inner.d, outer.what, outer.d)
		}
	}
	for _, d := range []time.Duration{time.Second, time.Minute} { // whatever is set, by construction
		b := httpapi.Config{ReadTimeout: d, VerifyTimeout: 3 * d, QueueTimeout: d, WriteTimeout: d}.Bounds()
		if b.Read >= b.Handle || b.Handle >= b.Answer || b.Answer >= b.Write {
			t.Errorf("bounds %+v, want each above the one before", b)
		}
	}
}

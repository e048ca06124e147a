package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// startGateway starts a gateway and waits until it is ready.
func startGateway(t *testing.T, env ...string) *serving {
	t.Helper()
	port := freePort(t)
	env = append([]string{"TASKFEED_JWT_SECRET=" + testSecret, "TASKFEED_ADDR=127.0.0.1", "PORT=" + port, "TASKFEED_DRAIN=1s"}, env...)
	g := &serving{start(t, env, "gateway"), "http://127.0.0.1:" + port}
	eventually(t, "the gateway is ready", 30*time.Second, func() bool {
		status, _ := get(t, g.base+"/readyz")
		return status == http.StatusOK
	})
	return g
}

// metric returns the line of a metric without labels, or with them in the name.
func (s *serving) metric(t *testing.T, name string) string {
	t.Helper()
	status, body := get(t, s.base+"/metrics")
	for until := time.Now().Add(10 * time.Second); status == 0 && time.Now().Before(until); { // a busy machine
		status, body = get(t, s.base+"/metrics")
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Users of gateways get what users of a server with the database get, and move between
// them, also while the engine and a core die.
func TestGateway(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, permissions(t))
	as := func(user string) []string { return asEngine(nats, user) }
	db := pgtest.New(t)
	first, second := startServing(t, db, as("core")...), startServing(t, db, as("core")...)
	one, two := startGateway(t, as("gateway")...), startGateway(t, as("gateway")...)

	made := 0
	add := func(n int) {
		for range n {
			made++
			pgtest.Exec(t, db, fmt.Sprintf("INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a%d', 'alice'), ('b%d', 'bob')", made, made))
		}
	}
	cursor := taskfeed.Cursor(0)
	read := func(conn *websocket.Conn, from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			f := nextFrame(t, conn)
			if f.Type == taskfeed.TypeFeedLive {
				f = nextFrame(t, conn)
			}
			if f.Event.TaskID != fmt.Sprint("a", i) {
				t.Fatalf("got %s of %s, want task a%d", f.Type, f.Event.TaskID, i)
			}
			cursor = f.Event.ID
		}
	}
	live := dialPlain(t, one, "alice")
	add(3)
	read(live, 1, 3)
	if asked := one.metric(t, "taskfeed_relay_gap_events_total"); asked != "0" {
		t.Errorf("the gateway asked for %s events, want all of them published", asked)
	}
	live.Close()

	add(2)
	moved := dialPlain(t, two, "alice", "after="+cursor.String())
	read(moved, 4, 5)

	leader, other := first, second
	if !leader.leads(t) {
		leader, other = second, first
	}
	leader.Kill()
	add(2)
	read(moved, 6, 7)
	if !other.leads(t) {
		t.Error("the other core does not lead")
	}

	nats.Kill()
	add(2)
	if status, body := get(t, two.base+"/readyz?verbose"); status != http.StatusOK {
		t.Errorf("without the engine: /readyz is %d %s, want 200: others are not better off", status, body)
	}
	nats.Start(t)
	add(1)
	read(moved, 8, 10)

	t.Run("a replay from the beginning is asked of the core", func(t *testing.T) {
		read(dialPlain(t, one, "alice", "after=0"), 1, 10)
	})
	t.Run("an admin's command reaches gateways", func(t *testing.T) { kicked(t, other, moved) })
	t.Run("metrics are documented", func(t *testing.T) { documentedMetrics(t, other, two) })
	t.Run("nothing was refused by the engine", func(t *testing.T) {
		for _, s := range []*serving{other, one, two} {
			if got := s.metric(t, `taskfeed_engine_errors_total{kind="other"}`); got != "0" {
				t.Errorf("faults of the engine: %s, want none: permissions are as documented", got)
			}
		}
	})
	t.Run("what a gateway does not have is named", func(t *testing.T) { notHere(t, one) })
}

// permissions returns the configuration of NATS that docs/SCALING.md shows.
func permissions(t *testing.T) string {
	t.Helper()
	_, text, _ := strings.Cut(doctest.Section(t, "docs/SCALING.md", "Set up"), "authorization {")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("docs/SCALING.md shows no permissions")
	}
	return "authorization {" + strings.NewReplacer("$CORE_PASSWORD", "core-password", "$GATEWAY_PASSWORD", "gateway-password").Replace(text)
}

// The metrics of docs/SCALING.md are those that cores and gateways have.
func documentedMetrics(t *testing.T, core, gateway *serving) {
	for on, s := range map[string]*serving{"core": core, "gateway": gateway} {
		var documented []string
		for _, cells := range doctest.Rows(doctest.Section(t, "docs/SCALING.md", "Metrics")) {
			if len(cells) == 3 && (cells[1] == on || cells[1] == "both") {
				documented = append(documented, strings.Trim(cells[0], "`"))
			}
		}
		_, body := get(t, s.base+"/metrics")
		doctest.Same(t, "metrics of a "+on+" in docs/SCALING.md", documented, doctest.Submatches(`(?m)^# TYPE (taskfeed_(?:relay|engine)_\w+) `, body))
	}
}

func kicked(t *testing.T, core *serving, conn *websocket.Conn) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, core.base+"/v1/users/alice/connections", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testTokenWithRole(t, "root", "admin"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, _, err := conn.ReadMessage(); res.StatusCode != http.StatusAccepted || !websocket.IsCloseError(err, taskfeed.CloseDisconnected) {
		t.Errorf("got %d and %v, want 202 and close code %d", res.StatusCode, err, taskfeed.CloseDisconnected)
	}
}

func notHere(t *testing.T, gateway *serving) {
	for _, path := range []string{"/v1/tasks", "/v1/me/events", "/console", "/", "/v1/sources"} {
		if status, body := get(t, gateway.base+path); status != http.StatusNotFound || !strings.Contains(body, "core servers") {
			t.Errorf("%s: got %d %s, want 404 that names the cores", path, status, body)
		}
	}
	for _, path := range []string{"/healthz", "/health/websockets", "/sdk/taskfeed.js"} {
		if status, body := get(t, gateway.base+path); status != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", path, status, body)
		}
	}
}

// Wrong settings of a gateway, DATABASE_URL among them (bad input 176), are refused with
// what to do, and without secrets.
func TestGatewaySettings(t *testing.T) {
	t.Parallel()
	const secret = "S3cretPass"
	noKey := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(noKey, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, env := range map[string][]string{
		"TASKFEED_ENGINE_URL: it is missing":                        {},
		"TASKFEED_ENGINE_URL: must be URLs of NATS servers":         {"TASKFEED_ENGINE_URL=http://u:" + secret + "@a:4222"},
		"DATABASE_URL: a gateway has no database":                   {"TASKFEED_ENGINE_URL=nats://a:4222", "DATABASE_URL=postgres://u:" + secret + "@h/db"},
		"TASKFEED_ENGINE_PREFIX: must be":                           {"TASKFEED_ENGINE_URL=nats://a:4222", "TASKFEED_ENGINE_PREFIX=a.b"},
		"TASKFEED_ENGINE_CERT_FILE: it needs":                       {"TASKFEED_ENGINE_URL=nats://a:4222", "TASKFEED_ENGINE_CERT_FILE=/c.pem"},
		"TASKFEED_ENGINE_CA_FILE: the file cannot be read":          {"TASKFEED_ENGINE_URL=tls://a:4222", "TASKFEED_ENGINE_CA_FILE=/nowhere"},
		"TASKFEED_ENGINE_CA_FILE: the file has no certificates":     {"TASKFEED_ENGINE_URL=tls://a:4222", "TASKFEED_ENGINE_CA_FILE=" + noKey},
		"TASKFEED_ENGINE_CERT_FILE: it and TASKFEED_ENGINE_KEY":     {"TASKFEED_ENGINE_URL=tls://a:4222", "TASKFEED_ENGINE_CERT_FILE=" + noKey, "TASKFEED_ENGINE_KEY_FILE=" + noKey},
		"TASKFEED_ENGINE_CREDENTIALS_FILE: the file has no cred":    {"TASKFEED_ENGINE_URL=tls://a:4222", "TASKFEED_ENGINE_CREDENTIALS_FILE=" + noKey},
		"TASKFEED_ENGINE_CREDENTIALS_FILE: the file cannot be read": {"TASKFEED_ENGINE_URL=tls://a:4222", "TASKFEED_ENGINE_CREDENTIALS_FILE=/nowhere"},
		"TASKFEED_ENGINE_CREDENTIALS_FILE: set it, or user":         {"TASKFEED_ENGINE_URL=nats://a:4222", "TASKFEED_ENGINE_CREDENTIALS_FILE=/c", "TASKFEED_ENGINE_USER=u"},
		"every user of this machine can read a secret on a command": {"--engine-url=nats://u:" + secret + "@a:4222"},
	} {
		args := []string{"gateway"}
		environ := []string{"TASKFEED_JWT_SECRET=" + testSecret}
		for _, e := range env {
			if strings.HasPrefix(e, "--") {
				args = append(args, e)
			} else {
				environ = append(environ, e)
			}
		}
		var errs bytes.Buffer
		status := cli.Run(t.Context(), rootCommand, args, slices.Clone(environ), io.Discard, &errs)
		if status != 2 || !strings.Contains(errs.String(), want) || strings.Contains(errs.String(), secret) {
			t.Errorf("%v: exit status %d, %s, want 2 and %q", env, status, &errs, want)
		}
	}
}

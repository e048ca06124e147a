package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

const testWebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hooks is an endpoint that takes events unless it is told to refuse.
type hooks struct {
	*httptest.Server
	mu     sync.Mutex
	refuse bool
	bodies []string
}

func newHooks(t *testing.T) *hooks {
	h := &hooks{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.refuse {
			w.WriteHeader(http.StatusConflict)
			return
		}
		h.bodies = append(h.bodies, string(body))
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) took(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(strings.Join(h.bodies, "\n"), text)
}

func (h *hooks) setRefuse(refuse bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = refuse
}

// The command runs beside a server, ends in order, and goes on where it was. What the
// endpoint refuses is listed and sent again.
func TestForwardCommand(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	startServing(t, dbURL, "TASKFEED_FORWARD_NAME=crm") // not unknown to it
	to := newHooks(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(testWebhookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"DATABASE_URL=" + dbURL, "TASKFEED_FORWARD_SECRET_FILE=" + secret, "TASKFEED_FORWARD_NAME=crm", "TASKFEED_FORWARD_TO=" + to.URL + "/?key=S3cret", "NO_COLOR=1"}
	run := func(args ...string) *process {
		return start(t, env, append([]string{"forward", "--allow-private", "--after", "0"}, args...)...)
	}
	first := run()
	pgtest.Exec(t, dbURL, `SELECT taskfeed.notify('alice', 'first')`)
	eventually(t, "the first event arrives", 30*time.Second, func() bool { return to.took(`"type":"first","timestamp"`) })
	first.Signal(syscall.SIGTERM)
	if status := first.wait(t, 30*time.Second); status != 0 {
		t.Errorf("after SIGTERM: got status %d, want 0", status)
	}
	to.setRefuse(true)
	second := run("--give-up-after", "1s")
	pgtest.Exec(t, dbURL, `SELECT taskfeed.notify('alice', 'second', '{"a": "b"}')`)
	eventually(t, "the second event is a failure", 30*time.Second, func() bool {
		return strings.Contains(runCLI(t, env, "forward", "failures").stdout, "alice  second  ")
	})
	listed := runCLI(t, env, "forward", "failures", "--output", "ndjson")
	listed.expect(t, 0, "")
	if !strings.Contains(listed.stdout, `"user_id":"alice","type":"second"`) || !strings.Contains(listed.stdout, `"body":{"type":"second",`) {
		t.Errorf("ndjson: got %s", listed.stdout)
	}
	runCLI(t, env, "forward", "retry", "--allow-private").expect(t, 1, "the endpoint did not take all of them")
	to.setRefuse(false)
	runCLI(t, env, "forward", "retry", "--allow-private").expect(t, 0, "")
	if !to.took(`"type":"second","timestamp"`) {
		t.Error("the second event was not sent again")
	}
	if got := runCLI(t, env, "forward", "failures"); got.status != 0 || got.stdout != "" {
		t.Errorf("at the end: got status %d and %q, want no failure", got.status, got.stdout)
	}
	runCLI(t, env, "forward", "delete", "--yes").expect(t, 1, "a process forwards under this name")
	second.Signal(syscall.SIGTERM)
	second.wait(t, 30*time.Second)
	runCLI(t, env, "forward", "delete", "--yes").expect(t, 0, "")
	runCLI(t, env, "forward", "delete", "--yes").expect(t, 1, "there is no forward of this name")
	for _, p := range []*process{first, second} {
		if log := p.stderr.String(); strings.Contains(log, "whsec_") || strings.Contains(log, "S3cret") || strings.Contains(log, "MfKQ9r8") {
			t.Errorf("the log has a secret:\n%s", log)
		}
	}
}

func TestForwardRefusals(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=postgres://127.0.0.1:1/x", "TASKFEED_FORWARD_SECRET=" + testWebhookSecret}
	good := []string{"forward", "--name", "crm", "--to", "https://example.com/"}
	for _, tt := range []struct {
		env, args []string
		want      string
	}{
		{env, []string{"forward", "--to", "https://example.com/"}, "--name: the name must have 1 to 64 characters"},
		{env, []string{"forward", "--name", "crm"}, "--to: it is missing"},
		{env, []string{"forward", "--name", "crm", "--to", "http://example.com/"}, "the URL must begin with https"},
		{env, []string{"forward", "--name", "crm", "--to", "https://10.0.0.1/"}, "not public"},
		{env[:1], good, "TASKFEED_FORWARD_SECRET: it is missing"},
		{env[1:], good, "DATABASE_URL: it is missing"},
		{append(env[:1:1], "TASKFEED_FORWARD_SECRET=x"), good, `TASKFEED_FORWARD_SECRET: must be "whsec_"`},
		{env, append(good, "--secret", testWebhookSecret), "every user of this machine can read a secret on a command line"},
		{env, append(good, "--after", "x"), "--after: "},
		{env, append(good, "--types", "a b"), "is no type of events"},
		{env, append(good, "--give-up-after", "0s"), "--give-up-after: must be a duration"},
		{env, []string{"forward", "failures", "--name", "crm", "--output", "x"}, "--output: must be table or ndjson"},
		{env, []string{"forward", "delete", "--name", "crm"}, "confirm with --yes"},
	} {
		r := runCLI(t, tt.env, tt.args...)
		r.expect(t, 2, tt.want)
		if strings.Contains(r.stderr, "MfKQ9r8") {
			t.Errorf("%q shows the secret: %s", tt.args, r.stderr)
		}
	}
}

func TestDocumentedForwardSettings(t *testing.T) {
	t.Parallel()
	var documented, real []string
	for _, cells := range doctest.Rows(doctest.Section(t, "docs/WEBHOOKS.md", "Settings")) {
		documented = append(documented, strings.Join(cells, " | "))
	}
	var o forwardOptions
	for _, s := range o.settings() {
		if !strings.HasPrefix(s.env, "TASKFEED_FORWARD_") {
			continue // those of servers too
		}
		flag, byDef := "`--"+s.flag()+"`", "–"
		if s.private("") {
			flag = "–"
		}
		if s.byDef != "" {
			byDef = "`" + s.byDef + "`"
		}
		real = append(real, strings.Join([]string{"`" + s.env + "`", flag, byDef, s.usage}, " | "))
	}
	doctest.Same(t, "settings in docs/WEBHOOKS.md", documented, real)
}

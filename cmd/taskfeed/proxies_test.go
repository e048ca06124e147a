package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
)

// proxyRecipe is a file of deploy/proxies, with what has to change for it to run here.
type proxyRecipe struct {
	file    string
	find    func() (program string, err error)
	changes func(port, upstream string) map[string]string // each stands in the file once
	args    []string                                      // before the path of the file
}

var proxyRecipes = map[string]proxyRecipe{
	"HAProxy": {
		file: "haproxy.cfg",
		find: func() (string, error) {
			out, err := exec.Command(top+"/web/browser/setup", "haproxy").Output()
			return strings.TrimSpace(string(out)), err
		},
		changes: func(port, upstream string) map[string]string {
			return map[string]string{
				"bind :443 ssl crt /etc/haproxy/feed.example.com.pem": "bind 127.0.0.1:" + port,
				"server one 10.0.0.11:8080":                           "server one 127.0.0.1:" + upstream,
				"    server two 10.0.0.12:8080\n":                     "",
			}
		},
		args: []string{"-db", "-f"},
	},
	"Caddy": {
		file: "Caddyfile",
		find: func() (string, error) { return exec.LookPath("caddy") },
		changes: func(port, upstream string) map[string]string {
			return map[string]string{
				"feed.example.com {":                            "{\n\tadmin off\n}\nhttp://127.0.0.1:" + port + " {",
				"reverse_proxy 10.0.0.11:8080 10.0.0.12:8080 {": "reverse_proxy 127.0.0.1:" + upstream + " {",
				"\t\tstream_close_delay 1m   # a reload of the configuration does not cut everybody at once; needs Caddy 2.7\n": "", // not in Debian's 2.6
			}
		},
		args: []string{"run", "--adapter", "caddyfile", "--config"},
	},
}

// Real proxies with the recipes of the guide, in front of a real server. nginx is
// tested with a browser, in web/browser.
func TestProxies(t *testing.T) {
	t.Parallel()
	for name, recipe := range proxyRecipes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, err := recipe.find()
			if err != nil {
				t.Skipf("there is no %s on this machine", name)
			}
			url := pgtest.New(t)
			s := startServing(t, url, "TASKFEED_TRUSTED_PROXIES=127.0.0.1")
			behind := *s
			behind.base = startProxy(t, s, program, recipe)
			testBehindProxy(t, &behind, url)
		})
	}
}

// startProxy returns the base URL of the proxy.
func startProxy(t *testing.T, s *serving, program string, recipe proxyRecipe) string {
	t.Helper()
	port, upstream := freePort(t), s.base[strings.LastIndex(s.base, ":")+1:]
	text := doctest.Read(t, "deploy/proxies/"+recipe.file)
	for from, to := range recipe.changes(port, upstream) {
		if n := strings.Count(text, from); n != 1 {
			t.Fatalf("%s has %q %d times, want it once", recipe.file, from, n)
		}
		text = strings.Replace(text, from, to, 1)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, recipe.file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &locked.Buffer{}
	cmd := exec.Command(program, append(recipe.args, path)...)
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = log, log
	proc.Attach(cmd, syscall.SIGKILL)
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", program, log)
		}
	})
	base := "http://127.0.0.1:" + port
	eventually(t, program+" passes requests on", 20*time.Second, func() bool {
		if p.Ended() {
			t.Fatalf("%s ended: %s\n%s", program, p.Exit(), log)
		}
		status, _ := get(t, base+"/v1/me/tasks")
		return status == http.StatusUnauthorized
	})
	return base
}

func testBehindProxy(t *testing.T, s *serving, databaseURL string) {
	t.Helper()
	for _, path := range []string{"/metrics", "/readyz", "/readyz?verbose", "/healthz", "/health/websockets", "//metrics", "/%6detrics", "/v1/../metrics", "/metrics/"} {
		if status, body := get(t, s.base+path); status < 400 || status >= 500 || strings.Contains(body, "taskfeed_") {
			t.Errorf("%s: got status %d, want it kept from the public", path, status)
		}
	}
	conn := dialPlain(t, s, "alice")
	bearer := http.Header{"Authorization": {"Bearer " + testToken(t, "alice")}}
	stream := ssetest.Open(t, s.base+"/v1/events/stream", bearer)
	stream.ExpectLive(0)
	for i := range 3 { // one at a time: a proxy that buffers shows none until there are more
		pgtest.Exec(t, databaseURL, fmt.Sprintf("INSERT INTO taskfeed.tasks (id, user_id) VALUES ('a/%d', 'alice')", i))
		want := "a/" + strconv.Itoa(i)
		if f := nextFrame(t, conn); f.Type != taskfeed.TypeTaskQueued || f.Event.TaskID != want {
			t.Errorf("WebSocket: got %s of task %q, want task_queued of %q", f.Type, f.Event.TaskID, want)
		}
		if f := stream.Frame(); f.Type != taskfeed.TypeTaskQueued || f.Event.TaskID != want {
			t.Errorf("stream: got %s of task %q, want task_queued of %q", f.Type, f.Event.TaskID, want)
		}
	}
	from := "127.0.0.1"
	if runtime.GOOS == "linux" {
		from = "127.0.0.2"
	}
	if got := getFrom(t, from, s.base+"/v1/me/tasks/a%2F1", bearer); got != http.StatusOK {
		t.Errorf("a task with a slash in its id: got status %d, want 200", got)
	}
	eventually(t, "the log has the client's address", 10*time.Second, func() bool {
		return strings.Contains(s.stderr.String(), `"remote_addr":"`+from+`"`)
	})
	s.Signal(syscall.SIGTERM)
	_ = conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
		t.Errorf("connection at the server's end: got %v, want close code 1012", err)
	}
}

// getFrom asks from an address that is not the proxy's.
func getFrom(t *testing.T, from, url string, header http.Header) int {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// notifySocket is the end that systemd listens on.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir may be longer than an address can be
	if err != nil {
		t.Fatalf("make a directory: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket
}

// told waits for the next message, and returns "" when there is none in time.
func told(t *testing.T, socket *net.UnixConn, bound time.Duration) string {
	t.Helper()
	_ = socket.SetReadDeadline(time.Now().Add(bound))
	b := make([]byte, 4096)
	n, _ := socket.Read(b) // n is 0 after an error
	return string(b[:n])
}

func TestServeUnderSystemd(t *testing.T) {
	t.Parallel()
	socket := notifySocket(t)
	s := launch(t, freePort(t), pgtest.Empty(t), "NOTIFY_SOCKET="+socket.LocalAddr().String(), "WATCHDOG_USEC=600000")
	if got, want := told(t, socket, 60*time.Second), "READY=1"; got != want {
		t.Fatalf("first message: got %q, want %q", got, want)
	}
	if status, body := get(t, s.base+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz after READY=1: got %d %s, want 200", status, body)
	}
	for range 3 {
		if got, want := told(t, socket, 10*time.Second), "WATCHDOG=1"; got != want {
			t.Fatalf("message of a live server: got %q, want %q", got, want)
		}
	}
	dialPlain(t, s, "alice") // so that there is something to drain
	s.Signal(syscall.SIGTERM)
	got := told(t, socket, 10*time.Second)
	for got == "WATCHDOG=1" { // was under way
		got = told(t, socket, 10*time.Second)
	}
	if want := "STOPPING=1"; got != want {
		t.Errorf("message after SIGTERM: got %q, want %q", got, want)
	}
	// Nobody reads the socket any more, which fills up: the server ends all the same.
	if got := s.wait(t, 20*time.Second); got != 0 {
		t.Errorf("exit status %d, want 0", got)
	}
}

func TestServeUnderSystemdNeedsAPort(t *testing.T) {
	t.Parallel()
	s := launch(t, "0", pgtest.New(t), "NOTIFY_SOCKET="+notifySocket(t).LocalAddr().String())
	if got := s.wait(t, 30*time.Second); got != 1 || !strings.Contains(s.stderr.String(), "PORT: 0 takes any free port") {
		t.Errorf("PORT=0: got exit status %d and %q, want 1 and a word about the port", got, s.stderr)
	}
}

func TestWatchdogTime(t *testing.T) { // not parallel: it sets the environment
	own := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
		fails     bool
	}{
		{"", "", 0, false},
		{"30000000", "", 30 * time.Second, false},
		{"30000000", own, 30 * time.Second, false},
		{"30000000", "1", 0, false}, // another process's
		{"0", own, 0, true},
		{"soon", own, 0, true},
		{"9223372036854775807", own, 0, true},
	} {
		t.Setenv("WATCHDOG_USEC", tt.usec)
		t.Setenv("WATCHDOG_PID", tt.pid)
		if got, err := watchdogTime(); got != tt.want || (err != nil) != tt.fails {
			t.Errorf("WATCHDOG_USEC %q, WATCHDOG_PID %q: got %v, %v, want %v and an error: %t", tt.usec, tt.pid, got, err, tt.want, tt.fails)
		}
	}
}

// A server that does not answer itself gives no sign of life, and systemd restarts it.
// One that is not ready gives none of readiness, however long it lives.
func TestSupervisor(t *testing.T) { // not parallel: it sets the environment
	socket := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	t.Setenv("WATCHDOG_USEC", "300000")
	t.Setenv("WATCHDOG_PID", "")
	var ready, dead atomic.Bool
	var asked atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if dead.Load() || r.URL.Path == "/readyz" && !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	host, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	log := &locked.Buffer{}
	s, err := newSupervisor(host, port, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatalf("make a supervisor: %v", err)
	}
	ctx, end := context.WithCancel(t.Context())
	stopping, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, stopping) }()
	defer func() { end(); <-ended }()

	eventually(t, "readiness is asked twice", 10*time.Second, func() bool { return asked.Load() >= 2 })
	if got := told(t, socket, time.Millisecond); got != "" {
		t.Errorf("message of a server that is not ready: got %q, want none", got)
	}
	ready.Store(true)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := told(t, socket, 10*time.Second); got != want {
			t.Fatalf("message of a live server: got %q, want %q", got, want)
		}
	}
	dead.Store(true)
	eventually(t, "the log says that there is no sign of life", 10*time.Second, func() bool {
		return strings.Contains(log.String(), "no sign of life")
	})
	for told(t, socket, time.Millisecond) != "" { // what was sent before
	}
	before := asked.Load()
	eventually(t, "it is asked again", 10*time.Second, func() bool { return asked.Load() >= before+2 })
	if got := told(t, socket, time.Millisecond); got != "" {
		t.Errorf("message of a dead server: got %q, want none", got)
	}
	stop()
	for _, want := range []string{"STOPPING=1", "WATCHDOG=1"} {
		if got := told(t, socket, 10*time.Second); got != want {
			t.Errorf("message of a server that drains: got %q, want %q", got, want)
		}
	}
}

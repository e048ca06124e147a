package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
)

// supervisor tells systemd how this server is: READY=1 once /readyz is 200, WATCHDOG=1
// for as long as /healthz is, STOPPING=1 when it drains. It asks over HTTP, so that a
// server which accepts nobody counts as dead. One kept-alive connection serves for all
// of it: a server without a file descriptor left is not restarted for that reason.
type supervisor struct {
	base     string
	watchdog time.Duration // what systemd waits for a sign of life; 0: for ever
	logger   *slog.Logger
	client   http.Client
}

// readyPoll is the time between two looks whether the server is ready.
const readyPoll = 200 * time.Millisecond

// notifyTimeout bounds the wait for systemd to take a message.
const notifyTimeout = time.Second

// notifyVariable has the address of systemd's socket, see sd_notify(3).
const notifyVariable = "NOTIFY_SOCKET"

// What systemd is told.
const (
	stateReady    = "READY=1"
	stateAlive    = "WATCHDOG=1"
	stateStopping = "STOPPING=1"
)

// supervisedBySystemd reports whether systemd waits for messages of this process.
func supervisedBySystemd() bool { return os.Getenv(notifyVariable) != "" }

func newSupervisor(host, port string, logger *slog.Logger) (*supervisor, error) {
	if port == "0" {
		return nil, errors.New("PORT: 0 takes any free port, and a service with Type=notify needs one that is known")
	}
	watchdog, err := watchdogTime()
	if err != nil {
		return nil, err
	}
	return &supervisor{
		base:     "http://" + net.JoinHostPort(ownHost(host), port),
		watchdog: watchdog,
		logger:   logger,
		client:   http.Client{Transport: &http.Transport{MaxIdleConns: 1, DisableCompression: true}},
	}, nil
}

// run returns when ctx is done. Stopping is done when the server begins to drain.
func (s *supervisor) run(ctx, stopping context.Context) error {
	defer s.client.CloseIdleConnections()
	for pause.For(stopping, readyPoll) && !s.answers(stopping, "/readyz", 5*time.Second) {
	}
	if stopping.Err() == nil {
		s.tell(stateReady)
		s.whileAlive(stopping)
	}
	s.tell(stateStopping)
	for s.rest(ctx) {
		s.tell(stateAlive) // the port is closed; TimeoutStopSec bounds the drain
	}
	return nil
}

func (s *supervisor) whileAlive(stopping context.Context) {
	for s.rest(stopping) {
		if s.answers(stopping, "/healthz", s.watchdog/2) {
			s.tell(stateAlive)
		} else if stopping.Err() == nil {
			s.logger.Error("the server does not answer itself, so systemd gets no sign of life", "watchdog", s.watchdog)
		}
	}
}

// rest waits until the next sign of life is due, or until ctx is done.
func (s *supervisor) rest(ctx context.Context) bool {
	if s.watchdog == 0 {
		<-ctx.Done()
		return false
	}
	return pause.For(ctx, s.watchdog/3)
}

// answers reports whether the server answers a path with 200 in time.
func (s *supervisor) answers(ctx context.Context, path string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return false
	}
	res, err := s.client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body) // so that the connection is kept
	return err == nil && res.StatusCode == http.StatusOK
}

// tell sends a message. systemd may be slow to read: the server does not wait for it
// longer than notifyTimeout.
func (s *supervisor) tell(state string) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv(notifyVariable), Net: "unixgram"})
	if err == nil {
		defer conn.Close()
		_ = conn.SetWriteDeadline(time.Now().Add(notifyTimeout)) // the write reports what is wrong
		_, err = conn.Write([]byte(state))
	}
	if err != nil {
		s.logger.Warn("cannot notify systemd", "state", state, "error", err)
	}
}

// watchdogTime returns after what time without a sign of life systemd ends this
// process, and 0 for never. See sd_watchdog_enabled(3).
func watchdogTime() (time.Duration, error) {
	text := os.Getenv("WATCHDOG_USEC")
	if pid := os.Getenv("WATCHDOG_PID"); text == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > math.MaxInt64/int64(time.Microsecond) {
		return 0, errors.New("WATCHDOG_USEC of systemd is no number of microseconds")
	}
	return time.Duration(usec) * time.Microsecond, nil
}

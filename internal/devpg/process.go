package devpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/internal/proc"
)

// Mode says how Postgres is stopped.
type Mode string

const (
	// Fast ends the sessions, writes all data and stops.
	Fast Mode = "fast"
	// Immediate stops without writing data; the next start recovers.
	Immediate Mode = "immediate"
)

const (
	pollInterval = 10 * time.Millisecond // between checks of a state that has no signal
	forcedStop   = time.Second           // an immediate stop may take this long, then the process is killed
)

// process is one run of Postgres.
type process struct{ *proc.Process }

// stop ends the postmaster. It reports whether a stronger signal than that of mode
// was needed.
func (p *process) stop(mode Mode, patience time.Duration) (forced bool, err error) {
	if p.Ended() {
		return false, nil
	}
	return stopGradually(p.OS(), mode, patience, p.Wait)
}

// stopGradually sends the signals of a fast stop, an immediate stop and a kill until
// gone, which waits for a limited time, reports that the process has ended.
func stopGradually(proc *os.Process, mode Mode, patience time.Duration, gone func(time.Duration) bool) (forced bool, err error) {
	type step struct {
		signal syscall.Signal
		wait   time.Duration
	}
	steps := []step{{syscall.SIGINT, patience}, {syscall.SIGQUIT, forcedStop}, {syscall.SIGKILL, 10 * time.Second}}
	if mode == Immediate {
		steps = steps[1:]
	}
	for i, s := range steps {
		if err := proc.Signal(s.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return i > 0, fmt.Errorf("signal postgres (process %d): %w", proc.Pid, err)
		}
		if gone(s.wait) {
			return i > 0, nil
		}
	}
	return true, fmt.Errorf("postgres (process %d) survived SIGKILL", proc.Pid)
}

// runToEnd runs a child until it ends and returns the end of its output. When ctx is
// done it kills the child's process group.
func runToEnd(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // for grandchildren that keep the pipe open
	p, err := proc.Start(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-p.Done():
		err = p.Err()
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended just now
		<-p.Done()
		err = context.Cause(ctx)
	}
	text := bytes.TrimSpace(out.Bytes())
	return string(text[max(0, len(text)-maxTail):]), err
}

// launch starts Postgres on the first of the ports that is free, waits until it accepts
// connections, and returns the port.
func (s *Server) launch(ctx context.Context, ports []int) (port int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.StartTimeout,
		fmt.Errorf("it was not ready after %v", s.cfg.StartTimeout))
	defer cancel()
	for {
		log, err := s.tryLaunch(ctx, ports[0])
		if err == nil {
			return ports[0], nil
		}
		taken := strings.Contains(log, "Address already in use")
		if !taken && !lingering(log) || !pause.For(ctx, 5*pollInterval) {
			return 0, fmt.Errorf("start postgres %s on %s: %w\n%s", s.bin.version, s.dir.path, err, log)
		}
		if taken && len(ports) > 1 {
			ports = ports[1:]
		}
	}
}

// lingering reports whether a start failed because processes of a killed run have not
// ended yet. Only Postgres's log says so; its exit status is the same for all
// failures.
func lingering(log string) bool {
	return strings.Contains(log, "is still in use") || strings.Contains(log, "already exists")
}

// tryLaunch starts Postgres once. With an error it also returns what Postgres logged.
func (s *Server) tryLaunch(ctx context.Context, port int) (logged string, err error) {
	if err := s.dir.prepareSockets(); err != nil {
		return "", err
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return "", err
	}
	defer log.Close()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	cmd := s.account.command(s.dir.data(), filepath.Join(s.bin.dir, "postgres"), s.arguments(port)...)
	cmd.Stdout, cmd.Stderr = log, log
	child, err := proc.Start(cmd)
	if err != nil {
		return "", s.account.explain(err, s.dir.data())
	}
	p := &process{child}
	s.setRun(p)
	if err := s.awaitReady(ctx, p); err != nil {
		_, stopErr := p.stop(Immediate, 0)
		return logTail(s.LogFile(), start), errors.Join(err, stopErr)
	}
	return "", nil
}

// awaitReady waits until the pid file says that Postgres is ready.
func (s *Server) awaitReady(ctx context.Context, p *process) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.Done():
			return exitReason(p.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		pid, err := readPIDFile(s.dir.data())
		if err == nil && pid.pid == p.PID() && pid.status == "ready" {
			return nil
		}
	}
}

// exitReason returns an error for a child that ended, even with status 0.
func exitReason(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// arguments returns the command line of Postgres. It has no secret.
func (s *Server) arguments(port int) []string {
	args := []string{"-D", s.dir.data(), "-c", "port=" + strconv.Itoa(port)}
	for name, value := range s.settings() {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

// settings returns the settings that Postgres is started with, except the port.
func (s *Server) settings() map[string]string {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": `"` + strings.ReplaceAll(s.dir.sockets, `"`, `""`) + `"`,
		"logging_collector":       "off",
	}
	if s.cfg.SocketOnly {
		settings["listen_addresses"] = ""
	}
	if s.cfg.Temporary {
		maps.Copy(settings, temporarySettings)
	}
	maps.Copy(settings, s.cfg.Settings)
	return settings
}

// temporarySettings make a temporary server fast, and large enough for tests.
var temporarySettings = map[string]string{
	"fsync":                     "off",
	"synchronous_commit":        "off",
	"full_page_writes":          "off",
	"max_connections":           "200",
	"max_prepared_transactions": "10",
	"wal_level":                 "logical",
}

// candidatePorts lists the ports to try: the preferred one, then random ones. These are
// below the range for outgoing connections, so that none of those takes the port while
// Postgres restarts.
func candidatePorts(preferred int) []int {
	const first, count, tries = 15000, 17000, 10
	var ports []int
	if preferred != 0 {
		ports = append(ports, preferred)
	}
	for range tries {
		ports = append(ports, first+rand.IntN(count))
	}
	return ports
}

const maxTail = 4 << 10 // bytes of a log that an error may carry

// logTail returns the last lines of a log after the offset, or why it cannot be read.
func logTail(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	from = max(from, size-maxTail)
	text, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

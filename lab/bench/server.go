package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
)

// errNotHere is what memory and cpu return on systems where they cannot measure.
var errNotHere = errors.New("the memory and CPU of a process can be measured on Linux only")

const benchSecret = "a secret of the benchmark alone, known to everybody"

// server is a process under test: taskfeed serve, or the baseline's server.
type server struct {
	bench *bench
	proc  *proc.Process
	addr  string // host:port
	bare  bool
	feeds []string // further feeds of every token

	// Of a program that is not ours: where a user connects, and the statement that
	// sends one event to all connections of the place's crowd.
	join  func(user, token string) string
	sends string
}

// serve starts "taskfeed serve" in the place and waits until it is ready.
func (b *bench) serve(ctx context.Context, p *place) (*server, error) { return b.serveWith(ctx, p) }

// serveWith is serve with further settings.
func (b *bench) serveWith(ctx context.Context, p *place, settings ...string) (*server, error) {
	s, err := b.start(ctx, b.cfg.Binary, []string{"serve"}, "/readyz", func(host, port string) []string {
		return append([]string{"DATABASE_URL=" + p.url, "TASKFEED_JWT_SECRET=" + benchSecret, "TASKFEED_ADDR=" + host, "PORT=" + port,
			"TASKFEED_LOG_LEVEL=error", "TASKFEED_DRAIN=0s", "TASKFEED_RETENTION=off", "TASKFEED_MIGRATE=false",
			"TASKFEED_MAX_CONNECTIONS_PER_USER=off", "TASKFEED_METRICS_USERS=off"}, settings...)
	})
	if err != nil {
		return nil, err
	}
	if leads, err := s.metric("taskfeed_is_leader"); err == nil && leads == 0 && p.own {
		b.note("another server leads this database: the servers of this run follow it, and there is no figure of a leading one")
	}
	return s, nil
}

// serveBare starts the baseline's server on the channel of the place.
func (b *bench) serveBare(ctx context.Context, p *place) (*server, error) {
	s, err := b.start(ctx, b.cfg.Self, []string{BareCommand}, "/readyz", func(host, port string) []string {
		return []string{"DATABASE_URL=" + p.url, bareAddrEnv + "=" + net.JoinHostPort(host, port), bareChannelEnv + "=" + p.schema}
	})
	if s != nil {
		s.bare = true
	}
	return s, err
}

// start starts a program as a child on a free port and waits until its path ready answers
// 200.
func (b *bench) start(ctx context.Context, binary string, args []string, ready string, env func(host, port string) []string) (*server, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(addr)
	return b.startAt(ctx, addr, binary, args, ready, env(host, port))
}

// startAt is start at an address that the program is told.
func (b *bench) startAt(ctx context.Context, addr, binary string, args []string, ready string, env []string) (*server, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}, b.cfg.Env...), env...)
	cmd.Stderr = os.Stderr
	proc.Attach(cmd, syscall.SIGKILL) // Ctrl-C reaches only this process, which then stops the child
	p, err := proc.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", strings.Join(append([]string{binary}, args...), " "), err)
	}
	s := &server{bench: b, proc: p, addr: addr}
	if err := s.awaitReady(ctx, ready); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", strings.Join(append([]string{binary}, args...), " "), err)
	}
	return s, nil
}

// stop ends the server, and kills it after 10 s.
func (s *server) stop() { s.proc.Stop(10 * time.Second) }

// client sends requests to the servers. It keeps no connection open: requests are rare.
var client = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *server) awaitReady(ctx context.Context, path string) error {
	return await(ctx, time.Minute, "the server to become ready", func() (bool, error) {
		select {
		case <-s.proc.Done():
			return false, errors.New("the server ended at once; its log says why")
		default:
		}
		res, err := client.Get("http://" + s.addr + path)
		if err != nil {
			return false, nil // not yet
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK, nil
	})
}

// metric reads one figure without labels from /metrics.
func (s *server) metric(name string) (float64, error) {
	res, err := client.Get("http://" + s.addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("metric %s is missing", name)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

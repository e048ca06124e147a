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

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed/auth"
)

const benchSecret = "a secret of the benchmark alone, known to everybody"

// server is a taskfeed process under test.
type server struct {
	cmd  *exec.Cmd
	done chan struct{}
	base string // host:port
}

// startServer starts "taskfeed serve" on the benchmark's database and waits until
// it is ready.
func (b *bench) startServer(ctx context.Context) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(address)
	cmd := exec.CommandContext(ctx, b.cfg.Binary, "serve")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+b.url, "TASKFEED_JWT_SECRET="+benchSecret,
		"TASKFEED_ADDR="+host, "PORT="+port, "TASKFEED_LOG_LEVEL=warn", "TASKFEED_DRAIN=0s",
		"TASKFEED_MAX_CONNECTIONS_PER_USER=off", "TASKFEED_METRICS_USERS=off")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	s := &server{cmd: cmd, base: address, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = cmd.Wait() // how it ended is of no interest once it was ready
	}()
	if err := s.awaitReady(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	<-s.done
}

func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if res, err := http.Get("http://" + s.base + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("the server did not become ready within 30s")
		case <-s.done:
			return errors.New("the server ended at once; its log says why")
		case <-tick.C:
		}
	}
}

// dial opens a feed of a user.
func (s *server) dial(ctx context.Context, user string) (*websocket.Conn, error) {
	token, err := auth.Issue(auth.Config{Secret: []byte(benchSecret)}, user, "", time.Hour)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Authorization": {"Bearer " + token}}
	dialer := websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 512, HandshakeTimeout: 10 * time.Second}
	conn, _, err := dialer.DialContext(ctx, "ws://"+s.base+"/ws/"+user, header)
	if err != nil {
		return nil, fmt.Errorf("connect to the feed of %s: %w", user, err)
	}
	return conn, nil
}

// metric reads one figure without labels from /metrics.
func (s *server) metric(name string) (float64, error) {
	res, err := http.Get("http://" + s.base + "/metrics")
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

package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// Settings of the servers under test: as in production, but with shorter time-outs, so
// that a run of minutes reaches them.
const (
	stallTimeout    = 3 * time.Second
	drain           = 2 * time.Second
	pingInterval    = time.Second
	commentInterval = time.Second
	pongTimeout     = 4 * time.Second // longer than writeTimeout: a client that does not read gets 4008 first
	writeTimeout    = 2 * time.Second
)

// server is one "taskfeed serve" or "taskfeed gateway" under test, over all its
// processes.
type server struct {
	name      string
	command   string
	remembers bool              // it keeps recent events in memory
	addr      string            // direct
	db        *netfault.Proxy   // nil for a gateway
	net       *netfault.Proxy   // from clients
	engine    []*netfault.Proxy // to each NATS server
	env       []string
	binary    string
	log       *os.File
	gate      sync.Mutex     // held while its log is not read
	logs      sync.WaitGroup // readers of its log

	mu      sync.Mutex
	process *proc.Process
	pipe    *os.File // our end of the pipe that the process logs to
	started int64
}

// newServer prepares a server; start starts it. secret signs tokens. Every other server
// keeps no recent events in memory, the first among them.
func newServer(number int, dir, binary, secret string, d *database, e *engine) (*server, error) {
	s, err := prepareServer(fmt.Sprintf("s%d", number+1), "serve", dir, binary, secret, e)
	if err != nil {
		return nil, err
	}
	var url string
	if s.db, url, err = d.proxied(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.remembers = number%2 == 1
	if !s.remembers { // else what clients have missed is rarely read from the log
		s.env = append(s.env, "TASKFEED_RECENT_LOG=off")
	}
	s.env = append(s.env, "DATABASE_URL="+url, "TASKFEED_STALL_TIMEOUT="+stallTimeout.String(), "TASKFEED_MIGRATE=false", "TASKFEED_RETENTION=off",
		"TASKFEED_INBOX=on", "TASKFEED_INBOX_TOPICS="+inboxTopic, "TASKFEED_INBOX_PER_MINUTE=off")
	return s, nil
}

// newGateway prepares a gateway; start starts it.
func newGateway(number int, dir, binary, secret string, e *engine) (*server, error) {
	s, err := prepareServer(fmt.Sprintf("g%d", number+1), "gateway", dir, binary, secret, e)
	if err == nil {
		s.remembers = true
	}
	return s, err
}

// prepareServer prepares what servers and gateways have in common.
func prepareServer(name, command, dir, binary, secret string, e *engine) (s *server, err error) {
	s = &server{name: name, command: command, binary: binary}
	if s.addr, err = freeAddress(); err != nil {
		return nil, err
	}
	if s.net, err = netfault.New("tcp", s.addr); err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(s.addr)
	s.env = []string{"TASKFEED_JWT_SECRET=" + secret, "TASKFEED_ADDR=" + host, "PORT=" + port, "TASKFEED_DRAIN=" + drain.String(),
		"TASKFEED_PING_INTERVAL=" + pingInterval.String(), "TASKFEED_PONG_TIMEOUT=" + pongTimeout.String(),
		"TASKFEED_WRITE_TIMEOUT=" + writeTimeout.String(), "TASKFEED_JWT_LEEWAY=off", "TASKFEED_MESSAGES_PER_MINUTE=off",
		"TASKFEED_MAX_CONNECTIONS_PER_USER=off", "TASKFEED_REQUESTS_PER_MINUTE=off", "TASKFEED_COMMENT_INTERVAL=" + commentInterval.String(),
		"TASKFEED_LOG_FORMAT=json"}
	if e != nil {
		var url string
		if s.engine, url, err = e.proxied(); err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.env = append(s.env, "TASKFEED_ENGINE_URL="+url)
	}
	if s.log, err = os.OpenFile(filepath.Join(dir, "server-"+s.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// freeAddress returns an address of 127.0.0.1 on which nothing listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// close ends the server and its proxies.
func (s *server) close() error {
	if p := s.current(); p != nil {
		p.Kill()
	}
	for _, p := range append(s.engine, s.net, s.db) {
		if p != nil {
			p.Close()
		}
	}
	s.logs.Wait()
	if s.log != nil {
		return s.log.Close()
	}
	return nil
}

func (s *server) gateway() bool { return s.command == "gateway" }

func (s *server) current() *proc.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// start starts a process of the server. It does not wait until it is ready.
func (s *server) start() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	shrinkPipe(write)
	p, err := startChild(s.name, s.binary, []string{s.command}, s.env, nil, nil, write)
	if err != nil {
		return errors.Join(err, read.Close())
	}
	s.logs.Go(func() {
		defer read.Close()
		s.copyLog(read)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.pipe, s.started = p, read, history.Now()
	return nil
}

// logBlocked reports whether the pipe that the process logs to is full: one more line
// would not fit.
func (s *server) logBlocked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return pipeHolds(s.pipe) > os.Getpagesize()-longLine
}

// longLine is longer than most lines of a server's log.
const longLine = 1 << 10

// copyLog copies the log of a process into the history. It pauses while the gate is
// held.
func (s *server) copyLog(from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		s.gate.Lock()
		_, failed := s.log.Write(buf[:n])
		s.gate.Unlock()
		if err != nil || failed != nil {
			return
		}
	}
}

// client sends the requests of the harness; its time-out keeps a frozen server from
// blocking it.
var client = http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *server) get(ctx context.Context, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// ready returns nil when the server says that it is.
func (s *server) ready(ctx context.Context) error {
	status, body, err := s.get(ctx, "/readyz?verbose")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %.300s", status, body)
	}
	if err != nil {
		return fmt.Errorf("%s is not ready: %w", s.name, err)
	}
	return nil
}

// metrics reads /metrics into a map; labels are part of the name.
func (s *server) metrics(ctx context.Context) (map[string]float64, error) {
	status, body, err := s.get(ctx, "/metrics")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return nil, fmt.Errorf("read metrics of %s: %w", s.name, err)
	}
	figures := make(map[string]float64)
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
			figures[name] = n
		}
	}
	return figures, lines.Err()
}

// leads reports whether the server says that it is the sequencer.
func (s *server) leads(ctx context.Context) bool {
	figures, err := s.metrics(ctx)
	return err == nil && figures["taskfeed_is_leader"] == 1
}

// sample reads what the server uses.
func (s *server) sample(ctx context.Context, phase string, backends int64) (history.Resource, error) {
	figures, err := s.metrics(ctx)
	if err != nil {
		return history.Resource{}, err
	}
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	n := func(name string) int64 { return int64(figures[name]) }
	return history.Resource{
		T: history.Now(), Server: s.name, Start: started, Phase: phase, Backends: backends,
		Goroutines: n("go_goroutines"), FDs: n("process_open_fds"), Memory: n("process_resident_memory_bytes"),
		Connections: n("taskfeed_connections"), Leader: n("taskfeed_is_leader") == 1,
		Replayed: n("taskfeed_frames_replayed_total"), Resets: n("taskfeed_resets_total"),
		Slow: n("taskfeed_slow_closes_total"), NoPong: n(`taskfeed_closes_total{code="4009"}`), Shed: n("taskfeed_recent_shed_total"),
		Gateway: s.gateway(), Gaps: n("taskfeed_relay_gaps_total"), Reads: n("taskfeed_log_reads_total"),
		Recalled: n("taskfeed_frames_recalled_total"), Republished: n("taskfeed_relay_republished_total"),
	}, nil
}

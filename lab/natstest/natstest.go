// Package natstest starts NATS servers for tests, each on a free port of 127.0.0.1. It
// builds them from the module lab/natsd.
package natstest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/checkout"
)

// patience is how long a server may take to start; building it takes longer the first
// time.
const patience = 60 * time.Second

// Server is one NATS server.
type Server struct {
	conf    string
	cluster string // where the others of its cluster are
	dir     string
	port    string // of clients; "-1" until it has started
	route   string // the port for the others of its cluster
	bin     string
	child   *proc.Process
}

// built is the server's binary while a test uses it.
var built struct {
	sync.Mutex
	dir   string
	users int
}

// Build builds the server and returns its path, which is good until the test ends. Tests
// that run at the same time share it.
func Build(t testing.TB) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.users == 0 {
		built.dir = build(t)
	}
	built.users++
	t.Cleanup(func() {
		built.Lock()
		defer built.Unlock()
		if built.users--; built.users == 0 {
			_ = os.RemoveAll(built.dir) // the system removes what is left
		}
	})
	return filepath.Join(built.dir, "natsd")
}

func build(t testing.TB) (dir string) {
	t.Helper()
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = os.MkdirTemp("", "natsd-"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "natsd"), ".") //nolint:gosec // our own binary
	cmd.Dir = filepath.Join(root, "lab", "natsd")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		t.Fatalf("build lab/natsd: %v\n%s", err, out)
	}
	return dir
}

// Credentials writes credentials of users into a new directory, as natsd says.
func Credentials(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	credentials(t, dir)
	return dir
}

// BriefCredentials writes brief.creds, which expire after a while.
func BriefCredentials(t testing.TB, dir string, after time.Duration) {
	t.Helper()
	credentials(t, dir, after.String())
}

func credentials(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Build(t), append([]string{"credentials"}, args...)...) //nolint:gosec // our own binary
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("write credentials: %v\n%s", err, out)
	}
}

// Start starts a server with further lines of configuration.
func Start(t testing.TB, conf string) *Server {
	t.Helper()
	return start(t, &Server{conf: conf})
}

func start(t testing.TB, s *Server) *Server {
	t.Helper()
	s.dir, s.port, s.route = t.TempDir(), "-1", "-1"
	s.bin = Build(t)
	t.Cleanup(s.Stop)
	s.Start(t)
	return s
}

// Cluster starts three servers that know each other.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	var servers []*Server
	var routes []string
	for i := range 3 {
		s := start(t, &Server{conf: fmt.Sprintf("server_name: n%d", i), cluster: strings.Join(routes, ",")})
		servers = append(servers, s)
		routes = append(routes, fmt.Sprintf("%q", "nats-route://127.0.0.1:"+s.route))
	}
	return servers
}

// ports is what a server writes once it listens.
type ports struct {
	Nats    []string `json:"nats"`
	Cluster []string `json:"cluster"`
}

// Start starts a server that has been stopped, on the port that it had.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	conf := filepath.Join(s.dir, "nats.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:%s\"\nports_file_dir: %q\n%s\n", s.port, s.dir, s.conf)
	text += fmt.Sprintf("cluster { name: tf, listen: \"127.0.0.1:%s\", routes: [%s] }\n", s.route, s.cluster)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.bin, "-c", conf) //nolint:gosec // our own binary
	cmd.Stdout, cmd.Stderr = log, log
	proc.Attach(cmd, syscall.SIGKILL)
	if s.child, err = proc.Start(cmd); err != nil {
		t.Fatalf("start natsd: %v", err)
	}
	s.await(t)
}

// await waits until the server listens, and notes where.
func (s *Server) await(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	pattern := filepath.Join(s.dir, fmt.Sprintf("*_%d.ports", s.child.PID()))
	for {
		select {
		case <-tick.C:
		case <-s.child.Done():
			t.Fatalf("natsd ended: %s\n%s", s.child.Exit(), s.Log())
		case <-limit.C:
			t.Fatalf("natsd does not listen after %v\n%s", patience, s.Log())
		}
		var p ports
		if names, _ := filepath.Glob(pattern); len(names) == 1 {
			text, _ := os.ReadFile(names[0])
			if json.Unmarshal(text, &p) != nil || len(p.Nats) == 0 {
				continue
			}
			s.note(p)
			return
		}
	}
}

func (s *Server) note(p ports) {
	if u, err := url.Parse(p.Nats[0]); err == nil {
		s.port = u.Port()
	}
	if len(p.Cluster) > 0 {
		s.route = p.Cluster[0][strings.LastIndex(p.Cluster[0], ":")+1:]
	}
}

// URL is where clients connect.
func (s *Server) URL() string { return "nats://127.0.0.1:" + s.port }

// Log returns what the server has written.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// Kill ends the server at once. Start starts it again.
func (s *Server) Kill() { s.child.Kill() }

// Stop ends the server in order.
func (s *Server) Stop() {
	if s.child != nil {
		s.child.Stop(5 * time.Second)
	}
}

// Package fleet runs a private Postgres, a NATS server, two cores and three gateways on
// this machine, to be tried by hand.
package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/internal/proc"
)

// Config says what to run.
type Config struct {
	Taskfeed string // the program taskfeed
	Engine   string // a NATS server
	Port     int    // of the first core, the others follow; 0 takes any that are free
	Out      io.Writer
}

const (
	cores    = 2
	gateways = 3

	startTimeout = 60 * time.Second
	stopTimeout  = 10 * time.Second
)

// fleet is what runs.
type fleet struct {
	cfg    Config
	ports  []int // of the cores, the gateways and NATS
	secret string
	parts  []*part // in the order in which they were started
}

// part is one process.
type part struct {
	name string
	*proc.Process
}

// Run runs the fleet until ctx is done or a part of it ends.
func Run(ctx context.Context, cfg Config) (err error) {
	pg, err := devpg.Start(ctx, devpg.Config{Temporary: true, Progress: func(s string) { fmt.Fprintln(cfg.Out, s) }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pg.Stop()) }()
	f := &fleet{cfg: cfg, secret: rand.Text() + rand.Text()}
	defer f.stop()
	if f.ports, err = portsFrom(cfg.Port); err != nil {
		return err
	}
	if err := f.start(ctx, pg.URL("postgres")); err != nil {
		return err
	}
	if err := f.introduce(pg.URL("postgres")); err != nil {
		return err
	}
	return f.wait(ctx)
}

// portsFrom returns the ports of all parts.
func portsFrom(first int) (ports []int, err error) {
	for i := range cores + gateways + 1 {
		port := first + i
		if first == 0 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			defer l.Close() // all at the same time, so that they differ
			port = l.Addr().(*net.TCPAddr).Port
		}
		ports = append(ports, port)
	}
	return ports, nil
}

func (f *fleet) enginePort() int { return f.ports[cores+gateways] }

func (f *fleet) start(ctx context.Context, database string) error {
	port := strconv.Itoa(f.enginePort())
	if err := f.run("nats", f.cfg.Engine, []string{"-a", "127.0.0.1", "-p", port}, nil); err != nil {
		return err
	}
	for i := range cores + gateways {
		name, args, env := fmt.Sprint("core-", i+1), "serve", []string{"DATABASE_URL=" + database}
		if i >= cores {
			name, args, env = fmt.Sprint("gateway-", i-cores+1), "gateway", nil
		}
		env = append(env, "TASKFEED_ENGINE_URL=nats://127.0.0.1:"+port, "TASKFEED_JWT_SECRET="+f.secret, "TASKFEED_ADDR=127.0.0.1",
			"PORT="+strconv.Itoa(f.ports[i]), "TASKFEED_DRAIN=1s", "TASKFEED_LOG_LEVEL=warn")
		if err := f.run(name, f.cfg.Taskfeed, []string{args}, env); err != nil {
			return err
		}
		if err := f.awaitReady(ctx, f.parts[len(f.parts)-1], f.ports[i]); err != nil {
			return err
		}
	}
	return nil
}

// run starts a process. Its log goes to the output.
func (f *fleet) run(name, binary string, args, env []string) error {
	cmd := exec.Command(binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}, env...)
	cmd.Stdout, cmd.Stderr = io.Discard, f.cfg.Out
	cmd.WaitDelay = time.Second
	proc.Attach(cmd, syscall.SIGKILL)
	p, err := proc.Start(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	f.parts = append(f.parts, &part{name, p})
	return nil
}

func (f *fleet) awaitReady(ctx context.Context, p *part, port int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if p.Ended() {
			return fmt.Errorf("%s has ended: %s", p.name, p.Exit())
		}
		if ready(ctx, port) {
			return nil
		}
		if !pause.For(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s is not ready: %w", p.name, context.Cause(ctx))
		}
	}
}

func ready(ctx context.Context, port int) bool {
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + "/readyz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// introduce prints what there is and how to try it.
func (f *fleet) introduce(database string) error {
	keys := auth.Config{Secret: []byte(f.secret)}
	alice, err := auth.Issue(keys, "alice", "", 24*time.Hour)
	if err != nil {
		return err
	}
	admin, err := auth.Issue(keys, "root", auth.RoleAdmin, 24*time.Hour)
	if err != nil {
		return err
	}
	fmt.Fprintf(f.cfg.Out, "\nNATS       nats://127.0.0.1:%d\n", f.enginePort())
	for i := range cores + gateways {
		fmt.Fprintf(f.cfg.Out, "%-10s http://127.0.0.1:%d\n", f.parts[i+1].name, f.ports[i])
	}
	fmt.Fprintf(f.cfg.Out, "\nConsole    http://127.0.0.1:%d/console, with the token of an admin:\n%s\n", f.ports[0], admin)
	fmt.Fprintf(f.cfg.Out, "\nWatch alice's feed on a gateway:\n  TASKFEED_TOKEN=%s bin/taskfeed tail --url http://127.0.0.1:%d\n", alice, f.ports[cores])
	fmt.Fprintf(f.cfg.Out, "and change a task of hers:\n  psql '%s' -c \"INSERT INTO taskfeed.tasks (user_id) VALUES ('alice')\"\n\nCtrl-C ends all.\n", database)
	return nil
}

// wait waits until ctx is done, and returns an error when a part ends before.
func (f *fleet) wait(ctx context.Context) error {
	ended := make(chan *part, len(f.parts))
	for _, p := range f.parts {
		go func() {
			<-p.Done()
			ended <- p
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case p := <-ended:
		return fmt.Errorf("%s has ended: %s", p.name, p.Exit())
	}
}

// stop ends the parts, the last one first.
func (f *fleet) stop() {
	for i := len(f.parts) - 1; i >= 0; i-- {
		f.parts[i].Stop(stopTimeout)
	}
}

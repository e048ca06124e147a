package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/hub"
)

const (
	idleClientsEnv  = "TASKFEED_TEST_IDLE_CLIENTS" // in a child process: the address of the server
	idleConnections = 5000
)

// BenchmarkIdleConnections measures what an idle connection costs the server:
// 5,000 users with one connection each, over loopback, each of which has exchanged
// a ping and got an event. The clients are another process. heap and stack are those
// of the Go runtime; rss is the resident memory of the process, without the kernel's
// memory for sockets.
//
//	go test -run '^$' -bench IdleConnections ./httpapi
func BenchmarkIdleConnections(b *testing.B) {
	log := newMemLog()
	addr := serveBenchmark(b, log)
	for b.Loop() {
		before := measure()
		clients := startIdleClients(b, addr)
		log.add("", "hello", `{}`)
		clients.waitFor("received")
		after := measure()
		per := func(x, y uint64) float64 { return (float64(y) - float64(x)) / idleConnections }
		b.ReportMetric(per(before.heap, after.heap), "heap-B/conn")
		b.ReportMetric(per(before.stack, after.stack), "stack-B/conn")
		b.ReportMetric(per(before.rss, after.rss), "rss-B/conn")
		b.ReportMetric(per(before.goroutines, after.goroutines), "goroutines/conn")
		clients.stop()
		for log.hub.Stats().Subscribers > 0 {
			runtime.Gosched()
		}
	}
}

type memory struct{ heap, stack, rss, goroutines uint64 }

// measure returns the memory in use after garbage collection.
func measure() memory {
	for range 3 { // pools are emptied at the second collection
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var pages, resident uint64
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil { // Linux only; elsewhere rss is 0
		_, _ = fmt.Sscan(string(statm), &pages, &resident)
	}
	return memory{m.HeapAlloc, m.StackInuse, resident * uint64(os.Getpagesize()), uint64(runtime.NumGoroutine())}
}

// idleClients is the process with the clients.
type idleClients struct {
	b     *testing.B
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
}

func startIdleClients(b *testing.B, addr string) *idleClients {
	cmd := exec.Command(must(os.Executable()))
	cmd.Env = append(os.Environ(), idleClientsEnv+"="+addr)
	cmd.Stderr = os.Stderr
	c := &idleClients{b: b, cmd: cmd, stdin: must(cmd.StdinPipe()), lines: bufio.NewScanner(must(cmd.StdoutPipe()))}
	if err := cmd.Start(); err != nil {
		b.Fatalf("start the clients: %v", err)
	}
	c.waitFor("connected")
	return c
}

func (c *idleClients) waitFor(want string) {
	c.b.Helper()
	if !c.lines.Scan() || c.lines.Text() != want {
		c.b.Fatalf("the clients say %q, want %q", c.lines.Text(), want)
	}
}

// stop ends the process by closing its input.
func (c *idleClients) stop() {
	if err := c.stdin.Close(); err != nil {
		c.b.Errorf("close the clients' input: %v", err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.b.Errorf("clients: %v", err)
	}
}

// runIdleClients connects as many users, exchanges one ping each, receives one
// event each and then waits for the end of its input.
func runIdleClients(addr string) {
	conns := make([]*websocket.Conn, idleConnections)
	for i := range conns {
		user := fmt.Sprintf("user-%d", i)
		token := must(auth.Issue(authConfig, user, "", time.Hour))
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws/"+user+"?token="+token, nil)
		conns[i] = must(ws, err)
		if err := ws.WriteMessage(websocket.TextMessage, []byte("ping")); err != nil {
			panic(err)
		}
		expectMessage(ws, "pong")
	}
	fmt.Println("connected")
	for _, ws := range conns {
		expectMessage(ws, `"type":"hello"`)
	}
	fmt.Println("received")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it or ends
	for _, ws := range conns {
		_ = ws.Close() // the process ends
	}
}

func expectMessage(ws *websocket.Conn, want string) {
	_, message, err := ws.ReadMessage()
	if err != nil || !strings.Contains(string(message), want) {
		panic(fmt.Sprintf("message %q, %v; want %s", message, err, want))
	}
}

// BenchmarkReplay measures how fast one connection replays events of ordinary
// size, from a log in memory to a client that discards them.
func BenchmarkReplay(b *testing.B) {
	const events = 10_000
	log := newMemLog()
	addr := serveBenchmark(b, log)
	data := make([]string, events)
	for i := range data {
		data[i] = fmt.Sprintf(`{"progress":%d,"message":"rendering frame %d of many"}`, i%101, i)
	}
	log.add("alice", taskfeed.TypeTaskProgress, data...)
	token := must(auth.Issue(authConfig, "alice", "", time.Hour))
	for b.Loop() {
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws/alice?after=0&token="+token, nil)
		if err != nil {
			b.Fatalf("dial: %v", err)
		}
		for range events {
			if _, _, err := ws.NextReader(); err != nil {
				b.Fatalf("read: %v", err)
			}
		}
		expectMessage(ws, "feed_live")
		_ = ws.Close() // the next iteration has its own
	}
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func newMemLog() *memLog {
	log := new(memLog)
	log.hub = must(hub.New(log, hub.Config{}))
	log.hub.SetHead(0)
	return log
}

// serveBenchmark runs a server until the benchmark ends and returns its address.
func serveBenchmark(b *testing.B, log *memLog) string {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	s := must(New(Deps{
		Hub:      log.hub,
		Verifier: must(auth.New(authConfig)),
		Log:      slog.New(slog.DiscardHandler),
	}, Config{Listener: listener, Drain: -1}))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Errorf("Run returned %v, want nil", err)
		}
	})
	return listener.Addr().String()
}

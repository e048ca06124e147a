package crowd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestCutFrame(t *testing.T) {
	t.Parallel()
	long, huge := strings.Repeat("x", 300), strings.Repeat("y", 70_000)
	stream := []byte("\x81\x05hello\x89\x02hi\x81\x7e\x01\x2c" + long + "\x81\x7f\x00\x00\x00\x00\x00\x01\x11\x70" + huge)
	for _, want := range []struct {
		opcode  byte
		payload string
	}{{opText, "hello"}, {opPing, "hi"}, {opText, long}, {opText, huge}} {
		opcode, payload, rest, ok := cutFrame(stream)
		if !ok || opcode != want.opcode || string(payload) != want.payload {
			t.Fatalf("got opcode %d with %d bytes (%v), want %d with %d", opcode, len(payload), ok, want.opcode, len(want.payload))
		}
		whole := len(stream) - len(rest)
		for _, n := range []int{0, 1, 2, 3, whole - 1} {
			if _, _, same, ok := cutFrame(stream[:n]); ok || len(same) != n {
				t.Errorf("%d of %d bytes: got a frame, want none and all bytes left", n, whole)
			}
		}
		stream = rest
	}
	if got, want := pong([]byte("hi")), []byte("\x8a\x82\x00\x00\x00\x00hi"); !bytes.Equal(got, want) {
		t.Errorf("pong: got % x, want % x", got, want)
	}
}

func TestNumberAfter(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]int64{`{"id":12,"type":"x"}`: 12, `{"id":"a"}`: 0, `{"id":7`: 0, `{"type":"feed_live"}`: 0} {
		if got, ok := numberAfter([]byte(payload), beginsEvent); got != want || ok != (want > 0) {
			t.Errorf("%s: got %d, %v, want %d", payload, got, ok, want)
		}
	}
}

// fake is a server of feeds that a test plays.
type fake struct {
	addr  string
	conns chan fakeConn
}

type fakeConn struct {
	net.Conn
	in    *bufio.Reader
	query string
}

func serveFake(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{l.Addr().String(), make(chan fakeConn, 100)}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			r, err := http.ReadRequest(in)
			if err != nil {
				conn.Close()
				continue
			}
			f.conns <- fakeConn{conn, in, r.URL.RawQuery}
		}
	}()
	return f
}

func (f *fake) accept(t *testing.T) fakeConn {
	t.Helper()
	select {
	case c := <-f.conns:
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("no client came, want one")
		return fakeConn{}
	}
}

func (c fakeConn) send(t *testing.T, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if _, err := io.WriteString(c.Conn, part); err != nil {
			t.Fatal(err)
		}
	}
}

func frame(payload string) string { return "\x81" + string(rune(len(payload))) + payload }

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

// start runs a crowd of one client and returns its state when asked.
func start(t *testing.T, servers ...string) (state func() State) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	text, err := json.Marshal(Config{Addr: addr, Servers: servers, Source: "127.0.0.1", Clients: 1, Prefix: "u", Secret: strings.Repeat("s", 32), Rush: 1})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), func(string) string { return string(text) }) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil { // the test's context is done
			t.Errorf("Run: %v", err)
		}
	})
	web := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		res, err := web.Post("http://"+addr+"/open", "", nil)
		if err == nil {
			res.Body.Close()
			break
		}
		<-tick.C
	}
	return func() (s State) {
		res, err := web.Get("http://" + addr + "/state")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func await(t *testing.T, state func() State, what string, done func(State) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 4000 {
		if done(state()) {
			return
		}
		<-tick.C
	}
	t.Fatalf("got %+v, want %s", state(), what)
}

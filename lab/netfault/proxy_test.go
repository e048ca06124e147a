package netfault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	s, err := Serve(func(_ context.Context, conn net.Conn) { _, _ = io.Copy(conn, conn) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Addr()
}

func start(t *testing.T, target string) *Proxy {
	t.Helper()
	p, err := New("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// attempt connects and exchanges a byte; either may fail.
func attempt(p *Proxy) error {
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	return errors.Join(conn.SetDeadline(time.Now().Add(20*time.Second)), exchange(conn, []byte("x")))
}

// exchange sends and expects the same back.
func exchange(conn net.Conn, payload []byte) error {
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(payload)
		sent <- err
	}()
	got := make([]byte, len(payload))
	_, err := io.ReadFull(conn, got)
	if err = errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(got, payload) {
		return fmt.Errorf("got other bytes than were sent")
	}
	return nil
}

func payload(n int) []byte { return []byte(strings.Repeat("0123456789abcdef", n/16+1)[:n]) }

// In every mode, the received bytes are the sent bytes.
func TestModes(t *testing.T) {
	t.Parallel()
	target := echo(t)
	for name, c := range map[string]struct {
		mode Mode
		size int
	}{
		"as it comes": {Mode{}, 1 << 20},
		"late":        {Mode{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond}, 1 << 20},
		"slowly":      {Mode{Rate: 100_000}, 20_000},
		"in slices":   {Mode{Slice: 5}, 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, target)
			p.Set(c.mode)
			began := time.Now()
			if err := exchange(dial(t, p), payload(c.size)); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			if least := 2 * c.mode.Delay; took < least {
				t.Errorf("it took %v, want %v at least", took, least)
			}
			if c.mode.Rate > 0 && took < time.Second*time.Duration(c.size-c.mode.Rate/20)/time.Duration(c.mode.Rate) { // the last piece is not waited for
				t.Errorf("it took %v, too fast for %d bytes a second", took, c.mode.Rate)
			}
		})
	}
}

// Bytes that were held back arrive later, once and in order.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]Mode{"up": {HoldUp: true}, "down": {HoldDown: true}, "both ways": {HoldUp: true, HoldDown: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, echo(t))
			conn := dial(t, p)
			if err := exchange(conn, []byte("before")); err != nil {
				t.Fatal(err)
			}
			p.Set(mode)
			if _, err := conn.Write([]byte("held")); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			var b [4]byte
			if n, err := conn.Read(b[:]); n > 0 || err == nil {
				t.Fatalf("got %q through the hole", b[:n])
			}
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			p.Set(Mode{})
			if _, err := io.ReadFull(conn, b[:]); err != nil || string(b[:]) != "held" {
				t.Errorf("got %q (%v) after the hole, want %q", b, err, "held")
			}
		})
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	p := start(t, echo(t))
	conn := dial(t, p)
	if err := exchange(conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := p.Reset(); got != 1 {
		t.Errorf("reset %d connections, want 1", got)
	}
	var b [1]byte
	if _, err := conn.Read(b[:]); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if err := exchange(dial(t, p), []byte("again")); err != nil {
		t.Errorf("after a reset: %v", err)
	}
}

func TestCutAfter(t *testing.T) {
	t.Parallel()
	p := start(t, echo(t))
	conn := dial(t, p)
	if err := exchange(conn, payload(10_000)); err != nil {
		t.Fatal(err)
	}
	p.Set(Mode{CutAfter: 1000}) // counts from now
	if err := exchange(conn, payload(100)); err != nil {
		t.Errorf("before the cut: %v", err)
	}
	if err := exchange(conn, payload(10_000)); err == nil {
		t.Error("the connection outlived its cut")
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	p := start(t, echo(t))
	p.Set(Mode{Refuse: true})
	if err := attempt(p); err == nil {
		t.Error("a refused connection works")
	}
}

func TestSetTarget(t *testing.T) {
	t.Parallel()
	p := start(t, "127.0.0.1:1") // nothing listens there
	if err := attempt(p); err == nil {
		t.Error("a connection to a closed port works")
	}
	p.SetTarget("tcp", echo(t))
	if err := exchange(dial(t, p), []byte("x")); err != nil {
		t.Errorf("at the new target: %v", err)
	}
}

// One side closes its half; the other half stays open.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	p := start(t, echo(t))
	conn := dial(t, p)
	if _, err := conn.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "last words" {
		t.Errorf("got %q (%v), want the last words", got, err)
	}
	awaitOpen(t, p, 0)
}

func awaitOpen(t *testing.T, p *Proxy, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.Open() != want {
		select {
		case <-ctx.Done():
			t.Fatalf("%d connections are open, want %d", p.Open(), want)
		case <-tick.C:
		}
	}
}

// Close also ends connections that are held, delayed or slow.
func TestCloseWhileHeld(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]Mode{"held": {HoldUp: true}, "late": {Delay: time.Hour}, "slow": {Rate: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, echo(t))
			p.Set(mode)
			conn := dial(t, p)
			if _, err := conn.Write(payload(100_000)); err != nil {
				t.Fatal(err)
			}
			awaitOpen(t, p, 1)
			p.Close()
			awaitOpen(t, p, 0)
		})
	}
}

// Hold holds back the bytes of open connections and releases them in order. A connection
// that is opened meanwhile is not affected.
func TestHold(t *testing.T) {
	t.Parallel()
	p := start(t, echo(t))
	old := dial(t, p)
	if err := exchange(old, []byte("before")); err != nil {
		t.Fatal(err)
	}
	release := p.Hold()
	if _, err := old.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	if err := exchange(dial(t, p), []byte("new")); err != nil {
		t.Errorf("a new connection: %v, want it to pass", err)
	}
	_ = old.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := old.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("through the hole: %d bytes and error %v, want nothing", n, err)
	}
	release()
	_ = old.SetReadDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, 4)
	if _, err := io.ReadFull(old, got); err != nil || string(got) != "held" {
		t.Errorf("after the hole: got %q and %v, want what was sent into it", got, err)
	}
}

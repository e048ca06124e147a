package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/verify/actor"
	"github.com/taskfeed/taskfeed/internal/verify/history"
)

var clientFaults = []fault{
	{name: "storm", says: "all clients hang up and connect again at once, three times", kind: kindClient, safe: true, run: storm},
	{name: "client-stall", says: "clients with small buffers stop reading for 4 s, and much is written for them", kind: kindClient, safe: true, paths: []string{"close: too slow"}, run: stalling(actor.DoStall)},
	{name: "client-crawl", says: "clients with small buffers read one byte a second for 4 s, and much is written for them", kind: kindClient, safe: true, paths: []string{"close: too slow"}, run: stalling(actor.DoCrawl)},
	{name: "client-slow", says: "clients read twenty frames a second for 4 s", kind: kindClient, safe: true, run: slowClients},
	{name: "client-vanish", says: "SIGSTOP of a process with many clients for 6 s", kind: kindClient, safe: true, paths: []string{"close: no pong"}, run: vanishClients},
	{name: "client-flap", says: "connections that come and go 200 times a second for 2 s, most of them in the middle of something", kind: kindClient, safe: true, run: flap},
	{name: "token-expiry", says: "tokens that run out in the middle, and some that are renewed in time", kind: kindClient, safe: true, paths: []string{"close: token expired"}, run: expireTokens},
}

func storm(ctx context.Context, r *round, f *history.Fault) error {
	for range 3 {
		if err := tell(r.clients, actor.Command{Do: actor.DoStorm}); err != nil {
			return err
		}
		pause(ctx, time.Second)
	}
	f.Fired = true
	return nil
}

// stalling fills what lies between a server and clients that do not read, or
// hardly.
func stalling(how string) func(context.Context, *round, *history.Fault) error {
	return func(ctx context.Context, r *round, f *history.Fault) error {
		small := r.names["small"]
		if err := tell(r.clients, actor.Command{Do: how, Names: small, For: 4 * time.Second}); err != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
		user := r.users[1].ID // whose clients those are
		if err := tell(r.writers, actor.Command{Do: actor.DoBurst, User: user}); err != nil {
			return err
		}
		f.Fired, f.Target = true, user
		pause(ctx, 4500*time.Millisecond)
		return nil
	}
}

func slowClients(ctx context.Context, r *round, f *history.Fault) error {
	err := tell(r.clients, actor.Command{Do: actor.DoSlow, For: 4 * time.Second})
	f.Fired = err == nil
	pause(ctx, 4500*time.Millisecond)
	return err
}

func vanishClients(ctx context.Context, r *round, f *history.Fault) error {
	group := r.groups["b"]
	if group == nil || group.ended() {
		return errors.New("the clients that vanish are gone")
	}
	f.Target, f.Fired = group.name, true
	group.signal(syscall.SIGSTOP)
	defer group.signal(syscall.SIGCONT)
	pause(ctx, 6*time.Second)
	return nil
}

// expireTokens only waits: tokens of some clients last for seconds all the time.
func expireTokens(ctx context.Context, r *round, f *history.Fault) error {
	pause(ctx, 5*time.Second)
	f.Fired, f.Detail = true, fmt.Sprintf("clients %v", r.names["expiring"])
	return nil
}

// flap connects and breaks off: within the handshake, right after it, and in the
// middle of a frame. Nobody writes these down; the baseline tells.
func flap(ctx context.Context, r *round, f *history.Fault) error {
	token, err := auth.Issue(auth.Config{Secret: []byte(r.secret)}, r.users[0].ID, "", time.Minute)
	if err != nil {
		return err
	}
	handshake := fmt.Sprintf("GET /ws/%s HTTP/1.1\r\nHost: verify\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n", r.users[0].ID, token)
	halfFrame := "\x81\xfe\x10\x00" // of a text of 4096 bytes
	all := []string{"", handshake[:40], handshake, handshake + halfFrame}
	n := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && pause(ctx, 5*time.Millisecond); n++ {
		s := r.servers[n%len(r.servers)]
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err != nil {
			continue // a server may be down
		}
		_, _ = conn.Write([]byte(all[n%len(all)])) // it may be closed
		if n%3 == 0 {
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset, not an ordered end
		}
		_ = conn.Close()
		f.Fired = f.Fired || n > 20
	}
	f.Detail = fmt.Sprintf("%d connections", n)
	return nil
}

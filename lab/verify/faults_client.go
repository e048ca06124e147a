package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

var clientFaults = []fault{
	{name: "storm", says: "all clients hang up and connect again at once, three times", kind: kindClient, safe: true, begin: storm},
	{name: "client-stall", says: "clients with small buffers stop reading for 4 s while they get many events", kind: kindClient, safe: true, paths: []string{"close: too slow"}, begin: stalling(actor.DoStall)},
	{name: "client-crawl", says: "clients with small buffers read one byte a second for 4 s while they get many events", kind: kindClient, safe: true, paths: []string{"close: too slow"}, begin: stalling(actor.DoCrawl)},
	{name: "client-slow", says: "clients read twenty frames a second for 4 s", kind: kindClient, safe: true, begin: slowClients},
	{name: "client-vanish", says: "SIGSTOP of a process with many clients for 6 s", kind: kindClient, safe: true, paths: []string{"close: no pong"}, begin: vanishClients},
	{name: "client-flap", says: "200 connections a second open and close for 2 s, most of them in the middle of a handshake or a frame", kind: kindClient, safe: true, begin: flap},
	{name: "token-expiry", says: "tokens expire during connections; some are renewed in time", kind: kindClient, safe: true, paths: []string{"close: token expired"}, begin: expireTokens},
}

// connections returns how many connections the clients have opened so far.
func (r *round) connections() int64 {
	return sum(r.clients, func(s *actor.Status) int64 { return s.Dials })
}

func storm(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	return injection{effect: times(3, 0, "connections", func(ctx context.Context) (int, error) {
		before := r.connections()
		err := tell(r.clients, actor.Command{Do: actor.DoStorm})
		pause.For(ctx, time.Second)
		return int(r.connections() - before), err
	})}, nil
}

// stalling fills the buffers between a server and clients that read little or
// nothing.
func stalling(how string) func(context.Context, *round, *history.Fault) (injection, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (injection, error) {
		small, slow := r.names["small"], r.taken(ctx, "close: too slow")
		user := r.users[1].ID // the user of the clients with small buffers
		f.Target = user
		stall := func(ctx context.Context) (string, error) {
			err := tell(r.clients, actor.Command{Do: how, Names: small, For: 4 * time.Second})
			pause.For(ctx, 100*time.Millisecond)
			if err = errors.Join(err, tell(r.writers, actor.Command{Do: actor.DoBurst, User: user})); err != nil {
				return "", err
			}
			pause.For(ctx, 4500*time.Millisecond)
			return slow(ctx)
		}
		return injection{effect: stall}, nil
	}
}

func slowClients(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	slowed := func() int64 { return sum(r.clients, func(s *actor.Status) int64 { return s.Slowed }) }
	before := slowed()
	return injection{effect: func(context.Context) (string, error) {
		if slowed() == before {
			return "", errors.New("no client had anything to read slowly")
		}
		return fmt.Sprintf("%d slow reads and more", slowed()-before), nil
	}, lasts: 4500 * time.Millisecond}, tell(r.clients, actor.Command{Do: actor.DoSlow, For: 4 * time.Second})
}

func vanishClients(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	group := r.groups["b"]
	if group == nil || group.Ended() {
		return injection{}, errors.New("the process with the clients has ended")
	}
	f.Target = group.name
	return injection{effect: r.taken(ctx, "close: no pong"), lasts: 6 * time.Second, undo: freeze(group.Process)}, nil
}

// expireTokens only waits: some clients always have tokens that last for seconds.
func expireTokens(ctx context.Context, r *round, f *history.Fault) (injection, error) {
	f.Detail = fmt.Sprintf("clients %v", r.names["expiring"])
	return injection{effect: r.taken(ctx, "close: token expired"), lasts: 5 * time.Second}, nil
}

// leastFlaps is the minimum number of connections.
const leastFlaps = 100

// flap connects and disconnects: within the handshake, right after it, and in the
// middle of a frame. The history has no record of these connections; a leak shows in
// the servers' baseline.
func flap(_ context.Context, r *round, _ *history.Fault) (injection, error) {
	token, err := auth.Issue(auth.Config{Secret: []byte(r.secret)}, r.users[0].ID, "", time.Minute)
	if err != nil {
		return injection{}, err
	}
	handshake := fmt.Sprintf("GET /ws/%s HTTP/1.1\r\nHost: verify\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n", r.users[0].ID, token)
	halfFrame := "\x81\xfe\x10\x00" // of a text of 4096 bytes
	texts := []string{"", handshake[:40], handshake, handshake + halfFrame}
	servers, began, n := r.all(), time.Now(), 0
	return injection{effect: func(ctx context.Context) (string, error) {
		for time.Since(began) < 2*time.Second || n < leastFlaps {
			conn, err := net.DialTimeout("tcp", servers[n%len(servers)].addr, time.Second)
			if err != nil {
				return "", err // a server may be down
			}
			_, _ = conn.Write([]byte(texts[n%len(texts)])) // the server may have closed it
			if n%3 == 0 {
				_ = conn.(*net.TCPConn).SetLinger(0) // a reset instead of an orderly close
			}
			_ = conn.Close()
			if n++; !pause.For(ctx, 5*time.Millisecond) {
				return "", context.Cause(ctx)
			}
		}
		return fmt.Sprintf("%d connections", n), nil
	}}, nil
}

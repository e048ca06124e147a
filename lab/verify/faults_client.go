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
	{name: "client-stall", says: "clients with small buffers stop reading for 4 s, and much is written for them", kind: kindClient, safe: true, paths: []string{"close: too slow"}, begin: stalling(actor.DoStall)},
	{name: "client-crawl", says: "clients with small buffers read one byte a second for 4 s, and much is written for them", kind: kindClient, safe: true, paths: []string{"close: too slow"}, begin: stalling(actor.DoCrawl)},
	{name: "client-slow", says: "clients read twenty frames a second for 4 s", kind: kindClient, safe: true, begin: slowClients},
	{name: "client-vanish", says: "SIGSTOP of a process with many clients for 6 s", kind: kindClient, safe: true, paths: []string{"close: no pong"}, begin: vanishClients},
	{name: "client-flap", says: "connections that come and go 200 times a second for 2 s, most of them in the middle of something", kind: kindClient, safe: true, begin: flap},
	{name: "token-expiry", says: "tokens that run out in the middle, and some that are renewed in time", kind: kindClient, safe: true, paths: []string{"close: token expired"}, begin: expireTokens},
}

// connections is how many connections the clients have begun so far.
func (r *round) connections() int64 {
	return sum(r.clients, func(s *actor.Status) int64 { return s.Dials })
}

func storm(_ context.Context, r *round, _ *history.Fault) (deed, error) {
	return deed{felt: times(3, 0, "connections", func(ctx context.Context) (int, error) {
		before := r.connections()
		err := tell(r.clients, actor.Command{Do: actor.DoStorm})
		pause.For(ctx, time.Second)
		return int(r.connections() - before), err
	})}, nil
}

// stalling fills what lies between a server and clients that do not read, or
// hardly.
func stalling(how string) func(context.Context, *round, *history.Fault) (deed, error) {
	return func(ctx context.Context, r *round, f *history.Fault) (deed, error) {
		small, slow := r.names["small"], r.taken(ctx, "close: too slow")
		user := r.users[1].ID // whose clients those are
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
		return deed{felt: stall}, nil
	}
}

func slowClients(_ context.Context, r *round, _ *history.Fault) (deed, error) {
	slowed := func() int64 { return sum(r.clients, func(s *actor.Status) int64 { return s.Slowed }) }
	before := slowed()
	return deed{felt: func(context.Context) (string, error) {
		if slowed() == before {
			return "", errors.New("no client had anything to read slowly")
		}
		return fmt.Sprintf("%d slow reads and more", slowed()-before), nil
	}, lasts: 4500 * time.Millisecond}, tell(r.clients, actor.Command{Do: actor.DoSlow, For: 4 * time.Second})
}

func vanishClients(ctx context.Context, r *round, f *history.Fault) (deed, error) {
	group := r.groups["b"]
	if group == nil || group.Ended() {
		return deed{}, errors.New("the clients that vanish are gone")
	}
	f.Target = group.name
	return deed{felt: r.taken(ctx, "close: no pong"), lasts: 6 * time.Second, undo: freeze(group.Process)}, nil
}

// expireTokens only waits: tokens of some clients last for seconds all the time.
func expireTokens(ctx context.Context, r *round, f *history.Fault) (deed, error) {
	f.Detail = fmt.Sprintf("clients %v", r.names["expiring"])
	return deed{felt: r.taken(ctx, "close: token expired"), lasts: 5 * time.Second}, nil
}

// leastFlaps is how many connections must have come and gone.
const leastFlaps = 100

// flap connects and breaks off: within the handshake, right after it, and in the
// middle of a frame. Nobody writes these down; the baseline tells.
func flap(_ context.Context, r *round, _ *history.Fault) (deed, error) {
	token, err := auth.Issue(auth.Config{Secret: []byte(r.secret)}, r.users[0].ID, "", time.Minute)
	if err != nil {
		return deed{}, err
	}
	handshake := fmt.Sprintf("GET /ws/%s HTTP/1.1\r\nHost: verify\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n", r.users[0].ID, token)
	halfFrame := "\x81\xfe\x10\x00" // of a text of 4096 bytes
	texts := []string{"", handshake[:40], handshake, handshake + halfFrame}
	began, n := time.Now(), 0
	return deed{felt: func(ctx context.Context) (string, error) {
		for time.Since(began) < 2*time.Second || n < leastFlaps {
			conn, err := net.DialTimeout("tcp", r.servers[n%len(r.servers)].addr, time.Second)
			if err != nil {
				return "", err // a server may be down
			}
			_, _ = conn.Write([]byte(texts[n%len(texts)])) // it may be closed
			if n%3 == 0 {
				_ = conn.(*net.TCPConn).SetLinger(0) // a reset, not an ordered end
			}
			_ = conn.Close()
			if n++; !pause.For(ctx, 5*time.Millisecond) {
				return "", context.Cause(ctx)
			}
		}
		return fmt.Sprintf("%d connections", n), nil
	}}, nil
}

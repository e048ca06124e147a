package verify

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/verify/actor"
	"github.com/taskfeed/taskfeed/internal/verify/history"
)

var clientFaults = []fault{
	{name: "storm", says: "all clients hang up and connect again at once, three times", kind: kindClient, safe: true, run: storm},
	{name: "client-stall", says: "clients with small buffers stop reading for 5 s, and much is written for them", kind: kindClient, safe: true, paths: []string{"close: too slow"}, run: stallClients},
	{name: "client-slow", says: "clients read twenty frames a second for 6 s", kind: kindClient, safe: true, run: slowClients},
	{name: "client-vanish", says: "SIGSTOP of a process with many clients for 6 s", kind: kindClient, safe: true, paths: []string{"close: no pong"}, run: vanishClients},
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

// stallClients fills what lies between a server and clients that do not read.
func stallClients(ctx context.Context, r *round, f *history.Fault) error {
	small := r.names["small"]
	if err := tell(r.clients, actor.Command{Do: actor.DoStall, Names: small, For: 5 * time.Second}); err != nil {
		return err
	}
	pause(ctx, 100*time.Millisecond)
	user := r.users[1].ID // whose clients those are
	if err := tell(r.writers, actor.Command{Do: actor.DoBurst, User: user}); err != nil {
		return err
	}
	f.Fired, f.Target = true, user
	pause(ctx, 6*time.Second)
	return nil
}

func slowClients(ctx context.Context, r *round, f *history.Fault) error {
	err := tell(r.clients, actor.Command{Do: actor.DoSlow, For: 6 * time.Second})
	f.Fired = err == nil
	pause(ctx, 7*time.Second)
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

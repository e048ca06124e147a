package main

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
)

// The recipe for HAProxy sends feeds to a gateway and everything else to a core.
func TestProxyBeforeGateways(t *testing.T) {
	t.Parallel()
	program, err := exec.Command(top+"/web/browser/setup", "haproxy").Output()
	if err != nil {
		t.Skip("there is no HAProxy on this machine")
	}
	nats := natstest.Start(t, permissions(t))
	db := pgtest.New(t)
	core, gateway := startServing(t, db, asEngine(nats, "core")...), startGateway(t, asEngine(nats, "gateway")...)
	behind := *core
	behind.base = startProxy(t, core, strings.TrimSpace(string(program)), proxyRecipe{
		file: "haproxy-gateways.cfg",
		changes: func(port, upstream string) map[string]string {
			return map[string]string{
				"bind :443 ssl crt /etc/haproxy/feed.example.com.pem":                                         "bind 127.0.0.1:" + port,
				"server one 10.0.0.11:8080\n    server two 10.0.0.12:8080\n":                                  "server one 127.0.0.1:" + upstream + "\n",
				"server one 10.0.1.11:8080\n    server two 10.0.1.12:8080\n    server three 10.0.1.13:8080\n": "server one " + strings.TrimPrefix(gateway.base, "http://") + "\n",
			}
		},
		args: []string{"-db", "-f"},
	})
	bearer := http.Header{"Authorization": {"Bearer " + testToken(t, "alice")}}
	conn, stream := dialPlain(t, &behind, "alice"), ssetest.Open(t, behind.base+"/v1/events/stream", bearer)
	stream.ExpectLive(0)
	addTask(t, db, "a")
	if f := nextFrame(t, conn); f.Event.TaskID != "a" {
		t.Errorf("WebSocket: got %s of task %q, want the event of a", f.Type, f.Event.TaskID)
	}
	if f := stream.Frame(); f.Event.TaskID != "a" {
		t.Errorf("stream: got %s of task %q, want the event of a", f.Type, f.Event.TaskID)
	}
	if on, off := gateway.metric(t, "taskfeed_connections"), core.metric(t, "taskfeed_connections"); on != "2" || off != "0" {
		t.Errorf("connections: got %s on the gateway and %s on the core, want both on the gateway", on, off)
	}
	for path, want := range map[string]int{"/docs": 200, "/console": 200, "/sdk/taskfeed.js": 200, "/v1/me/tasks": 401, "/metrics": 404, "/readyz": 404} {
		if status, _ := get(t, behind.base+path); status != want {
			t.Errorf("%s: got status %d, want %d", path, status, want)
		}
	}
}

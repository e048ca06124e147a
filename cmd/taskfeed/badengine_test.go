package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/relay"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
)

// addTask makes a task of alice's, and wants its event to be the next that a client gets.
func addTask(t *testing.T, db, id string) {
	t.Helper()
	pgtest.Exec(t, db, fmt.Sprintf("INSERT INTO taskfeed.tasks (id, user_id) VALUES ('%s', 'alice')", id))
}

func wantTask(t *testing.T, s *serving, db, id string) {
	t.Helper()
	conn := dialPlain(t, s, "alice")
	defer conn.Close()
	addTask(t, db, id)
	if f := nextFrame(t, conn); f.Event.TaskID != id {
		t.Errorf("got %s of task %q, want the event of %q", f.Type, f.Event.TaskID, id)
	}
}

// wantLogged waits until a server's log has a text, and sees that it has no password.
func (s *serving) wantLogged(t *testing.T, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the log has %q", text), 30*time.Second, func() bool { return strings.Contains(s.stderr.String(), text) })
	_, metrics := get(t, s.base+"/metrics")
	_, ready := get(t, s.base+"/readyz?verbose")
	if all := s.stderr.String() + metrics + ready; strings.Contains(all, "S3cretPass") {
		t.Errorf("a password is shown:\n%s", all)
	}
}

// launchGateway is startGateway without waiting until it is ready.
func launchGateway(t *testing.T, env ...string) *serving {
	t.Helper()
	port := freePort(t)
	env = append([]string{"TASKFEED_JWT_SECRET=" + testSecret, "TASKFEED_ADDR=127.0.0.1", "PORT=" + port, "TASKFEED_DRAIN=1s", "TASKFEED_LOG_LEVEL=debug"}, env...)
	return &serving{start(t, env, "gateway"), "http://127.0.0.1:" + port}
}

// An engine that cannot be reached keeps no user of a core waiting.
func TestBadInput170EngineURL(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	env := []string{"TASKFEED_ENGINE_URL=nats://core:S3cretPass@127.0.0.1:1", "TASKFEED_LOG_LEVEL=debug"}
	core, gateway := startServing(t, db, env...), launchGateway(t, env...)
	const want = "no server of its URLs can be reached: check that it runs"
	core.wantLogged(t, want)
	gateway.wantLogged(t, want)
	wantTask(t, core, db, "a")
	if status, body := get(t, gateway.base+"/readyz?verbose"); status != http.StatusServiceUnavailable || !strings.Contains(body, "has not reached the engine") {
		t.Errorf("/readyz of the gateway: got %d %s, want 503 with the reason", status, body)
	}
	if status, _ := get(t, gateway.base+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz of the gateway: got %d, want 200: a restart would not help", status)
	}
}

// Missing permissions are logged and counted. A gateway that may not hear the log still
// gets all of it, by asking.
func TestBadInput171Permissions(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, strings.Replace(permissions(t), "users: [", `users: [
		{ user: half, password: half-password, permissions: { publish: "taskfeed.ask", subscribe: "_INBOX.>" } }
		{ user: dumb, password: dumb-password, permissions: { publish: { deny: ">" }, subscribe: ["taskfeed.log", "taskfeed.ask"], allow_responses: true } }`, 1))
	db := pgtest.New(t)
	core, gateway := startServing(t, db, asEngine(nats, "dumb")...), startGateway(t, asEngine(nats, "half")...)
	wantTask(t, gateway, db, "a")
	core.wantLogged(t, `Permissions Violation for Publish to \"taskfeed.log\"; see the permissions of cores and gateways in docs/SCALING.md`)
	gateway.wantLogged(t, `Permissions Violation for Subscription to \"taskfeed.log\"; see the permissions of cores and gateways in docs/SCALING.md`)
	for _, s := range []*serving{core, gateway} {
		if got := s.metric(t, `taskfeed_engine_errors_total{kind="other"}`); got == "0" || got == "" {
			t.Errorf("faults of the engine: got %q, want some", got)
		}
	}
}

func TestBadInput173MaxPayload(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, "max_payload: 64KB")
	db := pgtest.New(t)
	core := startServing(t, db, "TASKFEED_ENGINE_URL="+nats.URL())
	core.wantLogged(t, "the engine takes messages of 65536 bytes at most and events need 524288: raise its max_payload")
	wantTask(t, core, db, "a")
}

// What others say on the subject of the log changes nothing for users: another
// deployment (bad input 174), and messages that are forged (bad input 175).
func TestBadInput174And175Strangers(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, permissions(t))
	ours, others := pgtest.New(t), pgtest.New(t)
	pgtest.Exec(t, others, "UPDATE taskfeed.log_state SET log_id = gen_random_uuid()") // the databases of tests are copies of one
	startServing(t, ours, asEngine(nats, "core")...)
	gateway := startGateway(t, asEngine(nats, "gateway")...)
	conn := dialPlain(t, gateway, "alice")
	next := func(want string) {
		t.Helper()
		addTask(t, ours, want)
		if f := nextFrame(t, conn); f.Event.TaskID != want {
			t.Errorf("got %s of task %q, want the event of %q", f.Type, f.Event.TaskID, want)
		}
	}
	next("a")

	as := func(user string) *natsrelay.Transport {
		tr, err := natsrelay.Connect(t.Context(), natsrelay.Config{URLs: nats.URL(), User: user, Password: user + "-password", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tr.Close)
		return tr
	}
	genuine := make(chan []byte, 100)
	core := as("core")
	stop, err := core.Subscribe("taskfeed.log", func(message []byte) {
		select {
		case genuine <- bytes.Clone(message):
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	message := <-genuine // a beacon comes each second
	stop()
	forged := forgeries(t, message)
	for _, tr := range []*natsrelay.Transport{as("gateway"), core} { // the first may not publish
		for _, m := range forged {
			if err := tr.Publish("taskfeed.log", m); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := tr.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	eventually(t, "the forged messages of one are refused", 30*time.Second, func() bool {
		return gateway.metric(t, `taskfeed_relay_messages_total{result="refused"}`) == fmt.Sprint(len(forged))
	})
	gateway.wantLogged(t, "message refused")
	next("b")

	startServing(t, others, asEngine(nats, "core")...)
	addTask(t, others, "of another deployment")
	eventually(t, "the gateway says that another log is there", 30*time.Second, func() bool {
		status, body := get(t, gateway.base+"/readyz?verbose")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "another log is published under the same prefix")
	})
	next("c")
}

// forgeries are messages like a genuine one, each with something wrong.
func forgeries(t *testing.T, genuine []byte) [][]byte {
	t.Helper()
	heard, err := relay.Overhear(genuine)
	if err != nil || heard == nil {
		t.Fatalf("a genuine message: got %v, %v", heard, err)
	}
	later := bytes.Clone(genuine)
	later[2]++
	absurd := append([]byte{'T', 'F', genuine[2], 1}, heard.Lineage.ID[:]...)
	absurd = binary.AppendUvarint(absurd, uint64(heard.Lineage.Epoch))
	absurd = binary.AppendUvarint(absurd, 0)
	absurd = binary.AppendUvarint(absurd, uint64(heard.Through)+1_000_000)
	absurd = binary.AppendVarint(absurd, 0)
	many := binary.AppendUvarint(bytes.Clone(absurd), 1<<60) // frames
	large := append(binary.AppendUvarint(absurd, 1), 1)      // one frame, compressed
	large = binary.AppendUvarint(large, 1<<31)               // of that size
	return [][]byte{[]byte("hello"), {}, genuine[:len(genuine)/2], later, many, large}
}

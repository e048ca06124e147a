package main

import (
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// engineUsers is a NATS with the permissions of docs/SCALING.md and users with others.
func engineUsers(t *testing.T) string {
	return strings.Replace(permissions(t), "users: [", `users: [
		{ user: all, password: all-password }
		{ user: mute, password: mute-password, permissions: { publish: { deny: ">" }, subscribe: "taskfeed.log" } }
		{ user: deaf, password: deaf-password, permissions: { publish: "taskfeed.log", subscribe: { deny: ">" } } }
		{ user: silent, password: silent-password, permissions: { publish: ["taskfeed.log", "taskfeed.gateways"], subscribe: ["taskfeed.log", "taskfeed.ask", "taskfeed.gateways", "_INBOX.>"] } }
	`, 1)
}

// doctor says which permissions are missing, and which are too many.
func TestDoctorEnginePermissions(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, engineUsers(t))
	db := pgtest.New(t)
	startServing(t, db, asEngine(nats, "core")...)
	for _, tt := range []struct {
		user, flag string
		problems   []string
	}{
		{"core", "--engine", nil},
		{"gateway", "--gateway", nil},
		{"all", "--engine", nil},
		{"all", "--gateway", []string{"may publish on taskfeed.log, so whoever takes over a gateway", "may subscribe to taskfeed.ask, so", "may publish on taskfeed.gateways, so", "may publish on _INBOX.>, so"}},
		{"core", "--gateway", []string{"may publish on taskfeed.log, so", "may subscribe to taskfeed.ask, so", "may publish on taskfeed.gateways, so", "may not publish on taskfeed.ask, and a gateway has to"}},
		{"gateway", "--engine", []string{"may not publish on taskfeed.log, and a core has to", "may not subscribe to taskfeed.ask, and a core has to", "may not publish on taskfeed.gateways, and a core has to"}},
		{"mute", "--gateway", []string{"may not subscribe to _INBOX.>, and", "may not subscribe to taskfeed.gateways, and", "may not publish on taskfeed.ask, and"}},
		{"deaf", "--engine", []string{"may not subscribe to taskfeed.log, and", "may not subscribe to taskfeed.ask, and", "may not subscribe to _INBOX.>, and", "may not subscribe to taskfeed.gateways, and", "may not publish on taskfeed.gateways, and"}},
		{"silent", "--engine", []string{"may not answer questions, and a core has to: set allow_responses"}},
	} {
		status, out, errs := try(t, asEngine(nats, tt.user), "doctor", tt.flag)
		want := 0
		if len(tt.problems) > 0 {
			want = 1
		}
		if n := strings.Count(out, "problem: "); status != want || n != len(tt.problems) || strings.Contains(out+errs, tt.user+"-password") {
			t.Errorf("%s %s: got status %d and %d problems, want %d and %d:\n%s%s", tt.user, tt.flag, status, n, want, len(tt.problems), out, errs)
		}
		for _, problem := range tt.problems {
			if !strings.Contains(out, "problem: the engine's user "+problem) {
				t.Errorf("%s %s: got\n%swant %q", tt.user, tt.flag, out, problem)
			}
		}
		if everything := strings.Contains(out, "note: the engine's user may subscribe to everything"); everything != (tt.user == "all") {
			t.Errorf("%s %s: got\n%swant a note about everything only for a user without limits", tt.user, tt.flag, out)
		}
	}
	status, out, errs := try(t, append(asEngine(nats, "core"), "DATABASE_URL="+db), "doctor")
	if status != 0 || !strings.Contains(out, "note: heard on taskfeed.log: log ") || !strings.Contains(out, "notifications arrive") {
		t.Errorf("with the database: got status %d and\n%s%s", status, out, errs)
	}
}

// asEngine are the settings of a user of NATS.
func asEngine(nats *natstest.Server, user string) []string {
	return []string{"TASKFEED_ENGINE_URL=" + nats.URL(), "TASKFEED_ENGINE_USER=" + user, "TASKFEED_ENGINE_PASSWORD=" + user + "-password"}
}

// doctor sees who publishes, and what is not there.
func TestDoctorEngineSurroundings(t *testing.T) {
	t.Parallel()
	small := natstest.Start(t, "max_payload: 64KB")
	for _, flag := range []string{"--engine", "--gateway"} {
		if status, out, _ := try(t, []string{"TASKFEED_ENGINE_URL=" + small.URL()}, "doctor", flag); status != 1 || !strings.Contains(out, "problem: the engine takes messages of 65536 bytes at most and events need 524288: raise its max_payload") {
			t.Errorf("max_payload of 64 KB, %s: got status %d and\n%s", flag, status, out)
		}
	}
	nats := natstest.Start(t, "")
	env := func(more ...string) []string {
		return append([]string{"TASKFEED_ENGINE_URL=" + nats.URL() + ",nats://u:hidden@127.0.0.1:1"}, more...)
	}
	status, out, _ := try(t, env(), "doctor", "--gateway")
	for _, want := range []string{"note: engine 127.0.0.1:", "round trip", "problem: engine 127.0.0.1:1: no server", "problem: no core answers on taskfeed.ask", "problem: nothing is heard on taskfeed.log"} {
		if status != 1 || !strings.Contains(out, want) || strings.Contains(out, "hidden") {
			t.Errorf("without a core: got status %d and\n%swant %q", status, out, want)
		}
	}
	one, other := pgtest.New(t), pgtest.New(t)
	pgtest.Exec(t, other, "UPDATE taskfeed.log_state SET log_id = gen_random_uuid()") // the databases of tests are copies of one
	startServing(t, one, "TASKFEED_ENGINE_URL="+nats.URL())
	status, out, _ = try(t, env("DATABASE_URL="+other), "doctor")
	if status != 1 || !strings.Contains(out, "problem: another deployment publishes on taskfeed.log") {
		t.Errorf("the core of another database: got status %d and\n%s", status, out)
	}
	startServing(t, other, "TASKFEED_ENGINE_URL="+nats.URL())
	older := pgtest.New(t)
	pgtest.Exec(t, older, "UPDATE taskfeed.log_state SET epoch = epoch + 1")
	startServing(t, older, "TASKFEED_ENGINE_URL="+nats.URL())
	status, out, _ = try(t, env(), "doctor", "--gateway")
	for _, want := range []string{"problem: two deployments publish on taskfeed.log: give each a prefix of its own", "is published with the epochs 0 and 1: "} {
		if status != 1 || !strings.Contains(out, want) {
			t.Errorf("two deployments, and one with another epoch: got status %d and\n%swant %q", status, out, want)
		}
	}
}

// What is missing to ask the doctor is said, as a mistake of use.
func TestDoctorEngineUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env, args []string
		want      string
	}{
		{nil, []string{"--engine"}, "TASKFEED_ENGINE_URL: it is missing"},
		{nil, []string{"--gateway"}, "TASKFEED_ENGINE_URL: it is missing"},
		{[]string{"TASKFEED_ENGINE_URL=nats://a"}, nil, "DATABASE_URL: it is missing; to check the engine alone: --engine"},
		{[]string{"TASKFEED_ENGINE_URL=nats://a", "DATABASE_URL=postgres://h/db"}, []string{"--gateway"}, "DATABASE_URL: a gateway has no database"},
		{[]string{"TASKFEED_ENGINE_URL=nats://a"}, []string{"--engine", "--reconcile"}, "--reconcile needs the database"},
		{[]string{"TASKFEED_ENGINE_URL=nats://a", "TASKFEED_ENGINE_KEY_FILE=/k"}, []string{"--engine"}, "TASKFEED_ENGINE_CERT_FILE: it needs"},
	} {
		if status, _, errs := try(t, tt.env, append([]string{"doctor"}, tt.args...)...); status != 2 || !strings.Contains(errs, tt.want) {
			t.Errorf("%v %v: got status %d, %s, want 2 and %q", tt.env, tt.args, status, errs, tt.want)
		}
	}
}

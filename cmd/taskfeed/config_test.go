package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/cli"
)

// try runs the program in this process.
func try(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	status = cli.Run(ctx, rootCommand, args, env, &out, &errs)
	return status, out.String(), errs.String()
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	good := []string{"DATABASE_URL=postgres://app:hunter2@127.0.0.1:1/x", "TASKFEED_JWT_SECRET=" + testSecret}
	cases := []struct {
		name string
		env  []string
		args []string
		want []string
	}{
		{"bad input 64: an unknown flag", good, []string{"--retantion=1h"}, []string{"did you mean --retention?", "serve --help"}},
		{"bad input 64: a duration without a unit", good, []string{"--drain=10"}, []string{"--drain", "with a unit"}},
		{"bad input 64: a negative duration", append(good, "TASKFEED_RETENTION=-1h"), nil, []string{"TASKFEED_RETENTION", "at least 1m"}},
		{"bad input 64: not a number", append(good, "TASKFEED_MAX_CONNECTIONS=many"), nil, []string{"TASKFEED_MAX_CONNECTIONS", "whole number"}},
		{"bad input 64: all errors at once", append(good, "PORT=http", "TASKFEED_LOG_LEVEL=loud", "TASKFEED_MIGRATE=perhaps"), nil,
			[]string{"PORT", "TASKFEED_LOG_LEVEL", "TASKFEED_MIGRATE"}},
		{"bad input 65: a short secret", []string{good[0], "TASKFEED_JWT_SECRET=short"}, nil, []string{"TASKFEED_JWT_SECRET", "at least 32"}},
		{"bad input 65: no way to check tokens", good[:1], nil, []string{"TASKFEED_JWT_SECRET", "TASKFEED_JWKS_URL"}},
		{"bad input 66: any origin", append(good, "TASKFEED_ALLOWED_ORIGINS=*"), nil, []string{"TASKFEED_ALLOWED_ORIGINS"}},
		{"bad input 100: origins that never match", append(good, "TASKFEED_ALLOWED_ORIGINS=https://a.example, https://*,wss://b.example,https://c.example/"), nil,
			[]string{"TASKFEED_ALLOWED_ORIGINS: entry 2: a star", "entry 3: an origin is that of the page", "entry 4: an origin has no path"}},
		{"bad input 67: a recent log for no event", append(good, "TASKFEED_RECENT_LOG=1000"), nil, []string{"TASKFEED_RECENT_LOG", "2097152", `or "off"`}},
		{"no database", good[1:], nil, []string{"DATABASE_URL", "taskfeed dev"}},
		{"an argument too many", good, []string{"now"}, []string{"takes no arguments"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, _, stderr := try(t, c.env, append([]string{"serve"}, c.args...)...)
			if status != 2 {
				t.Errorf("exit status %d, want 2", status)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr %q does not mention %q", stderr, want)
				}
			}
			for _, secret := range []string{"hunter2", "short\n", testSecret} {
				if strings.Contains(stderr, secret) {
					t.Errorf("stderr shows the secret %q", secret)
				}
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	env := []string{"TASKFEED_JWT_SECRET=" + testSecret, "TASKFEED_START_WAIT=0s", "PORT=0"}
	for name, url := range map[string]string{
		"bad input 68: a URL that cannot be parsed":      "postgres://app:hunter2@host:port/x",
		"bad input 68: a database that does not answer":  "postgres://app:hunter2@127.0.0.1:1/x",
		"bad input 68: a keyword form with a bad option": "host=127.0.0.1 password=hunter2 sslmode=never",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := try(t, append(env, "DATABASE_URL="+url), "serve")
			if status == 0 {
				t.Error("exit status 0, want a failure")
			}
			if strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("the password is shown: %s", stderr)
			}
		})
	}
}

func TestSettingsPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	read := func() string {
		var got string
		ss := newSettings([]*setting{{"TASKFEED_THING", "a thing", "from the default", text(&got)}})
		if err := ss.read(func(name string) string { return env[name] }); err != nil {
			t.Fatalf("read: %v", err)
		}
		return got
	}
	for _, step := range []struct{ name, value, want string }{
		{"", "", "from the default"},
		{"TASKFEED_THING_FILE", file, "from the file"},
		{"TASKFEED_THING", "from the environment", "from the environment"},
	} {
		env[step.name] = step.value
		if got := read(); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

func TestTokenCommand(t *testing.T) {
	t.Parallel()
	env := []string{"TASKFEED_JWT_SECRET=" + testSecret}
	status, stdout, stderr := try(t, env, "token", "--user", "alice", "--role", "admin", "--ttl", "1h")
	if status != 0 || strings.Count(stdout, ".") != 2 || strings.Count(stdout, "\n") != 1 {
		t.Errorf("got status %d, stdout %q, stderr %q, want one token alone", status, stdout, stderr)
	}
	if status, _, stderr = try(t, env, "token"); status != 2 || !strings.Contains(stderr, "--user") {
		t.Errorf("without a user: status %d, stderr %q, want 2 and a hint at --user", status, stderr)
	}
	if status, _, stderr = try(t, nil, "token", "--user", "alice"); status != 2 || !strings.Contains(stderr, "TASKFEED_JWT_SECRET") {
		t.Errorf("without a secret: status %d, stderr %q, want 2 and the setting's name", status, stderr)
	}
}

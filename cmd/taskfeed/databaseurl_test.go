package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// An error about a wrong URL names the variable and never shows the URL. Once, a URL in
// quotes was parsed as the name of a parameter, sent to the server, and logged with its
// password.
func TestMalformedDatabaseURLs(t *testing.T) {
	t.Parallel()
	good := pgtest.New(t)
	const password = "S3cretPass"
	for name, c := range map[string]struct {
		env    []string
		status int
		want   string
	}{
		"a quote that is not closed": {[]string{`DATABASE_URL="postgres://u:` + password + `@h/db?sslmode=disable`}, 2, "DATABASE_URL: "},
		"no URL":                     {[]string{"DATABASE_URL=" + password}, 2, "DATABASE_URL: "},
		"a name in front":            {[]string{"DATABASE_URL=DATABASE_URL=postgres://u:" + password + "@h/db?x=y"}, 2, "DATABASE_URL: "},
		"sslmode":                    {[]string{"DATABASE_URL=postgres://u:" + password + "@h/db?sslmode=reqiured"}, 2, "sslmode (PGSSLMODE) must be"},
		"the URL to listen":          {[]string{"DATABASE_URL=" + good, "TASKFEED_LISTEN_DATABASE_URL=postgres://u:" + password + "@h:99999/db"}, 2, "TASKFEED_LISTEN_DATABASE_URL: "},
		"an unknown parameter":       {[]string{"DATABASE_URL=" + good + "&" + password + "=1"}, 1, "SQLSTATE 42704"},
		"an impossible parameter":    {[]string{"DATABASE_URL=" + good + "&work_mem=" + password}, 1, "SQLSTATE 22023"},
	} {
		for _, command := range [][]string{{"serve"}, {"doctor"}, {"migrate", "status"}} {
			t.Run(name+"/"+command[0], func(t *testing.T) {
				t.Parallel()
				env := append([]string{"TASKFEED_JWT_SECRET=" + testSecret, "PORT=0", "TASKFEED_ADDR=127.0.0.1"}, c.env...)
				status, stdout, stderr := try(t, env, command...)
				if said := stdout + stderr; status != c.status || !strings.Contains(said, c.want) || strings.Contains(said, password) {
					t.Errorf("got status %d and %q, want %d, %q, and no password", status, said, c.status, c.want)
				}
			})
		}
	}
}

// What shells and secret stores leave around a URL is removed.
func TestDatabaseURLsInQuotes(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("\ufeff'"+url+"'\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string]string{
		"quotes": `DATABASE_URL="` + url + `"`, "blanks": "DATABASE_URL= " + url + " \n", "a file with a byte order mark": "DATABASE_URL_FILE=" + file,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, _, stderr := try(t, []string{env}, "migrate", "status"); status != 0 {
				t.Errorf("got status %d and %q, want 0", status, stderr)
			}
		})
	}
}

// Secrets on the command line are refused: the list of processes shows them.
func TestNoFlagTakesASecret(t *testing.T) {
	t.Parallel()
	const password = "S3cretPass"
	for _, c := range []struct{ flag, value, want string }{
		{"--jwt-secret", password, "set TASKFEED_JWT_SECRET, or set TASKFEED_JWT_SECRET_FILE"},
		{"--database-url", "postgres://u:" + password + "@h/db", "set DATABASE_URL, or set DATABASE_URL_FILE"},
		{"--database-url", "postgres://u@h/db?sslmode=disable&password=" + password, "set DATABASE_URL, or set DATABASE_URL_FILE"},
		{"--database-url", "host=h user=u password=" + password, "set DATABASE_URL, or set DATABASE_URL_FILE"},
		{"--listen-database-url", "postgres://:" + password + "@h:5432/db", "set TASKFEED_LISTEN_DATABASE_URL, or"},
	} {
		status, stdout, stderr := try(t, []string{"TASKFEED_JWT_SECRET=" + testSecret, "DATABASE_URL=postgres://u@h/db"}, "serve", c.flag, c.value)
		if status != 2 || !strings.Contains(stderr, c.flag+": ") || !strings.Contains(stderr, c.want) || strings.Contains(stdout+stderr, password) {
			t.Errorf("%s: got status %d and %q, want 2, %q, and no secret", c.flag, status, stderr, c.want)
		}
	}
	_, _, stderr := try(t, nil, "migrate", "status", "--database-url", "postgres://u@127.0.0.1:1/db?connect_timeout=1")
	if strings.Contains(stderr, "a secret on a command line") || !strings.Contains(stderr, "127.0.0.1") {
		t.Errorf("a URL without a password: got %q, want it taken and the database not reached", stderr)
	}
}

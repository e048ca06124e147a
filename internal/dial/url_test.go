package dial_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

const secret = "S3cretPass"

// What a file, a shell or a secret store leaves around a URL is removed.
func TestClean(t *testing.T) {
	t.Parallel()
	const url = "postgres://u:p@h/db?sslmode=disable"
	for _, text := range []string{url, `"` + url + `"`, "'" + url + "'", "`" + url + "`", " " + url + "\n", "\ufeff" + url + "\r\n", " \"" + url + "\" ", `"` + " " + url + `"`, url + "\u00a0"} {
		if got := dial.Clean(text); got != url {
			t.Errorf("%q: got %q, want %q", text, got, url)
		}
	}
}

// Bad input 132: the error about a malformed URL says what is wrong and shows nothing of
// the URL. Once, with quotes around the URL, its password was logged as the name of an
// unknown parameter.
func TestRefusedURLs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	service := filepath.Join(dir, "service")
	if err := os.WriteFile(service, []byte("[known]\nhost=127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	looks := "postgres://user:password@host:5432/database"
	for text, want := range map[string]string{
		"":               "empty",
		" ":              "empty",
		`""`:             "empty",
		secret + "@h/db": looks,
		`"postgres://u:` + secret + `@h/db?sslmode=disable`:                                      looks,
		`postgres://u:` + secret + `@h/db?sslmode=disable" # x`:                                  looks,
		"DATABASE_URL=postgres://u:" + secret + "@h/db?x=y":                                      looks,
		"mysql://u:" + secret + "@h/db":                                                          "begin with postgres://",
		"jdbc:postgresql://h/db?user=u&password=" + secret:                                       looks,
		"postgresql+asyncpg://u:" + secret + "@h/db":                                             "begin with postgres://",
		"Postgres://u:" + secret + "@h/db":                                                       "begin with postgres://",
		"postgres:/u:" + secret + "@h/db?x=y":                                                    looks,
		"postgres://u:" + secret + "#1@h/db":                                                     looks,
		"postgres://u:" + secret + "/1@h/db":                                                     looks,
		"postgres://u:" + secret + "?1@h/db":                                                     looks,
		"postgres://u:12?" + secret + "@h/db":                                                    looks,
		"postgres://u:12?a=" + secret + "@h/db":                                                  looks,
		"postgres://u:12#" + secret + "@h/db":                                                    looks,
		"postgres://u:12/" + secret + "@h/db":                                                    looks,
		"postgres://u:" + secret + "%zz@h/db":                                                    looks,
		"postgres://u:" + secret + " 1@h/db":                                                     looks,
		"postgres://u:" + secret + "\n@h/db":                                                     looks,
		"postgres://u:" + secret + "@h/db?" + secret + "-x=1":                                    looks,
		"host=h password=pa " + secret + " x=1":                                                  looks,
		"host=h user='u password=" + secret:                                                      looks,
		"host=h user=u password=" + secret + "\x00 dbname=d":                                     looks,
		"postgres://u:" + secret + "@h:99999/db":                                                 "port",
		"postgres://u:" + secret + "@h:" + secret + "/db":                                        "port",
		"host=h,i port=1,2,3 password=" + secret:                                                 "port",
		"host=h port=" + secret + " password=" + secret:                                          "port",
		"postgres://u:" + secret + "@h/db?connect_timeout=abc":                                   "connect_timeout",
		"postgres://u:" + secret + "@h/db?connect_timeout=-1":                                    "connect_timeout",
		"postgres://u:" + secret + "@h/db?sslmode=requierd":                                      "sslmode",
		"host=h password=" + secret + " sslmode=" + secret:                                       "sslmode",
		"postgres://u:" + secret + "@h/db?sslmode=verify-full&sslrootcert=" + dir + "/none":      "sslrootcert",
		"postgres://u:" + secret + "@h/db?sslmode=verify-full&sslrootcert=" + service:            "sslrootcert",
		"postgres://u:" + secret + "@h/db?sslmode=require&sslcert=" + dir + "/none":              "sslcert and sslkey",
		"postgres://u:" + secret + "@h/db?sslmode=require&sslcert=" + service + "&sslkey=" + dir: "sslkey",
		"postgres://u:" + secret + "@h/db?service=unknown&servicefile=" + service:                "service",
		"postgres://u:" + secret + "@h/db?service=known&servicefile=" + dir + "/none":            "service",
		"postgres://u:" + secret + "@h/db?target_session_attrs=" + secret:                        "target_session_attrs",
		"postgres://u:" + secret + "@h/db?channel_binding=" + secret:                             "channel_binding",
		"postgres://u:" + secret + "@h/db?min_protocol_version=" + secret:                        "min_protocol_version",
		"postgres://u:" + secret + "@h/db?pool_max_conns=" + secret:                              "pool_max_conns",
		"postgres://u:" + secret + "@h/db?pool_max_conns=0":                                      "pool_max_conns",
		"postgres://u:" + secret + "@h/db?pool_max_conn_lifetime=" + secret:                      "durations",
		"postgres://u:" + secret + "@h/db?default_query_exec_mode=" + secret:                     "default_query_exec_mode",
		"postgres://u:" + secret + "@h/db?statement_cache_capacity=" + secret:                    "statement_cache_capacity",
		"postgres://u:" + secret + "@h/db?require_auth=" + secret:                                "require_auth",
		"postgres://u:" + secret + "@h/db?pool_health_check_period=0":                            "pool_health_check_period",
		"postgres://u:" + secret + "@h/db?pool_health_check_period=-1s":                          "pool_health_check_period",
		"postgres://u:" + secret + "@h/db?pool_health_check_period=1ns":                          "pool_health_check_period",
		"postgres://u:" + secret + "@h/db?pool_max_conn_lifetime=-1s":                            "pool_max_conn_lifetime",
		"postgres://u:" + secret + "@h/db?pool_max_conn_lifetime_jitter=-1s":                     "pool_max_conn_lifetime_jitter",
		"postgres://u:" + secret + "@h/db?pool_max_conn_idle_time=0s":                            "pool_max_conn_idle_time",
		"postgres://u:" + secret + "@h/db?pool_ping_timeout=1us":                                 "pool_ping_timeout",
		"postgres://u:" + secret + "@h/db?pool_min_conns=-1":                                     "pool_min_conns",
	} {
		err := dial.Check(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), dir)) {
			t.Errorf("%q: the error shows a part of it: %v", text, err)
		}
	}
}

// Every valid form of a database URL is accepted.
func TestAcceptedURLs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"postgres://u:p@h/db", "postgresql://h", "postgres:///db?host=/tmp", "postgres://h/a/b", "postgres://%2Frun%2Fpg/db", "postgres://u%40srv:p%2F%3F%23@h:5432/db%2F1",
		"postgres://h:5432/db?user=me@srv&password=x", "postgres://u:p@ss@h/db", "postgres://u:p@h1,h2/db", "postgres://u:p@h1:1,h2:2,h3/db", "postgres://u:p@[::1]:5432/db",
		"postgres://u:p@h/db?channel_binding=require&sslmode=require", "host=h dbname='my db' password='a b=c'", "user=u options='-c geqo=off'",
		"postgres://u:p@h/db?application_name=x&taskfeed.notify=off",
		"postgres://u:p@h/db?pool_max_conn_lifetime=0s&pool_ping_timeout=0s&pool_health_check_period=1m", "postgres://u:p@h/db?statement_cache_capacity=-1", " 'postgres://u:p@h/db' \n",
	} {
		if err := dial.Check(text); err != nil {
			t.Errorf("%q: got error %v, want none", text, err)
		}
	}
}

// A server's error at the start of a connection is not repeated.
func TestRefusedParameters(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	for _, parameters := range []string{
		secret + "=1", "work_mem=" + secret, "options=" + secret, "options=-c%20" + secret + "=1", "options=-c%20work_mem=" + secret,
		"port_x." + secret + "..y=1", "role=" + secret, "client_connection_check_interval=" + secret, "shared_buffers=" + secret,
		"local_preload_libraries=" + secret, "session_preload_libraries=" + secret, "local_preload_libraries=" + strings.Repeat(secret, 50), "options=-c%20local_preload_libraries=" + secret,
		"options=-c%20role=" + secret, "session_authorization=" + secret, "transaction_isolation=" + secret, "options=" + secret + "%20--" + secret, "replication=" + secret, "Replication=database",
		"temp_tablespaces=" + secret, "default_tablespace=" + secret, "default_text_search_config=" + secret, "log_statement=" + secret, "x." + secret + "-y=1",
	} {
		conn, err := dial.Connect(t.Context(), dial.Config{URL: url + "&" + parameters}, nil)
		if err == nil {
			_ = conn.Close(t.Context())
			if taken := strings.Contains(parameters, "tablespace") || strings.Contains(parameters, "text_search"); !taken { // a name is looked up when it is used
				t.Errorf("%s: got a connection, want an error", parameters)
			}
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats the parameter: %v", parameters, err)
		}
	}
}

// A role= in the URL that the user may not set is refused at the start of a
// connection (SQLSTATE 42501). The error names the code and not the role.
func TestRoleThatMayNotBeSet(t *testing.T) {
	t.Parallel()
	admin := pgtest.Empty(t)
	user, other := fmt.Sprint("dial_user_", os.Getpid()), fmt.Sprint("dial_other_", os.Getpid())
	pgtest.Exec(t, admin, "CREATE ROLE "+user+" LOGIN PASSWORD 'secret'")
	pgtest.Exec(t, admin, "CREATE ROLE "+other)
	t.Cleanup(func() {
		conn, err := pgtest.Dial(context.Background(), admin)
		if err != nil {
			t.Errorf("drop the roles: %v", err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), "DROP ROLE "+user+", "+other); err != nil {
			t.Errorf("drop the roles: %v", err)
		}
	})
	own, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	own.User = url.UserPassword(user, "secret")
	for _, parameters := range []string{"role=" + other, "options=-c%20role%3D" + other} {
		conn, err := dial.Connect(t.Context(), dial.Config{URL: own.String() + "&" + parameters}, nil)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		refused, ok := errors.AsType[*dial.ParameterError](err)
		if !ok || refused.SQLState != "42501" || strings.Contains(err.Error(), other) {
			t.Errorf("%s: got %v, want SQLSTATE 42501 without the role", parameters, err)
		}
	}
}

// The PG* variables complete a URL and are checked like it.
func TestEnvironment(t *testing.T) {
	good := pgtest.Empty(t)
	for variable, c := range map[string]struct{ value, want string }{
		"PGSSLMODE":            {secret, "sslmode (PGSSLMODE)"},
		"PGPORT":               {secret, "port"},
		"PGSERVICE":            {secret, "service (PGSERVICE)"},
		"PGCONNECT_TIMEOUT":    {secret, "connect_timeout (PGCONNECT_TIMEOUT)"},
		"PGTARGETSESSIONATTRS": {secret, "target_session_attrs (PGTARGETSESSIONATTRS)"},
		"PGOPTIONS":            {"-c " + secret + "=1", "SQLSTATE 42704"},
		"PGTZ":                 {secret, ""}, // ours wins
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, c.value)
			url := good
			if variable == "PGPORT" || variable == "PGSSLMODE" {
				url = "postgres://u:" + secret + "@h/db"
			}
			conn, err := dial.Connect(t.Context(), dial.Config{URL: url}, nil)
			if err == nil {
				_ = conn.Close(t.Context())
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("got error %v, want %q and no value", err, c.want)
			}
		})
	}
}

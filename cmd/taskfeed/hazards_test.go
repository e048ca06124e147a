package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/terminal"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// ordinaryServer is a server whose role owns the schema and is not a superuser.
func ordinaryServer(t *testing.T, name string) (s *serving, adminURL, role string) {
	t.Helper()
	adminURL = pgtest.Empty(t)
	serverURL := stranger(t, adminURL, name)
	t.Cleanup(func() { cleanUp(t, adminURL, `DROP SCHEMA taskfeed CASCADE`) }) // before the role goes
	role = fmt.Sprintf(`"%s %d"`, name, os.Getpid())
	u, err := url.Parse(adminURL)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	pgtest.Exec(t, adminURL, `GRANT CREATE ON DATABASE `+database+` TO `+role)
	t.Cleanup(func() { cleanUp(t, adminURL, `REVOKE CREATE ON DATABASE `+database+` FROM `+role) })
	return startServing(t, serverURL), adminURL, role
}

// awaitReady waits for an answer of /readyz with this status and a text in it.
func (s *serving) awaitReady(t *testing.T, status int, text string) {
	t.Helper()
	var got int
	var body string
	eventually(t, fmt.Sprintf("/readyz?verbose is %d with %s", status, text), 40*time.Second, func() bool {
		got, body = get(t, s.base+"/readyz?verbose")
		return got == status && strings.Contains(body, text)
	})
}

func wantDoctor(t *testing.T, dbURL string, want string) {
	t.Helper()
	if got, stdout, _ := try(t, []string{"DATABASE_URL=" + dbURL}, "doctor"); got != 1 || !strings.Contains(stdout, want) {
		t.Errorf("doctor: got status %d and %q, want 1 and %q", got, stdout, want)
	}
}

// Once, a restore or default privileges opened the log and nothing reported it.
func TestBadInput6Hazards(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	pgtest.Exec(t, dbURL, `GRANT SELECT ON taskfeed.events TO PUBLIC`)
	s := startServing(t, dbURL)
	s.awaitReady(t, http.StatusOK, `{"name":"rights","ok":false,"detail":"roles have rights in the schema taskfeed that no app needs; the server's log and taskfeed doctor show all"}`)
	if log, want := s.stderr.String(), "REVOKE SELECT ON TABLE taskfeed.events FROM PUBLIC"; !strings.Contains(log, want) {
		t.Errorf("the log lacks %q:\n%s", want, log)
	}
	if _, metrics := get(t, s.base+"/metrics"); !strings.Contains(metrics, `taskfeed_hazards{kind="rights"} 1`) {
		t.Errorf("/metrics lacks the hazard:\n%s", metrics)
	}
	wantDoctor(t, dbURL, "problem: SELECT of table events is open to PUBLIC: run taskfeed migrate up, or REVOKE")
	if got, _, stderr := try(t, []string{"DATABASE_URL=" + dbURL}, "migrate", "up"); got != 0 {
		t.Fatalf("migrate up: got status %d, %s", got, stderr)
	}
	s.awaitReady(t, http.StatusOK, `{"name":"rights","ok":true}`)
	if got, stdout, _ := try(t, []string{"DATABASE_URL=" + dbURL}, "doctor"); got != 0 {
		t.Errorf("doctor after migrate up: got status %d and %q, want 0", got, stdout)
	}
}

// Once, a publication made Postgres refuse the server's writes, and doctor found no
// problem.
func TestBadInput110Publication(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	pgtest.Exec(t, dbURL, `ALTER TABLE taskfeed.changes REPLICA IDENTITY DEFAULT`)
	pgtest.Exec(t, dbURL, `CREATE PUBLICATION cdc FOR ALL TABLES`)
	s.awaitReady(t, http.StatusServiceUnavailable, `table changes has no replica identity: the publication cdc makes Postgres refuse to change its rows`)
	wantDoctor(t, dbURL, "problem: table changes has no replica identity: the publication cdc makes")
	pgtest.Exec(t, dbURL, `ALTER TABLE taskfeed.changes REPLICA IDENTITY FULL`)
	s.awaitReady(t, http.StatusOK, `{"name":"publications","ok":true}`)
}

// Once, with FORCE ROW LEVEL SECURITY lists were empty while events were delivered, and
// no check failed.
func TestBadInput111RowSecurity(t *testing.T) {
	t.Parallel()
	s, adminURL, role := ordinaryServer(t, "bad input 111")
	pgtest.Exec(t, adminURL, `INSERT INTO taskfeed.tasks (id, user_id) VALUES ('t', 'alice')`)
	alice := apiOf(t, s, "alice", "")
	ask := func() (int, string) {
		answer, body := alice.do(http.MethodGet, "/v1/me/tasks")
		return answer.StatusCode, body
	}
	if status, body := ask(); status != http.StatusOK || !strings.Contains(body, `"id":"t"`) {
		t.Fatalf("before the policy: got %d %s, want the task", status, body)
	}
	pgtest.Exec(t, adminURL, `ALTER TABLE taskfeed.tasks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`)
	if status, body := ask(); status != http.StatusServiceUnavailable || !strings.Contains(body, "row-level security") || !strings.Contains(body, "taskfeed doctor") {
		t.Errorf("forced: got %d %s, want 503 with the reason and what to do", status, body)
	}
	s.awaitReady(t, http.StatusServiceUnavailable, `"name":"row_security","ok":false,"detail":"row-level security of table tasks applies to the role`)
	pgtest.Exec(t, adminURL, `ALTER ROLE `+role+` BYPASSRLS`)
	s.awaitReady(t, http.StatusOK, `{"name":"row_security","ok":true}`)
	if status, body := ask(); status != http.StatusOK || !strings.Contains(body, `"id":"t"`) {
		t.Errorf("with BYPASSRLS: got %d %s, want the task", status, body)
	}
}

// Once, with session_replication_role set for the database nothing was captured, and no
// check failed.
func TestBadInput153Replica(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	pgtest.Exec(t, dbURL, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database()); END $$`)
	s.awaitReady(t, http.StatusServiceUnavailable, `"name":"capture","ok":false,"detail":"a lasting setting makes sessions play a replica`)
	wantDoctor(t, dbURL, "problem: all sessions in the database ")
	if _, metrics := get(t, s.base+"/metrics"); !strings.Contains(metrics, `taskfeed_hazards{kind="capture"} 1`) {
		t.Errorf("/metrics lacks the hazard:\n%s", metrics)
	}
	pgtest.Exec(t, dbURL, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET session_replication_role', current_database()); END $$`)
	s.awaitReady(t, http.StatusOK, `{"name":"capture","ok":true}`)
}

// Once, names chosen by a stranger added lines to the output of doctor, and the SQL that
// it advised had another name.
func TestBadInput155Names(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	const odd = "a\x1b[31m\nok: \u202eall\\ is \"well\""
	name := `"` + strings.ReplaceAll(odd, `"`, `""`) + `"`
	pgtest.Exec(t, dbURL, `CREATE FUNCTION taskfeed.`+name+`() RETURNS int LANGUAGE sql RETURN 1`)
	pgtest.Exec(t, dbURL, `GRANT EXECUTE ON FUNCTION taskfeed.`+name+` TO PUBLIC`)
	_, stdout, _ := try(t, []string{"DATABASE_URL=" + dbURL}, "doctor")
	if strings.ContainsFunc(stdout, terminal.Obeyed) {
		t.Errorf("doctor: %q gives orders to a terminal", stdout)
	}
	for line := range strings.Lines(stdout) {
		if !strings.HasPrefix(line, "problem: ") && !strings.HasPrefix(line, "note: ") {
			t.Errorf("doctor: a line of a stranger's: %q", line)
		}
	}
	_, remedy, ok := strings.Cut(stdout, "or REVOKE")
	remedy, _, _ = strings.Cut(remedy, "\n")
	if !ok {
		t.Fatalf("doctor: got %q, want a REVOKE", stdout)
	}
	pgtest.Exec(t, dbURL, "REVOKE"+remedy)
	if _, stdout, _ := try(t, []string{"DATABASE_URL=" + dbURL}, "doctor"); strings.Contains(stdout, "problem: ") {
		t.Errorf("doctor after what it advised: %q, want no problem", stdout)
	}
}

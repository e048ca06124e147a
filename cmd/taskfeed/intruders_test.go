package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// A prepared transaction holds the leader lock, and has no session that could be ended.
// Once, no change became an event then, while readiness, metrics, log and doctor
// reported no problem.
func TestNobodyCanLead(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := startServing(t, url)
	s.Signal(9)
	<-s.Done()
	app := pgtest.Connect(t, url)
	run := func(sql string) {
		t.Helper()
		if _, err := app.PgConn().Exec(context.WithoutCancel(t.Context()), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	name := "leader " + url[len(url)-12:]
	eventually(t, "the lock is free", 20*time.Second, func() bool {
		var free bool
		run("BEGIN")
		if err := app.QueryRow(t.Context(), "SELECT pg_try_advisory_xact_lock(1952543595, 2)").Scan(&free); err != nil || !free {
			run("ROLLBACK")
			return false
		}
		run("PREPARE TRANSACTION '" + name + "'")
		return true
	})
	done := false
	end := func() {
		if !done {
			run("ROLLBACK PREPARED '" + name + "'")
		}
		done = true
	}
	defer end()

	s = launch(t, freePort(t), url)
	want := "ROLLBACK PREPARED '" + name + "'"
	s.awaitReady(t, http.StatusServiceUnavailable, want)
	if _, body := get(t, s.base+"/readyz?verbose"); !strings.Contains(body, "no server leads") {
		t.Errorf("/readyz: got %s, want that no server leads", body)
	}
	if _, body := get(t, s.base+"/metrics"); !strings.Contains(body, `taskfeed_foreign_locks{lock="leader",pid="0",role="`) {
		t.Error("/metrics does not show the foreign lock")
	}
	if log := s.stderr.String(); !strings.Contains(log, want) {
		t.Errorf("the log does not name the prepared transaction:\n%s", log)
	}
	if got, stdout, _ := try(t, []string{"DATABASE_URL=" + url}, "doctor"); got != 1 || !strings.Contains(stdout, want) {
		t.Errorf("doctor: status %d, %q; want 1 and what ends the prepared transaction", got, stdout)
	}
	end()
	eventually(t, "a leader", 20*time.Second, func() bool {
		status, _ := get(t, s.base+"/readyz")
		return status == http.StatusOK && s.leads(t)
	})
}

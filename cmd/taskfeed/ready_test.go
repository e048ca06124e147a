package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// The server stays ready under load: one statement of the sequencer sorts a backlog for
// longer than a feed may go without progress, every read of tasks waits for a lock, and
// many clients ask for health and metrics. Once, readiness turned 503 then: its checks
// shared connections with waiting reads, counted the backlog once a second, and saw no
// progress while a large backlog was sorted.
func TestReadyUnderLoad(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := startServing(t, url)
	before := len(s.stderr.String()) // a feed that has not started yet is not ready
	app := pgtest.Connect(t, url)
	run := func(sql string) {
		t.Helper()
		if _, err := app.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	run(`CREATE FUNCTION public.toil() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE clock_timestamp() < statement_timestamp() + interval '9 s' LOOP END LOOP; -- it works, it does not sleep
			RETURN NULL;
		END $$;
		CREATE TRIGGER toil BEFORE DELETE ON taskfeed.changes FOR EACH STATEMENT EXECUTE FUNCTION public.toil()`)
	run(`INSERT INTO taskfeed.changes (user_id, type, data) SELECT 'alice', 'note', '{}' FROM generate_series(1, 5000)`)
	holder := pgtest.Connect(t, url)
	if _, err := holder.PgConn().Exec(t.Context(), "BEGIN; LOCK TABLE taskfeed.tasks IN ACCESS EXCLUSIVE MODE").ReadAll(); err != nil {
		t.Fatal(err)
	}
	ctx, enough := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	ask := func(path, token string) {
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond): // 900 requests a second in all
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
		if err != nil {
			return
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if res, err := http.DefaultClient.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	for i := range 40 {
		token := testToken(t, fmt.Sprint("user", i))
		crowd.Go(func() {
			for ctx.Err() == nil {
				ask("/v1/me/tasks", token)
			}
		})
	}
	for range 5 {
		crowd.Go(func() {
			for ctx.Err() == nil {
				ask("/metrics", "")
			}
		})
	}
	defer crowd.Wait()
	defer enough()
	asked := 0
	var left int
	eventually(t, "the backlog is in the log", 90*time.Second, func() bool {
		asked++
		if status, body := get(t, s.base+"/readyz?verbose"); status != http.StatusOK {
			t.Errorf("/readyz: %d %s, want 200", status, body)
			return true
		}
		if err := app.QueryRow(t.Context(), "SELECT count(*) FROM taskfeed.changes").Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
	if asked < 10 {
		t.Errorf("readiness was asked %d times, want so often that this test means something", asked)
	}
	if log := s.stderr.String()[before:]; strings.Contains(log, "readiness check fails") {
		t.Errorf("a check failed meanwhile:\n%s", log)
	}
}

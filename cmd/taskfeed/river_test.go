package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// riverJob does what its number says.
type riverJob struct {
	UserID string `json:"user_id"`
	N      int    `json:"n"`
}

func (riverJob) Kind() string { return "export" }

type riverWorker struct {
	river.WorkerDefaults[riverJob]
}

// Work succeeds; or fails once, or always; or cancels; or snoozes once.
func (riverWorker) Work(ctx context.Context, job *river.Job[riverJob]) error {
	switch job.Args.N % 8 {
	case 1:
		return river.RecordOutput(ctx, map[string]int{"rows": job.Args.N})
	case 2:
		if job.Attempt == 1 {
			return errors.New("not yet")
		}
	case 3:
		return fmt.Errorf("attempt %d found no disk", job.Attempt)
	case 4:
		return river.JobCancel(errors.New("nobody wants it"))
	case 5:
		if !strings.Contains(string(job.Metadata), "snoozes") {
			return river.JobSnooze(0)
		}
	}
	return nil
}

// atOnce retries without delay.
type atOnce struct{}

func (atOnce) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

func riverClient(t *testing.T, db *pgxpool.Pool, kept time.Duration) *river.Client[pgx.Tx] {
	t.Helper()
	workers := river.NewWorkers()
	river.AddWorker(workers, riverWorker{})
	client, err := river.NewClient(riverpgxv5.New(db), &river.Config{Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 20}},
		RetryPolicy: atOnce{}, CompletedJobRetentionPeriod: kept, CancelledJobRetentionPeriod: kept, DiscardedJobRetentionPeriod: kept,
		FetchCooldown: 10 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler), TestOnly: true})
	if err != nil {
		t.Fatalf("make a client of River: %v", err)
	}
	return client
}

// working runs a client until a condition of the table holds.
func working(t *testing.T, db *pgxpool.Pool, kept time.Duration, until string) {
	t.Helper()
	client := riverClient(t, db, kept)
	if err := client.Start(t.Context()); err != nil {
		t.Fatalf("start River: %v", err)
	}
	eventually(t, until, time.Minute, func() bool {
		var done bool
		if err := db.QueryRow(t.Context(), "SELECT "+until+" FROM river_job").Scan(&done); err != nil {
			t.Fatalf("look at the jobs: %v", err)
		}
		return done
	})
	if err := client.Stop(t.Context()); err != nil {
		t.Fatalf("stop River: %v", err)
	}
}

// insertRiverJobs inserts jobs of alice and one of bob, and cancels every eighth
// before it runs.
func insertRiverJobs(t *testing.T, db *pgxpool.Pool, n int) {
	t.Helper()
	client := riverClient(t, db, -1)
	jobs := make([]river.InsertManyParams, n)
	for i := range jobs {
		jobs[i] = river.InsertManyParams{Args: riverJob{UserID: "alice", N: i}, InsertOpts: &river.InsertOpts{MaxAttempts: 2}}
	}
	inserted, err := client.InsertMany(t.Context(), append(jobs, river.InsertManyParams{Args: riverJob{UserID: "bob"}}))
	if err != nil {
		t.Fatalf("insert jobs: %v", err)
	}
	for i := 0; i < n; i += 8 {
		if _, err := client.JobCancel(t.Context(), inserted[i].Job.ID); err != nil {
			t.Fatalf("cancel a job: %v", err)
		}
	}
}

// riverRecord says by the rows of River what alice must have seen of each job: a
// start for each attempt, each snooze and each retry queued again, and its end.
func riverRecord(t *testing.T, db *pgxpool.Pool) (all []string) {
	t.Helper()
	rows, _ := db.Query(t.Context(), `
		SELECT id, state::text, cardinality(coalesce(errors, '{}')), coalesce((metadata->>'snoozes')::int, 0), coalesce(metadata->'output', 'null')::text, attempt
		FROM river_job
		WHERE args->>'user_id' = 'alice'`) // rows tell of errors too
	var id, failures, snoozes, attempt int
	var state, output string
	_, err := pgx.ForEachRow(rows, []any{&id, &state, &failures, &snoozes, &output, &attempt}, func() error {
		tell := func(what string) { all = append(all, fmt.Sprintf("%s river:%d", what, id)) }
		tell("task_queued")
		for starts := attempt + snoozes; starts > 0; starts-- {
			tell("task_started")
			if starts > 1 {
				tell("task_queued")
			}
		}
		switch state {
		case "completed":
			tell("task_completed")
			if output != "null" {
				all[len(all)-1] += " " + strings.ReplaceAll(output, " ", "")
			}
		case "discarded":
			tell("task_failed")
			all[len(all)-1] += fmt.Sprintf(` "attempt %d found no disk"`, attempt)
		case "cancelled":
			tell("task_canceled")
		default:
			t.Errorf("job %d is %s at the end", id, state)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("read the jobs: %v", err)
	}
	return all
}

// River itself works jobs that succeed, fail, are retried, snoozed and canceled, and
// cleans up after them. Alice sees what River has on record, each change once and in
// order, and nothing of its cleaning.
func TestPresetAgainstRiver(t *testing.T) {
	t.Parallel()
	const jobs = 200
	url := pgtest.New(t)
	db, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatalf("open the database: %v", err)
	}
	defer db.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(db), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("make a migrator: %v", err)
	}
	if _, err := migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatalf("make River's tables: %v", err)
	}
	r := runCLI(t, []string{"DATABASE_URL=" + url}, "attach", "river", "--user", "args->>'user_id'", "--with", "error,result")
	if r.status != 0 || !strings.Contains(r.stdout, "which this program knows\n") {
		t.Fatalf("attach: %s%s", r.stdout, r.stderr)
	}
	alice := dialPlain(t, startServing(t, url), "alice", "after=0")

	insertRiverJobs(t, db, jobs)
	working(t, db, -1, "bool_and(finalized_at IS NOT NULL)")
	want := byTask(riverRecord(t, db))
	working(t, db, time.Millisecond, "count(*) = 0")
	pgtest.Exec(t, url, `SELECT taskfeed.notify('alice', 'done', '{}')`)
	if got := byTask(seenUntil(t, alice, "done")); !slices.Equal(got, want) {
		t.Errorf("alice saw\n  %s\nand River has on record\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	var kept int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM taskfeed.tasks WHERE user_id = 'alice'`).Scan(&kept); err != nil || kept != jobs {
		t.Errorf("after River's cleaning %d tasks are left (%v), want %d", kept, err, jobs)
	}
}

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/bench"
	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// tiny returns a configuration with which each measurement takes about a second.
func tiny(t *testing.T) bench.Config {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bench.Config{
		Binary: binary,
		Engine: natstest.Build(t),
		Env:    []string{asProgram + "=1", "GORACE=" + os.Getenv("GORACE")},
		Sizes: bench.Sizes{Step: 20 * time.Millisecond, Rounds: 1, Writers: []int{1, 16}, Rows: 20, Audience: []int{20}, Senders: 20, Idle: 20, IdleTime: 40 * time.Millisecond,
			Missed: []int{30}, Returning: 5, MissedEach: 3, Logs: []int{100}, Backlog: 500, StreamUsers: 20, Connections: 20},
	}
}

// Every measurement works, and each figure is measured.
func TestBench(t *testing.T) {
	t.Parallel()
	cfg := tiny(t)
	cfg.Progress = t.Output()
	report, err := bench.Run(t.Context(), cfg)
	if err != nil {
		t.Fatalf("bench: %v", err)
	}
	mayBeZero := func(f bench.Figure) bool {
		return strings.HasPrefix(f.Name, "deadlocks") || strings.Contains(f.Name, "CPU") || strings.HasPrefix(f.Name, "memory") || strings.HasPrefix(f.Name, "reads") || strings.HasPrefix(f.Name, "transactions a second")
	}
	for _, f := range report.Figures {
		if (f.Value <= 0 || f.Baseline != "" && f.Base <= 0) && !mayBeZero(f) {
			t.Errorf("%s: got %v beside %v of %q, want a measured figure", f.Name, f.Value, f.Base, f.Baseline)
		}
	}
	for _, name := range []string{"single-row updates, 16 writers", "100-row updates, 1 writer", "two users", "leading server, at 50/s, p50", "following server, flat out",
		"1 event to 20", "20 users × 10", "memory for each of 20", "30 missed events", "5 clients back", "held open", "backlog of 500",
		"client of a gateway, at 50/s", "message is lost", "bytes on the way", "1 event to 20 connections of 2 gateways", "10 clients of a killed gateway, until", "reads of the log for gateways"} {
		if !slices.ContainsFunc(report.Figures, func(f bench.Figure) bool { return strings.Contains(f.Name, name) }) {
			t.Errorf("got no figure of %q, want one", name)
		}
	}
}

// A run in a database of the user's own leaves it as it was, also when it is cut
// short.
func TestBenchOwnDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, url, "INSERT INTO taskfeed.tasks (id, user_id) VALUES ('theirs', 'somebody')")
	clean := func(when string) {
		t.Helper()
		var left string
		err := conn.QueryRow(t.Context(), `
			SELECT coalesce(string_agg(what, ', '), '') FROM (
			    SELECT 'task ' || id AS what FROM taskfeed.tasks WHERE id <> 'theirs'
			    UNION ALL SELECT 'change of ' || user_id FROM taskfeed.changes WHERE user_id <> 'somebody'
			    UNION ALL SELECT 'event of ' || coalesce(user_id, 'all') FROM taskfeed.events WHERE user_id IS DISTINCT FROM 'somebody'
			    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE '%bench%'
			    LIMIT 10) AS leftover`).Scan(&left)
		if err != nil || left != "" {
			t.Errorf("%s: got %q left behind (%v), want nothing", when, left, err)
		}
	}
	cfg := tiny(t)
	cfg.DatabaseURL, cfg.Only = url, []string{"fanout", "replay", "growth"}
	report, err := bench.Run(t.Context(), cfg)
	if err != nil {
		t.Fatalf("bench: %v", err)
	}
	if len(report.Figures) == 0 || !slices.ContainsFunc(report.Notes, func(note string) bool { return strings.HasPrefix(note, "growth was left out") }) {
		t.Errorf("got %d figures and the notes %q, want figures, and that growth was left out", len(report.Figures), report.Notes)
	}
	clean("after a run")

	ctx, cancel := context.WithCancelCause(t.Context())
	cut := errors.New("cut short")
	cfg.Progress = writerFunc(func([]byte) { cancel(cut) }) // at the first sign of progress
	if _, err := bench.Run(ctx, cfg); err == nil {
		t.Error("a run that was cut short: got no error, want one")
	}
	clean("after a run that was cut short")
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestBenchUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--only", "everything"}, {"--output", "yaml"}, {"--rounds", "-1"}, {"--step", "-1s"}, {"--connections", "-1"}, {"--engine", "/nowhere/natsd"}, {"extra"}} {
		if status, _, stderr := runLab(t, append([]string{"bench"}, args...)...); status != 2 {
			t.Errorf("bench %q: got status %d and %q, want 2", args, status, stderr)
		}
	}
}

// A report file is compared with the one before it.
func TestBenchReportFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.md")
	for _, value := range []float64{7, 9} {
		report := bench.Report{Figures: []bench.Figure{{Name: "memory", Unit: "KB", Lower: true, Value: value}}}
		if err := writeReportFile(&report, file); err != nil {
			t.Fatalf("write the report: %v", err)
		}
		if worse := len(report.Worse); worse != 0 && value == 7 || worse != 1 && value == 9 {
			t.Errorf("memory %v: got %q worse, want it with 9 alone", value, report.Worse)
		}
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// ran is the result of a command.
type ran struct {
	status         int
	stdout, stderr string
}

// runCLI runs a command in this process.
func runCLI(t *testing.T, env []string, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := cli.Run(t.Context(), rootCommand, args, env, &stdout, &stderr)
	return ran{status, stdout.String(), stderr.String()}
}

func (r ran) expect(t *testing.T, status int, stderr string) {
	t.Helper()
	if r.status != status || !strings.Contains(r.stderr, stderr) || (stderr == "") != (r.stderr == "") {
		t.Errorf("exit status %d, stderr %q; want %d and %q", r.status, r.stderr, status, stderr)
	}
}

var moments = regexp.MustCompile(`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z`)

// historyCLI runs commands against a server with a small history.
type historyCLI struct {
	base  string   // the server's URL
	admin []string // the environment of an admin
}

// run runs a command as an admin.
func (h *historyCLI) run(t *testing.T, args ...string) ran {
	t.Helper()
	return runCLI(t, h.admin, args...)
}

func TestHistoryCommands(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	pgtest.Exec(t, dbURL, `
		INSERT INTO taskfeed.tasks (id, user_id, kind, status, progress, message) VALUES ('one/1', 'alice', 'export', 'running', 40, E'up\x1b[2Jloading');
		UPDATE taskfeed.tasks SET status = 'failed', error = 'disk full' WHERE id = 'one/1';
		INSERT INTO taskfeed.tasks (id, user_id) SELECT 'bulk-' || i, 'bob' FROM generate_series(1, 700) AS i;
		INSERT INTO taskfeed.tasks (id, user_id) VALUES ('gone', 'alice');
		DELETE FROM taskfeed.tasks WHERE id = 'gone';
		SELECT taskfeed.broadcast('news', '{"text": "hello"}')`)
	settle(t, dbURL)
	h := &historyCLI{base: s.base, admin: []string{"TASKFEED_URL=" + s.base, "TASKFEED_JWT_SECRET=" + testSecret, "NO_COLOR=1"}}
	t.Run("tasks list", func(t *testing.T) { checkTasksList(t, h) })
	t.Run("as many as asked for", func(t *testing.T) { checkLimits(t, h) })
	t.Run("tasks show", func(t *testing.T) { checkTasksShow(t, h) })
	t.Run("events", func(t *testing.T) { checkEventsCommand(t, h) })
	t.Run("as a user", func(t *testing.T) { checkUserCommands(t, h) })
	t.Run("refusals", func(t *testing.T) { checkRefusedCommands(t, h) })
}

func checkTasksList(t *testing.T, h *historyCLI) {
	t.Helper()
	r := h.run(t, "tasks", "list", "--user", "alice")
	r.expect(t, 0, "")
	want := "ID     USER   KIND    STATUS  DONE  UPDATED                   MESSAGE\n" +
		"one/1  alice  export  failed  40%   T                         disk full\n"
	if got := moments.ReplaceAllString(r.stdout, "T                       "); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func checkLimits(t *testing.T, h *historyCLI) {
	t.Helper()
	for args, want := range map[string]int{"": 50, "--limit 3": 3, "--limit 501": 501, "--all": 701, "--status failed": 1,
		"--contains bulk-70": 2, "--kind export --status failed,running": 1, "--created-after 1h --all": 701, "--updated-before 1h": 0, "--sort updated --limit 7": 7} {
		r := h.run(t, slices.Concat([]string{"tasks", "list", "--output", "ndjson"}, strings.Fields(args))...)
		r.expect(t, 0, "")
		if got := strings.Count(r.stdout, "\n"); got != want {
			t.Errorf("%s: %d lines, want %d", args, got, want)
		}
	}
	r := h.run(t, "tasks", "list", "--limit", "600", "--output", "json")
	var tasks []struct{ ID string }
	if err := json.Unmarshal([]byte(r.stdout), &tasks); err != nil || len(tasks) != 600 {
		t.Errorf("%d tasks (%v), want an array of 600 over two pages", len(tasks), err)
	}
	if r := h.run(t, "tasks", "list", "--user", "nobody", "--output", "json"); r.stdout != "[]\n" {
		t.Errorf("empty list as JSON: got %q, want an empty array", r.stdout)
	}
	if r := h.run(t, "tasks", "list", "--limit", "600"); strings.Count(r.stdout, "STATUS") != 1 || strings.Count(r.stdout, "\n") != 601 {
		t.Errorf("%d lines and %d heads, want 601 and one", strings.Count(r.stdout, "\n"), strings.Count(r.stdout, "STATUS"))
	}
}

func checkTasksShow(t *testing.T, h *historyCLI) {
	t.Helper()
	r := h.run(t, "tasks", "show", "one/1")
	r.expect(t, 0, "")
	for _, want := range []string{"id        one/1\n", "status    failed\n", "error     disk full\n", "message   up\ufffd[2Jloading\n",
		"\n2 events, 1 attempts, 0 steps; queued for 0s, running for ", "TIME ", "task_started", "task_failed", `error="disk full"`} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is missing in\n%s", want, r.stdout)
		}
	}
	r = h.run(t, "tasks", "show", "one/1", "--output", "json")
	var story struct {
		Task    struct{ ID string }
		Events  []struct{ Type string }
		Summary struct{ Events int }
	}
	if err := json.Unmarshal([]byte(r.stdout), &story); err != nil || story.Task.ID != "one/1" || len(story.Events) != 2 || story.Summary.Events != 2 {
		t.Errorf("%s (%v), want the task and its two events", r.stdout, err)
	}
	if r := h.run(t, "tasks", "show", "gone"); r.status != 0 || !strings.HasPrefix(r.stdout, "the task has been deleted") || !strings.Contains(r.stdout, "task_deleted") {
		t.Errorf("%d %s%s, want what is kept of it", r.status, r.stdout, r.stderr)
	}
	h.run(t, "tasks", "show", "nothing").expect(t, 1, "the server answers 404: there is no")
	h.run(t, "tasks", "show").expect(t, 2, "takes 1 argument")
}

func checkEventsCommand(t *testing.T, h *historyCLI) {
	t.Helper()
	r := h.run(t, "events", "--user", "alice")
	r.expect(t, 0, "")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[0], "TIME") || !strings.Contains(lines[1], "news") || !strings.Contains(lines[1], `everybody  -      text="hello"`) {
		t.Errorf("got\n%s\nwant the five events that alice was told, newest first", r.stdout)
	}
	r = h.run(t, "events", "--type", "task_failed,news", "--oldest-first", "--since", "1h", "--output", "ndjson")
	if got := strings.Count(r.stdout, "\n"); got != 2 || !strings.Contains(strings.Split(r.stdout, "\n")[0], "task_failed") {
		t.Errorf("got\n%s\nwant task_failed and news", r.stdout)
	}
	if r := h.run(t, "events", "--task", "one/1", "--limit", "1", "--output", "ndjson"); strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("got\n%s\nwant one", r.stdout)
	}
}

func checkUserCommands(t *testing.T, h *historyCLI) {
	t.Helper()
	alice := []string{"TASKFEED_URL=" + h.base, "TASKFEED_TOKEN=" + testToken(t, "alice")}
	runCLI(t, alice, "tasks", "list").expect(t, 1, "use --mine")
	r := runCLI(t, alice, "tasks", "list", "--mine", "--output", "ndjson")
	r.expect(t, 0, "")
	if strings.Count(r.stdout, "\n") != 1 || !strings.Contains(r.stdout, `"alice"`) {
		t.Errorf("got %s, want alice's task", r.stdout)
	}
	if r := runCLI(t, alice, "tasks", "show", "one/1", "--mine"); r.status != 0 || !strings.Contains(r.stdout, "disk full") {
		t.Errorf("%d %s%s, want the task", r.status, r.stdout, r.stderr)
	}
	runCLI(t, alice, "tasks", "list", "--mine", "--user", "bob").expect(t, 1, "user_id")
	if r := runCLI(t, alice, "events", "--mine", "--output", "ndjson"); strings.Count(r.stdout, "\n") != 5 {
		t.Errorf("got %s, want alice's five events", r.stdout)
	}
}

func checkRefusedCommands(t *testing.T, h *historyCLI) {
	t.Helper()
	url := "TASKFEED_URL=" + h.base
	runCLI(t, []string{url}, "tasks", "list").expect(t, 2, "TASKFEED_TOKEN: it is missing")
	runCLI(t, h.admin, "tasks", "list", "--mine").expect(t, 2, "TASKFEED_TOKEN: it is missing; --mine")
	runCLI(t, []string{url, "TASKFEED_TOKEN=secret-forged"}, "events").expect(t, 1, "check TASKFEED_TOKEN")
	runCLI(t, []string{"TASKFEED_URL=ftp://x", "TASKFEED_TOKEN=x"}, "events").expect(t, 2, "TASKFEED_URL")
	r := runCLI(t, []string{"TASKFEED_URL=http://127.0.0.1:" + freePort(t), "TASKFEED_TOKEN=secret"}, "events")
	r.expect(t, 1, "connection refused")
	for args, want := range map[string]string{
		"tasks list --output xml": "--output: must be one of table, json, ndjson", "tasks list --limit 0": "--limit", "tasks list --created-after soon": "--created-after",
		"events --since yesterday": "--since", "tasks list --no-such-flag": "unknown flag", "tasks list extra": "takes no arguments", "tasks no-such-command": "has no such command",
	} {
		if r := h.run(t, strings.Fields(args)...); r.status != 2 || !strings.Contains(r.stderr, want) || strings.Contains(r.stderr, "secret") {
			t.Errorf("%s: exit status %d, stderr %q; want 2 and %q", args, r.status, r.stderr, want)
		}
	}
	h.run(t, "tasks", "list", "--status", "done").expect(t, 1, "must be one of queued, running")
}

// TestForeignAnswers runs commands against a server that is not taskfeed.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	const nobody = "the server answers 502: this is not a taskfeed server; check TASKFEED_URL"
	for body, want := range map[string]string{
		"": nobody, "null": nobody, "[]": nobody, `[{"detail":"d"}]`: nobody, `"text"`: nobody, "7": nobody, "{": nobody, "{}": nobody,
		`<html>Bad gateway`:                        nobody,
		`{"detail":7}`:                             nobody,
		`{"detail":null,"title":null}`:             nobody,
		`{"detail":{"a":1},"title":["b"]}`:         nobody,
		`{"detail":" ","title":""}`:                nobody,
		`{"detail":"<html>x","title":"<b>"}`:       nobody,
		`{"message":"Internal server error"}`:      nobody,
		strings.Repeat("x", 1<<20):                 nobody,
		`{"detail":"` + strings.Repeat("x", 1<<20): nobody,
		`{"title":"Away","status":502}`:            "the server answers 502: Away",
		`{"detail":{},"title":"Away","code":7}`:    "the server answers 502: Away",
		`{"detail":"d","code":null,"errors":"x"}`:  "the server answers 502: d",
		`{"detail":"a\u001b[2Jb"}`:                 "the server answers 502: a\ufffd[2Jb",
		`{"code":"x","detail":"d"}`:                "the server answers 502: d",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = fmt.Fprint(w, body) // the client may have had enough
		}))
		r := runCLI(t, []string{"TASKFEED_URL=" + server.URL + "/prefix", "TASKFEED_TOKEN=x"}, "tasks", "list")
		server.Close()
		if r.status != 1 || !strings.HasSuffix(strings.TrimSpace(r.stderr), want) {
			t.Errorf("%.40q: exit status %d, %.200q; want 1 and %q", body, r.status, r.stderr, want)
		}
	}
	for body, want := range map[string]string{"null": "it is not a list", "{}": "it is not a list", `{"items":null}`: "it is not a list", "<html>": "read the answer", "": "read the answer"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, body) // a test's client is there
		}))
		r := runCLI(t, []string{"TASKFEED_URL=" + server.URL, "TASKFEED_TOKEN=x"}, "tasks", "list")
		server.Close()
		if r.status != 1 || !strings.Contains(r.stderr, want) || strings.Contains(r.stderr, "html") {
			t.Errorf("200 with %q: exit status %d, %q; want 1 and %q, not an empty list", body, r.status, r.stderr, want)
		}
	}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.EscapedPath()+" "+r.Header.Get("Authorization"))
		_, _ = fmt.Fprint(w, `{"items":[7]}`) // a test's client is there
	}))
	defer server.Close()
	r := runCLI(t, []string{"TASKFEED_URL=" + server.URL + "/prefix/", "TASKFEED_TOKEN=x"}, "tasks", "list")
	r.expect(t, 1, "read the answer")
	if want := []string{"/prefix/v1/tasks Bearer x"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for args, want := range map[string][]string{
		"tasks list --status ": {"queued", "running", "completed", "failed", "canceled"},
		"tasks list --sort ":   {"-created", "created", "-updated", "updated"},
		"tasks show --output ": {"table", "json", "ndjson"},
		"events --type ":       {"task_queued", "task_started", "task_progress", "task_completed", "task_failed", "task_canceled", "task_deleted", "task_stalled"},
	} {
		r := runCLI(t, nil, append([]string{"__complete"}, strings.Split(args, " ")...)...)
		var got []string
		for line := range strings.Lines(r.stdout) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, ":") {
				got = append(got, line)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := runCLI(t, nil, "completion", shell); r.status != 0 || !strings.Contains(r.stdout, "taskfeed") {
			t.Errorf("completion %s: exit status %d and %d bytes, want a script", shell, r.status, len(r.stdout))
		}
	}
}

func TestColour(t *testing.T) {
	t.Parallel()
	table := func(p *printer, out *bytes.Buffer) string {
		if err := p.table([]string{"A", "STATUS"}, [][]string{{"x", "failed"}, {"failed?", "running"}}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	var plain, coloured bytes.Buffer
	want := "A        STATUS\nx        failed\nfailed?  running\n"
	if got := table(&printer{out: &plain}, &plain); got != want {
		t.Errorf("plain %q, want %q", got, want)
	}
	got := table(&printer{out: &coloured, colour: true}, &coloured)
	if !strings.Contains(got, "\x1b[31mfailed\x1b[0m") || !strings.Contains(got, "\x1b[1mSTATUS\x1b[0m") {
		t.Errorf("coloured %q, want failed in red and a bold head", got)
	}
	if stripped := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(got, ""); strings.ReplaceAll(stripped, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("without colours %q, want %q", stripped, want)
	}
	if newPrinter(&cli.Invocation{Stdout: &plain, Environ: nil}, outputTable).colour {
		t.Error("a file is written in colour")
	}
}

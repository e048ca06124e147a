package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/lab/ssetest"
)

// startRecipe builds the program of docs/recipes/go.md and runs it.
func startRecipe(t *testing.T, databaseURL string) (base string) {
	t.Helper()
	_, code, _ := strings.Cut(doctest.Read(t, "docs/recipes/go.md"), "```go\n")
	code, _, _ = strings.Cut(code, "```")
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "app")
	if err := os.WriteFile(source, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("build the recipe: %v\n%s", err, out)
	}
	port := freePort(t)
	cmd, log := exec.Command(binary), &locked.Buffer{}
	cmd.Env = []string{"DATABASE_URL=" + databaseURL, "TASKFEED_JWT_SECRET=" + testSecret, "PORT=" + port}
	cmd.Stdout, cmd.Stderr = log, log
	proc.Attach(cmd, syscall.SIGKILL)
	app, err := proc.Start(cmd)
	if err != nil {
		t.Fatalf("start the recipe: %v", err)
	}
	t.Cleanup(func() {
		app.Kill()
		if t.Failed() {
			t.Logf("log of the app:\n%s", log)
		}
	})
	base = "http://127.0.0.1:" + port
	eventually(t, "the app answers", 20*time.Second, func() bool {
		status, _ := get(t, base+"/taskfeed-token")
		return status == http.StatusUnauthorized
	})
	return base
}

// The recipe for Go makes a token and writes tasks as it stands there. The recipes for
// Python and Node are run by web/browser/test/recipes.test.ts.
func TestRecipeForGo(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL)
	base := startRecipe(t, dbURL)
	ask := func(method, path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&http.Cookie{Name: "user", Value: "alice"})
		r.Close = true
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		defer w.Body.Close()
		var body strings.Builder
		if err := w.Write(&body); err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(body.String(), "\r\n\r\n")
		return w.StatusCode, text
	}
	_, token := ask(http.MethodGet, "/taskfeed-token")
	stream := ssetest.Open(t, s.base+"/v1/events/stream", http.Header{"Authorization": {"Bearer " + token}})
	stream.ExpectLive(0)
	if status, body := ask(http.MethodPost, "/exports"); status != http.StatusAccepted || !strings.Contains(body, `"task":"export-`) {
		t.Fatalf("start an export: got %d %s, want 202 and the task", status, body)
	}
	var told []taskfeed.Type
	for len(told) == 0 || told[len(told)-1] != taskfeed.TypeTaskCompleted {
		f := stream.Frame()
		if f.Type == taskfeed.TypeTaskFailed {
			t.Fatalf("the export failed: %s", f.Event.Data)
		}
		told = append(told, f.Type)
	}
	if len(told) != 6 {
		t.Errorf("alice was told %v, want queued, started, three times progress, completed", told)
	}
}

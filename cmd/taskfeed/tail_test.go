package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/client"
	"github.com/taskfeed/taskfeed/internal/cli"
)

const tailTestSecret = "a secret of the tests, 32 bytes long"

// tailServer sends the nth list of frames to the nth connection and then cuts it. The
// last connection it closes with code, or keeps open if code is 0. It passes on each
// request's URL and token.
func tailServer(t *testing.T, code int, connections ...[]string) (url string, requests <-chan [2]string) {
	t.Helper()
	seen := make(chan [2]string, len(connections))
	next := make(chan []string, len(connections))
	for _, frames := range connections {
		next <- frames
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- [2]string{r.URL.String(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
		upgrader := websocket.Upgrader{Subprotocols: []string{"taskfeed.v1"}}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer conn.Close()
		for _, f := range <-next {
			_ = conn.WriteMessage(websocket.TextMessage, []byte(f))
		}
		if len(next) > 0 {
			return
		}
		if code != 0 {
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
		}
		_, _, _ = conn.ReadMessage()
	}))
	t.Cleanup(server.Close)
	return server.URL, seen
}

// tailFrames are frames of a server over two connections.
var tailFrames = [][]string{{
	`{"id":1,"type":"task_started","timestamp":"2026-11-22T10:00:00.123456Z","task_id":"t-1","version":2,"progress":0}`,
	`{"type":"feed_live","cursor":1}`,
}, {
	`{"id":1,"type":"task_started","timestamp":"2026-11-22T10:00:00.123456Z","task_id":"t-1","version":2,"progress":0}`,
	`{"id":2, "type":"task_completed","timestamp":"2026-11-22T10:00:01Z","task_id":"t-1","version":3,` + "\n" + `"result":{"html":"<b>"},"message":"done \u001b[31m","z":"` + strings.Repeat("é", 200) + `"}`,
	`{"type":"feed_reset","reason":"expired","cursor":40}`,
	`{"id":41,"type":"hello","timestamp":"2026-11-22T10:00:02Z"}`,
	`{"id":42,"type":"hello","timestamp":"2026-11-22T10:00:02Z","n":1,"feed":"team:blue"}`,
}}

func TestTail(t *testing.T) {
	t.Parallel()
	long := `"` + strings.Repeat("é", 78) + "…"
	for output, want := range map[string][]string{
		"text": {
			"2026-11-22T10:00:00.123Z        1  task_started   t-1  progress=0",
			`2026-11-22T10:00:01.000Z        2  task_completed t-1  message="done \x1b[31m" result={"html":"\u003cb\u003e"} z=` + long,
			`-                              40  feed_reset     -  reason="expired"`,
			"2026-11-22T10:00:02.000Z       41  hello          -",
			`2026-11-22T10:00:02.000Z       42  hello          -  feed="team:blue" n=1`,
		},
		"ndjson": {
			tailFrames[0][0], tailFrames[0][1],
			strings.NewReplacer("\n", "", `2, "`, `2,"`).Replace(tailFrames[1][1]),
			tailFrames[1][2], tailFrames[1][3], tailFrames[1][4],
		},
	} {
		t.Run(output, func(t *testing.T) {
			t.Parallel()
			url, requests := tailServer(t, 4011, tailFrames...)
			var stdout, stderr bytes.Buffer
			opts := tailOptions{output: output, feed: client.Config{URL: url, UserID: "alice", Token: client.StaticToken("x")}}
			opts.feed.Backoff.Min = time.Millisecond
			if err := tail(t.Context(), opts, &stdout, &stderr); !errors.Is(err, client.ErrDisconnected) {
				t.Errorf("tail: got %v, want ErrDisconnected", err)
			}
			if got, want := stdout.String(), strings.Join(want, "\n")+"\n"; got != want {
				t.Errorf("stdout: got\n%swant\n%s", got, want)
			}
			for _, text := range []string{"-- connecting to " + url, "-- live", "broke off; next try in"} {
				if !strings.Contains(stderr.String(), text) {
					t.Errorf("stderr: got\n%swant it to say %q", stderr.String(), text)
				}
			}
			<-requests
			if got, want := (<-requests)[0], "/ws/alice?after=1"; got != want {
				t.Errorf("second request: got %s, want %s", got, want)
			}
		})
	}
}

func TestTailCommand(t *testing.T) {
	t.Parallel()
	url, requests := tailServer(t, 0, []string{
		`{"id":7,"type":"b","timestamp":"2026-11-22T10:00:00Z"}`,
		`{"id":8,"type":"a","timestamp":"2026-11-22T10:00:00Z","task_id":"t/1","version":1}`,
	})
	ctx, stop := context.WithCancel(t.Context())
	stdout := &tailWriter{written: stop} // as Ctrl-C would
	var stderr bytes.Buffer
	status := cli.Run(ctx, rootCommand, []string{"tail", "--user", "alice", "--after", "0", "--types", "a,c", "--task", "t/1", "--quiet", "--output", "ndjson"},
		[]string{"TASKFEED_URL=" + url, "TASKFEED_TOKEN=the-token"}, stdout, &stderr)
	if status != 0 || stderr.String() != "" {
		t.Errorf("taskfeed tail: got status %d, stderr %q, want 0 and silence", status, stderr.String())
	}
	if got, want := stdout.text.String(), `{"id":8,"type":"a","timestamp":"2026-11-22T10:00:00Z","task_id":"t/1","version":1}`+"\n"; got != want {
		t.Errorf("stdout: got %s, want %s", got, want)
	}
	if got, want := <-requests, [2]string{"/ws/alice?after=0&task_id=t%2F1&types=a%2Cc", "the-token"}; got != want {
		t.Errorf("request: got %v, want %v", got, want)
	}
}

func TestTailSignsItsOwnToken(t *testing.T) {
	t.Parallel()
	url, requests := tailServer(t, 4003, nil)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(tailTestSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	status := cli.Run(t.Context(), rootCommand, []string{"tail", "--user", "alice", "--url", url},
		[]string{"TASKFEED_JWT_SECRET_FILE=" + secret, "TASKFEED_JWT_ISSUER=tests"}, io.Discard, &stderr)
	if got, want := stderr.String(), `a token of the user "alice"`; status != 1 || !strings.Contains(got, want) {
		t.Errorf("taskfeed tail: got status %d, %s, want 1 and %q", status, got, want)
	}
	token := (<-requests)[1]
	v, err := auth.New(auth.Config{Secret: []byte(tailTestSecret), Issuer: "tests"})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := v.Verify(t.Context(), token); err != nil || p.UserID != "alice" {
		t.Errorf("token: got one of %q, %v, want alice's", p.UserID, err)
	}
	if strings.Contains(stderr.String(), token) {
		t.Errorf("stderr: got %s, want it without the token", stderr.String())
	}
}

func TestTailTokenRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer server.Close()
	opts := tailOptions{output: "text", feed: client.Config{URL: server.URL, UserID: "alice", Token: client.StaticToken("x")}}
	opts.feed.Backoff.Min = time.Millisecond
	err := tail(t.Context(), opts, io.Discard, io.Discard)
	if !errors.Is(err, client.ErrRejected) || !strings.Contains(fmt.Sprint(err), "taskfeed token --user") {
		t.Errorf("tail: got %v, want ErrRejected and what to do", err)
	}
}

func TestTailEndsWhenItsOutputFails(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string]string{"at an event": tailFrames[0][0], "at a reset": tailFrames[1][2]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := tailServer(t, 0, []string{frame})
			opts := tailOptions{output: "text", feed: client.Config{URL: url, UserID: "alice", Token: client.StaticToken("x")}}
			if err := tail(t.Context(), opts, &tailWriter{err: io.ErrClosedPipe}, io.Discard); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("tail: got %v, want %v", err, io.ErrClosedPipe)
			}
		})
	}
}

func TestTailUsage(t *testing.T) {
	t.Parallel()
	good := []string{"tail", "--user", "alice", "--token", "hush"}
	for want, args := range map[string][]string{
		"--user is missing":             {"tail", "--token", "hush"},
		"--output: must be":             append(good[:3:3], "--output", "xml", "--token", "hush"),
		"--after: a cursor is":          append(good[:3:3], "--after", "-1", "--token", "hush"),
		"TASKFEED_TOKEN: it is missing": {"tail", "--user", "alice"},
		"URL must be like":              append(good[:5:5], "--url", "localhost"),
		"takes no arguments":            append(good[:5:5], "extra"),
	} {
		var stderr bytes.Buffer
		status := cli.Run(t.Context(), rootCommand, args, nil, io.Discard, &stderr)
		if got := stderr.String(); status != 2 || !strings.Contains(got, want) || strings.Contains(got, "hush") {
			t.Errorf("taskfeed %q: got status %d, %s, want 2 and %q", args, status, got, want)
		}
	}
	var stderr bytes.Buffer
	status := cli.Run(t.Context(), rootCommand, good[:3], []string{"TASKFEED_JWT_SECRET=hush"}, io.Discard, &stderr)
	if got, want := stderr.String(), "TASKFEED_JWT_SECRET"; status != 2 || !strings.Contains(got, want) || strings.Contains(got, "hush") {
		t.Errorf("a short secret: got status %d, %s, want 2 and %q", status, got, want)
	}
}

// tailWriter calls written after each write, or fails.
type tailWriter struct {
	text    bytes.Buffer // not embedded: io.WriteString would go past Write
	written func()
	err     error
}

func (w *tailWriter) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	defer w.written()
	return w.text.Write(b)
}

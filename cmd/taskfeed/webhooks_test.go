package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// An endpoint in Node and in Python, around the function verify of docs/WEBHOOKS.md. Each
// takes its port and secret from the environment, prints the type of each event that it
// takes, and answers 400 to all that verify refuses.
const (
	nodeEndpoint = `
import { createServer } from "node:http";

createServer((req, res) => {
  const parts = [];
  req.on("data", (part) => parts.push(part));
  req.on("end", () => {
    try {
      console.log("took " + verify(process.env.SECRET, req.headers, Buffer.concat(parts)).type);
      res.writeHead(204).end();
    } catch (err) {
      res.writeHead(400).end(String(err));
    }
  });
}).listen(Number(process.env.PORT), "127.0.0.1");
`
	pythonEndpoint = `
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            print("took " + verify(os.environ["SECRET"], headers, body)["type"], flush=True)
            self.send_response(204)
        except Exception as err:
            self.send_response(400, str(err))
        self.end_headers()


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Endpoint).serve_forever()
`
)

// The code that docs/WEBHOOKS.md has for endpoints takes what "taskfeed forward" sends, and
// nothing that was changed on the way.
func TestDocumentedEndpoints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ language, program, file, rest string }{
		{"js", "node", "endpoint.mjs", nodeEndpoint},
		{"python", "python3", "endpoint.py", pythonEndpoint},
	} {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(tt.program)
			if err != nil {
				t.Skipf("there is no %s on this machine", tt.program)
			}
			url, out := startEndpoint(t, program, tt.file, documentedCode(t, tt.language)+tt.rest)
			dbURL := pgtest.New(t)
			startServing(t, dbURL)
			sent := passingOn(t, url)
			start(t, []string{"DATABASE_URL=" + dbURL, "TASKFEED_FORWARD_SECRET=" + testWebhookSecret}, "forward", "--name", "crm", "--to", sent.URL, "--allow-private", "--after", "0")
			pgtest.Exec(t, dbURL, `SELECT taskfeed.notify('alice', 'mail_received', '{"from": "Jörg <j@example.com>", "n": 1.50}')`)
			eventually(t, "the endpoint takes the event", 30*time.Second, func() bool { return strings.Contains(out.String(), "took mail_received") })
			wantRefused(t, url, sent.request(t))
		})
	}
}

// documentedCode returns the code of docs/WEBHOOKS.md in a language.
func documentedCode(t *testing.T, language string) string {
	t.Helper()
	_, code, ok := strings.Cut(doctest.Section(t, "docs/WEBHOOKS.md", "Verify"), "```"+language+"\n")
	code, _, ended := strings.Cut(code, "```")
	if !ok || !ended {
		t.Fatalf("docs/WEBHOOKS.md has no code in %s", language)
	}
	return code
}

// startEndpoint runs a program and waits until it listens.
func startEndpoint(t *testing.T, program, file, code string) (url string, out *locked.Buffer) {
	t.Helper()
	path, port := filepath.Join(t.TempDir(), file), freePort(t)
	if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, path)
	out = &locked.Buffer{}
	cmd.Env = append(os.Environ(), "PORT="+port, "SECRET="+testWebhookSecret)
	cmd.Stdout, cmd.Stderr = out, out
	proc.Attach(cmd, syscall.SIGKILL)
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s:\n%s", program, out)
		}
	})
	url = "http://127.0.0.1:" + port + "/"
	eventually(t, "the endpoint listens", 30*time.Second, func() bool {
		res, err := http.Post(url, "application/json", strings.NewReader("{}"))
		if err != nil {
			return false
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Fatalf("a request without a signature: got %d, want 400", res.StatusCode)
		}
		return true
	})
	return url, out
}

// wantRefused sends a request again that was changed in one thing at a time.
func wantRefused(t *testing.T, url string, good *sentRequest) {
	t.Helper()
	for _, tt := range []struct {
		name   string
		change func(header http.Header, body []byte) []byte
		want   int
	}{
		{"as it was", func(_ http.Header, body []byte) []byte { return body }, http.StatusNoContent},
		{"with another body", func(_ http.Header, body []byte) []byte { return bytes.Replace(body, []byte("1.50"), []byte("1.5"), 1) }, http.StatusBadRequest},
		{"with another id", func(h http.Header, body []byte) []byte { h.Set("webhook-id", "evt_0"); return body }, http.StatusBadRequest},
		{"at another time", func(h http.Header, body []byte) []byte { h.Set("webhook-timestamp", "1767225600"); return body }, http.StatusBadRequest},
		{"at no time", func(h http.Header, body []byte) []byte { h.Set("webhook-timestamp", "x"); return body }, http.StatusBadRequest},
		{"with no signature of ours", func(h http.Header, body []byte) []byte { h.Set("webhook-signature", "v1,AAAA v2,é"); return body }, http.StatusBadRequest},
		{"with two signatures", func(h http.Header, body []byte) []byte {
			h.Set("webhook-signature", "v1,AAAA "+h.Get("webhook-signature"))
			return body
		}, http.StatusNoContent},
	} {
		header := good.header.Clone()
		body := tt.change(header, bytes.Clone(good.body))
		if got := postOnce(t, url, header, body); got != tt.want {
			t.Errorf("%s: got status %d, want %d", tt.name, got, tt.want)
		}
	}
}

// sentRequest is a request as "taskfeed forward" sent it.
type sentRequest struct {
	header http.Header
	body   []byte
}

// passer passes requests on and keeps the last one.
type passer struct {
	*httptest.Server
	mu   sync.Mutex
	last *sentRequest
}

func passingOn(t *testing.T, url string) *passer {
	r := &passer{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.last = &sentRequest{req.Header.Clone(), body}
		r.mu.Unlock()
		w.WriteHeader(postOnce(t, url, req.Header, body))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *passer) request(t *testing.T) *sentRequest {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		t.Fatal("no request came")
	}
	return r.last
}

// postOnce posts over a connection of its own and returns the status of the answer.
func postOnce(t *testing.T, url string, header http.Header, body []byte) int {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Errorf("make a request: %v", err)
		return http.StatusBadGateway
	}
	req.Header, req.Close = header, true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("post to the endpoint: %v", err)
		return http.StatusBadGateway
	}
	_ = res.Body.Close()
	return res.StatusCode
}

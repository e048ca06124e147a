package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// sqlHeavyUsers gives each of four users a page of 4 MB, a task with a result of 20
// MB, and a task with a long history.
const sqlHeavyUsers = `
	ALTER TABLE taskfeed.tasks ALTER COLUMN result SET STORAGE EXTERNAL; -- spares the test the compression
	INSERT INTO taskfeed.tasks (id, user_id, status, result)
	SELECT 'large' || u, 'user' || u, 'completed', to_jsonb(repeat('x', 20000000)) FROM generate_series(0, 3) AS u;
	INSERT INTO taskfeed.tasks (id, user_id, status, message)
	SELECT 'task' || i, 'user' || i % 4, 'running', repeat(md5(i::text), 250) FROM generate_series(0, 1999) AS i;
	UPDATE taskfeed.tasks SET message = message || 'x' WHERE id LIKE 'task%';
	INSERT INTO taskfeed.tasks (id, user_id) VALUES ('small', 'bob')`

// neverRead sends requests, does not read the answers, and returns a function that hangs
// up.
func neverRead(t *testing.T, s *serving, n int, token, path string, headers string) (hangUp func()) {
	t.Helper()
	var conns []net.Conn
	for range n {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			t.Fatalf("dial: %v", err)
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: taskfeed\r\nAuthorization: Bearer %s\r\n%s\r\n", path, token, headers); err != nil {
			t.Fatalf("ask for %s: %v", path, err)
		}
		conns = append(conns, conn)
	}
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// heapOf returns the bytes of the server's heap in use.
func heapOf(t *testing.T, s *serving) float64 {
	t.Helper()
	_, body := get(t, s.base+"/metrics")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "go_memstats_heap_inuse_bytes "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatalf("metric %s: %v", line, err)
			}
			return n
		}
	}
	return 0 // busy
}

// TestUnreadAnswersInMemory: the memory of all answers together is bounded, one user
// leaves room for others, and each request that was cut off has one line in the log.
// Once, 300 unread lists of one user took 1.7 GB, and 150 tasks with a result of 20 MB
// took 2.5 GB.
func TestUnreadAnswersInMemory(t *testing.T) {
	t.Parallel()
	const answerBytes = 64 << 20
	dbURL := pgtest.New(t)
	s := startServing(t, dbURL, fmt.Sprintf("TASKFEED_ANSWER_BYTES=%d", answerBytes), "TASKFEED_WRITE_TIMEOUT=2s",
		"TASKFEED_REQUESTS_PER_MINUTE=off", "TASKFEED_LOG_FORMAT=json", "GOGC=50")
	pgtest.Exec(t, dbURL, sqlHeavyUsers)
	settle(t, dbURL)
	bob := apiOf(t, s, "bob", "")
	before := heapOf(t, s)

	sent := 0
	var hangUps []func()
	ask := func(n int, token, path, headers string) {
		sent += n
		hangUps = append(hangUps, neverRead(t, s, n, token, path, headers))
	}
	for u := range 4 {
		token := testToken(t, fmt.Sprint("user", u))
		ask(75, token, "/v1/me/tasks?limit=500", "")
		ask(20, token, fmt.Sprint("/v1/me/tasks/large", u), "")
		ask(10, token, "/v1/me/events?limit=500", "")
		ask(5, token, fmt.Sprintf("/v1/me/tasks/task%d/events?limit=500", u), "")
		ask(3, token, "/v1/me/tasks", "Accept: text/csv\r\n")
		ask(3, token, "/v1/me/events", "Accept: application/x-ndjson\r\n")
		ask(15, token, "/v1/events/stream?after=0", "")
	}
	admin := testTokenWithRole(t, "root", auth.RoleAdmin)
	ask(20, admin, "/v1/stats", "")
	ask(20, admin, "/v1/tasks/large0", "")

	var most float64
	answered := false // it may be told to come again, but not for ever
	refused := 0      // of that user's requests, whose lines may be among those left out
	eventually(t, "every request has its line in the log, and another user is answered", 2*time.Minute, func() bool {
		most = max(most, heapOf(t, s))
		if !answered {
			resp, body := bob.do(http.MethodGet, "/v1/me/tasks/small")
			if answered = resp.StatusCode == http.StatusOK; !answered {
				refused++
			}
			if !answered && resp.Header.Get("Retry-After") == "" {
				t.Errorf("another user's small request meanwhile: %d %s, want 200, or when to come again", resp.StatusCode, body)
			}
		}
		return answered && len(requestLines(s))+linesLeftOut(t, s) >= sent
	})
	if growth, bound := most-before, float64(3*answerBytes+32<<20); growth > bound {
		t.Errorf("%d answers that nobody reads take %.0f MB, want at most %.0f", sent, growth/1e6, bound/1e6)
	}
	lines := requestLines(s)
	cut := 0
	for _, line := range lines {
		if strings.Contains(line, `"cut":"client_slow"`) {
			cut++
		}
	}
	if left := linesLeftOut(t, s); len(lines)+left < sent || len(lines)+left > sent+refused || cut < 4 {
		t.Errorf("%d lines in the log, %d of them of answers cut off, and %d left out; want one for each of %d requests, and some cut off", len(lines), cut, left, sent)
	}
	for _, hangUp := range hangUps {
		hangUp()
	}
}

// requestLines returns the lines of the access log, without the test's own requests.
func requestLines(s *serving) []string {
	var lines []string
	for line := range strings.Lines(s.stderr.String()) {
		if strings.Contains(line, `"msg":"request"`) && !strings.Contains(line, "/me/tasks/small") {
			lines = append(lines, line)
		}
	}
	return lines
}

// linesLeftOut returns how many lines of requests the log says were left out: of
// refusals with the same code it has only a few.
func linesLeftOut(t *testing.T, s *serving) (sum int) {
	t.Helper()
	for line := range strings.Lines(s.stderr.String()) {
		var told struct {
			Kind  string
			Count int
		}
		if !strings.Contains(line, "lines were left out") {
			continue
		}
		if err := json.Unmarshal([]byte(line), &told); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if strings.HasPrefix(told.Kind, "request: ") {
			sum += told.Count
		}
	}
	return sum
}

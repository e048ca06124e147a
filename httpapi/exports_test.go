package httpapi

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/wstest"
	"github.com/taskfeed/taskfeed/store/history"
)

// export requests an export and returns the answer with its body unread.
func (f *fixture) export(token, path, accept string) *http.Response {
	f.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(f.request(http.MethodGet, path, token, "Accept", accept, "Connection", "close"))
	if err != nil {
		f.t.Fatal(err)
	}
	return resp
}

// repeated yields the task this many times.
func repeated(task taskfeed.Task, times int) iter.Seq2[taskfeed.Task, error] {
	return func(yield func(taskfeed.Task, error) bool) {
		for range times {
			if !yield(task, nil) {
				return
			}
		}
	}
}

func TestExportFormats(t *testing.T) {
	t.Parallel()
	dangerous := someTask("=cmd|' /C calc'!A0", "alice")
	dangerous.Message, dangerous.Error, dangerous.Kind = "+1\r\n\"x\"", "\t=1", "-k"
	dangerous.Result, dangerous.Truncated = nil, []string{"result"}
	h := &fakeHistory{
		page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice"), dangerous}},
		log:  history.EventPage{Items: []taskfeed.Event{{ID: 7, Type: "mail", Data: json.RawMessage(`{"a": "b\nc"}`), Timestamp: sometime}}},
	}
	f, _ := serveREST(t, h, Config{})
	admin := f.adminToken()

	t.Run("NDJSON", func(t *testing.T) {
		resp, body := f.getAs(admin, "/v1/tasks?status=running", "Accept", "application/x-ndjson")
		if lines := strings.Split(body, "\n"); resp.StatusCode != 200 || len(lines) != 3 || lines[2] != "" || !strings.HasPrefix(lines[0], `{"id":"t1"`) {
			t.Errorf("%d %q, want a line for each of 2 tasks", resp.StatusCode, body)
		}
		if got := resp.Header.Get("Content-Disposition"); got != `attachment; filename="tasks.ndjson"` {
			t.Errorf("Content-Disposition %s, want a file", got)
		}
		if _, body := f.getAs(admin, "/v1/events", "Accept", "application/x-ndjson"); body != `{"id":7,"type":"mail","timestamp":"2026-11-22T10:00:00.123456Z","data":{"a":"b\nc"}}`+"\n" {
			t.Errorf("%s, want the event on one line", body)
		}
	})
	t.Run("CSV without formulas", func(t *testing.T) {
		resp, body := f.getAs(admin, "/v1/tasks", "Accept", "text/csv")
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
		}
		want := [][]string{
			{"id", "user_id", "kind", "status", "progress", "message", "error", "version", "created_at", "updated_at", "result", "truncated", "source"},
			{"t1", "alice", "export", "running", "40", "a < b & c", "", "7", "2026-11-22T10:00:00.123456Z", "2026-11-22T10:00:00.123456Z", `{"n": 1}`, "", ""},
			{"'=cmd|' /C calc'!A0", "alice", "'-k", "running", "40", "'+1\n\"x\"", "'\t=1", "7", "2026-11-22T10:00:00.123456Z", "2026-11-22T10:00:00.123456Z", "", "result", ""},
		}
		if !reflect.DeepEqual(rows, want) {
			t.Errorf("rows %q, want %q", rows, want)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		resp, body := f.do(f.request(http.MethodHead, "/v1/tasks", admin, "Accept", "text/csv"))
		if resp.StatusCode != 200 || body != "" || resp.Header.Get("Content-Type") != "text/csv; charset=utf-8" {
			t.Errorf("%d %s %q, want the header alone", resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
	})
}

func TestExportRefusals(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{}, Config{})
	admin := f.adminToken()
	resp, body := f.getAs(admin, "/v1/tasks?limit=5", "Accept", "text/csv")
	f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "limit")
	resp, body = f.getAs(admin, "/v1/tasks", "Accept", "image/png, text/html;q=0.9")
	f.expectRefusal(resp, body, 406, taskfeed.CodeNotAcceptable)
	failing, _ := serveREST(t, &fakeHistory{err: &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "away"}}, Config{})
	resp, body = failing.getAs(failing.adminToken(), "/v1/tasks", "Accept", "text/csv")
	failing.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
}

func TestExportIsCutAtAnError(t *testing.T) {
	t.Parallel()
	task := someTask("t", "alice")
	cut, _ := serveREST(t, &fakeHistory{exported: func(yield func(taskfeed.Task, error) bool) {
		for range 1000 {
			if !yield(task, nil) {
				return
			}
		}
		yield(taskfeed.Task{}, errors.New("planted"))
	}}, Config{})
	resp := cut.export(cut.adminToken(), "/v1/tasks", "application/x-ndjson")
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || len(body) < 32<<10 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %d bytes, %v; want a part and no clean end", resp.StatusCode, len(body), err)
	}
	cut.eventually("the cut is logged", func() bool { return len(cut.logs.lines("answer cut off", "planted")) == 1 })
}

func TestExportMemory(t *testing.T) {
	t.Parallel()
	task := someTask("t", "alice")
	task.Message = strings.Repeat("x", 10_000)
	const items = 10_000 // 100 MB
	long, _ := serveREST(t, &fakeHistory{exported: repeated(task, items)}, Config{})
	resp := long.export(long.adminToken(), "/v1/tasks", "application/x-ndjson")
	defer resp.Body.Close()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	total, part, err := int64(0), int64(0), error(nil)
	for err == nil {
		part, err = io.CopyN(io.Discard, resp.Body, 16<<20)
		total += part
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapInuse)
	}
	if growth := int64(most) - int64(before.HeapInuse); total < items*10_000 || growth > 64<<20 {
		t.Errorf("%d bytes exported (%v) with %d more in use, want all of them with 64 MiB at most", total, err, growth)
	}
}

func TestExportStopsWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	task := someTask("t", "alice")
	task.Message = strings.Repeat("x", 10_000)
	endless, _ := serveREST(t, &fakeHistory{exported: func(yield func(taskfeed.Task, error) bool) {
		defer close(ended)
		for yield(task, nil) {
		}
	}}, Config{})
	resp := endless.export(endless.adminToken(), "/v1/tasks", "text/csv")
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Errorf("read the beginning: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(wstest.Patience):
		t.Error("the reading goes on")
	}
}

func TestExportsAtOnce(t *testing.T) {
	t.Parallel()
	const atOnce = 4
	release := make(chan struct{})
	running := make(chan struct{}, atOnce)
	busy, _ := serveREST(t, &fakeHistory{exported: func(func(taskfeed.Task, error) bool) {
		running <- struct{}{}
		<-release
	}}, Config{})
	var wg sync.WaitGroup
	for i := range atOnce {
		r := busy.request(http.MethodGet, "/v1/me/tasks", busy.token(fmt.Sprint("user ", i)), "Accept", "text/csv", "Connection", "close")
		wg.Go(func() {
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				err = errors.Join(err, resp.Body.Close())
			}
			if err != nil {
				t.Errorf("export: %v", err)
			}
		})
	}
	for range atOnce {
		<-running
	}
	resp, body := busy.getAs(busy.token("user 0"), "/v1/me/tasks", "Accept", "text/csv")
	busy.expectRefusal(resp, body, 429, taskfeed.CodeRateLimited)
	token := busy.adminToken()
	resp, body = busy.getAs(token, "/v1/tasks", "Accept", "text/csv")
	busy.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
	close(release)
	wg.Wait()
	if resp, body := busy.getAs(token, "/v1/tasks", "Accept", "text/csv"); resp.StatusCode != 200 || !bytes.HasPrefix([]byte(body), []byte("id,")) {
		t.Errorf("after the others: %d %s, want 200", resp.StatusCode, body)
	}
}

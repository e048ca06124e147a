package httpapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/wstest"
	"github.com/taskfeed/taskfeed/store/history"
)

// lists is a server with one task and an admin's token, for rows 43 to 50 of the
// catalogue of bad input. What needs the real store is tested with the store.
type lists struct {
	*fixture
	history *fakeHistory
	admin   string // the admin's token
}

func serveLists(t *testing.T) *lists {
	t.Helper()
	h := &fakeHistory{page: history.TaskPage{Items: []taskfeed.Task{someTask("t1", "alice")}}}
	f, _ := serveREST(t, h, Config{RequestsPerMinute: -1})
	return &lists{fixture: f, history: h, admin: f.adminToken()}
}

// refuse expects a 400 for the path that names these parameters, and returns the body.
func (l *lists) refuse(path string, fields ...string) string {
	l.t.Helper()
	resp, body := l.getAs(l.admin, path)
	l.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, fields...)
	return body
}

func TestBadInput43Limits(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	for _, limit := range []string{"0", "-1", "1000000000", "501", "abc", "1.0", "0x10", "99999999999999999999", "", "%2050"} {
		l.refuse("/v1/tasks?limit="+limit, "limit")
	}
	for _, path := range []string{"/v1/events", "/v1/tasks/t1/events", "/v1/connections", "/v1/me/tasks", "/v1/me/events"} {
		l.refuse(path+"?limit=0", "limit")
	}
	l.refuse("/v1/tasks?limit=5&limit=6", "limit")
	if resp, _ := l.getAs(l.admin, "/v1/tasks?limit=500"); resp.StatusCode != 200 {
		t.Errorf("limit=500: %d, want 200", resp.StatusCode)
	}
}

func TestBadInput43PageTokens(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	l.refuse("/v1/tasks?after=a&after=b", "after")
	l.refuse("/v1/tasks?after="+strings.Repeat("a", 1025), "after")
	l.refuse("/v1/tasks?after=a%00b", "after")
	l.refuse("/v1/connections?after=other-1", "after")
	l.refuse("/v1/connections?after="+l.feeds.ServerID()+"-x", "after")
	l.history.err = &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "after is not of this list"}
	if body := l.refuse("/v1/tasks?after=foreign", "after"); !strings.Contains(body, `"detail":"is not of this list"`) {
		t.Errorf("%s, want what the store says", body)
	}
	l.refuse("/v1/events?after=foreign", "after")
	l.refuse("/v1/tasks/t1/events?after=foreign", "after")
}

func TestBadInput44PathIDs(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	long := strings.Repeat("x", 256)
	for path, status := range map[string]int{
		"/v1/tasks/no-such-task": 404, "/v1/tasks/..%2F..%2Fetc%2Fpasswd": 404, "/v1/tasks/%F0%9F%8E%89": 404,
		"/v1/tasks/%00": 400, "/v1/tasks/a%0Ab": 400, "/v1/tasks/%FF": 400, "/v1/tasks/" + long: 400,
		"/v1/tasks/%00/events": 400, "/v1/tasks/" + strings.Repeat("x", 8<<10): 414, "/v1/tasks/" + strings.Repeat("%2F", 4<<10): 414,
		"/" + strings.Repeat("x", 8<<10): 414,
	} {
		resp, body := l.getAs(l.admin, path)
		if code := wstest.ProblemCode([]byte(body)); resp.StatusCode != status || code == "" || code == taskfeed.CodeInternal {
			t.Errorf("%.60s: %d %s, want %d", path, resp.StatusCode, body, status)
		}
	}
	resp, body := l.do(l.request(http.MethodDelete, "/v1/users/a%00/connections", l.admin))
	l.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "id")
	for _, id := range []string{"x", l.feeds.ServerID() + "-99", "%00", "aaaaaaaa-0", "AAAAAAAA-1", "aaaaaaaa-1/x"} {
		resp, body := l.do(l.request(http.MethodDelete, "/v1/connections/"+id, l.admin))
		l.expectRefusal(resp, body, 404, taskfeed.CodeNotFound)
	}
}

func TestBadInput44ManyParameters(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	resp, body := l.getAs(l.admin, "/v1/tasks?"+strings.Repeat("a&", 9_000))
	if resp.StatusCode != 400 || !strings.Contains(body, "created_after") {
		t.Errorf("9,000 times one unknown parameter: %d %.300s, want 400 naming those that are known", resp.StatusCode, body)
	}
	var many strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&many, "p%d=1&", i)
	}
	if resp, body := l.getAs(l.admin, "/v1/tasks?"+many.String()); resp.StatusCode != 400 || len(body) > 50_000 {
		t.Errorf("3,000 unknown parameters: %d and %d bytes, want 400 and a bounded answer", resp.StatusCode, len(body))
	}
	raw := wstest.Connect(t, strings.TrimPrefix(l.url, "http://"))
	_ = raw.TryBytes([]byte("GET /v1/tasks?" + strings.Repeat("a&", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n")) // it may be refused before it is all sent
	raw.ReadResponse()
	if raw.Response.StatusCode != 431 {
		t.Errorf("100,000 parameters: %d, want 431", raw.Response.StatusCode)
	}
}

func TestUnknownParameters(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	body := l.refuse("/v1/tasks?user=alice&status=queued", "user")
	if !strings.Contains(body, "it knows user_id, status, kind, source, created_after, created_before, updated_after, updated_before, q, sort, after, limit") {
		t.Errorf("body: got %s, want it to list the known parameters", body)
	}
	body = l.refuse("/v1/me?eyJhbGciOiJIUzI1NiJ9.secret=1", "")
	if strings.Contains(body, "eyJ") || !strings.Contains(body, "it takes none") {
		t.Errorf("%s, want the name not repeated", body)
	}
	l.refuse("/v1/stats?a=1&b=2", "a", "b")
	l.refuse("/v1/tasks?a=%zz")
	l.refuse("/v1/tasks?limit=5;after=3")
	l.refuse("/v1/tasks/t1?fields=id", "fields")
}

func TestBadInput45Times(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	for _, value := range []string{"yesterday", "2026-11-22", "2026-11-22T10:00:00", "2026-11-22 10:00:00Z", "2026-13-22T10:00:00Z",
		"2026-11-22T25:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "1732270000", "2026-11-22T10:00:00+01:00", ""} {
		for path, fields := range map[string][]string{"/v1/tasks": {"created_after", "updated_before"}, "/v1/events": {"since", "until"}} {
			query := url.Values{fields[0]: {value}, fields[1]: {value}}.Encode()
			if value == "2026-11-22T10:00:00+01:00" { // valid but for the + that is not escaped
				query = fields[0] + "=" + value + "&" + fields[1] + "=" + value
			}
			body := l.refuse(path+"?"+query, fields...)
			if strings.HasSuffix(value, "+01:00") && !strings.Contains(body, "%2B") {
				t.Errorf("%s, want it to say how a + is written", body)
			}
		}
	}
	l.refuse("/v1/events?since=2026-11-22T10:00:00Z&until=2026-11-22T09:59:59.999Z", "since")
	l.refuse("/v1/tasks?created_after=2026-11-22T10:00:00%2B02:00&created_before=2026-11-22T07:00:00Z", "created_after")
	if resp, body := l.getAs(l.admin, "/v1/events?since=2026-11-22T10:00:00%2B02:00&until=2026-11-22T08:00:00.000001Z"); resp.StatusCode != 200 {
		t.Errorf("a microsecond: %d %s, want 200", resp.StatusCode, body)
	}
	for _, value := range []string{"10", "-5m", "0s", "1ms", "9000h", "ten", "1d"} {
		l.refuse("/v1/stats?stalled_after="+value, "stalled_after")
	}
}

func TestBadInput46FiltersAreData(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	for _, text := range []string{"'; drop table taskfeed.tasks; --", "%", "_", ".*(", `\`, "аlice", "\u202e", strings.Repeat("'", 255)} {
		if resp, body := l.getAs(l.admin, "/v1/tasks?"+url.Values{"q": {text}, "user_id": {text}, "kind": {text}}.Encode()); resp.StatusCode != 200 {
			t.Errorf("%q: %d %s, want 200", text, resp.StatusCode, body)
		} else if got := l.history.tasks[len(l.history.tasks)-1]; got.Text != text || got.UserID != text || got.Kind != text {
			t.Errorf("%q reaches the store as %+v", text, got)
		}
	}
	for _, text := range []string{"\x00", "a\nb", "\xff", strings.Repeat("x", 256)} {
		l.refuse("/v1/tasks?"+url.Values{"q": {text}}.Encode(), "q")
		l.refuse("/v1/events?"+url.Values{"user_id": {text}}.Encode(), "user_id")
	}
	l.refuse("/v1/tasks?status=done", "status")
	l.refuse("/v1/tasks?status=queued,,running", "status")
	l.refuse("/v1/tasks?status="+strings.Repeat("queued,", 50)+"queued", "status")
	l.refuse("/v1/events?type=task_exploded", "type")
	l.refuse("/v1/events?type="+strings.Repeat("x", 65), "type")
}

func TestBadInput47Sort(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	for path, want := range map[string]string{"/v1/tasks": "-created, created, -updated, updated", "/v1/events": "-id, id", "/v1/me/tasks": "-created"} {
		for _, sort := range []string{"password", "id;--", "CREATED", "+id", ""} {
			if body := l.refuse(path+"?sort="+url.QueryEscape(sort), "sort"); sort != "" && !strings.Contains(body, "must be one of "+want) {
				t.Errorf("%s, want the allowed ones listed", body)
			}
		}
	}
}

func TestBadInput49Bodies(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	withBody := func(method, path, kind string, body []byte) (*http.Response, string) {
		r := l.request(method, path, l.admin, "Content-Type", kind)
		r.Body, r.ContentLength = http.NoBody, int64(len(body))
		if len(body) > 0 {
			r.Body = readCloser{bytes.NewReader(body)}
		}
		return l.do(r)
	}
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, _ = w.Write(make([]byte, 2<<20)) // a buffer takes everything
	_ = w.Close()
	if resp, body := withBody("GET", "/v1/me", "application/json", []byte(`{"a":1}`)); resp.StatusCode != 200 {
		t.Errorf("GET with a body: %d %s, want it ignored", resp.StatusCode, body)
	}
	if resp, body := withBody("GET", "/v1/me", "application/gzip", bomb.Bytes()); resp.StatusCode != 200 {
		t.Errorf("GET with a bomb: %d %s, want it ignored", resp.StatusCode, body)
	}
	resp, body := withBody("DELETE", "/v1/users/bob/connections", "text/xml", []byte(`<a/>`))
	l.expectRefusal(resp, body, 415, taskfeed.CodeUnsupportedMedia)
	large := wstest.Connect(t, strings.TrimPrefix(l.url, "http://"))
	large.SendBytes([]byte("DELETE /v1/users/bob/connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + l.admin + "\r\nContent-Length: 1048577\r\n\r\n"))
	large.ReadResponse() // though nothing of the body has been sent
	if large.Response.StatusCode != 413 {
		t.Errorf("a body of 1 MiB and a byte: %d, want 413", large.Response.StatusCode)
	}
	for method, want := range map[string]int{"GET": 200, "DELETE": 415} {
		raw := wstest.Connect(t, strings.TrimPrefix(l.url, "http://"))
		path := map[string]string{"GET": "/v1/me", "DELETE": "/v1/users/bob/connections"}[method]
		raw.SendBytes([]byte(method + " " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + l.admin + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"))
		raw.ReadResponse() // though the body never ends
		if raw.Response.StatusCode != want || !raw.Response.Close {
			t.Errorf("%s with an endless body: %d, closing %v; want %d at once, and the end of the connection", method, raw.Response.StatusCode, raw.Response.Close, want)
		}
	}
}

func TestBadInput50VerbsAndPaths(t *testing.T) {
	t.Parallel()
	l := serveLists(t)
	for path, allow := range map[string]string{
		"/v1/tasks": "OPTIONS, GET, HEAD", "/v1/tasks/t1": "OPTIONS, GET, HEAD", "/v1/me": "OPTIONS, GET, HEAD",
		"/v1/connections/aaaaaaaa-1": "OPTIONS, DELETE", "/v1/users/bob/connections": "OPTIONS, DELETE", "/openapi.yaml": "OPTIONS, GET, HEAD",
	} {
		resp, body := l.do(l.request(http.MethodPatch, path, l.admin))
		l.expectRefusal(resp, body, 405, taskfeed.CodeMethodNotAllowed)
		got := strings.Split(resp.Header.Get("Allow"), ", ")
		slices.Sort(got)
		want := strings.Split(allow, ", ")
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: Allow %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"/v1", "/v1/", "/v2/tasks", "/v1/task", "/v1/tasks/", "/v1//tasks", "//v1/tasks", "/v1/tasks/t1/", "/v1/tasks/t1/events/", "/V1/tasks", "/v1/tasks/t1/events/stream", "/v1/me/connections"} {
		resp, body := l.getAs(l.admin, path)
		l.expectRefusal(resp, body, 404, taskfeed.CodeNotFound)
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func TestCORS(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{}, Config{AllowedOrigins: []string{"https://app.example.com"}})
	alice, admin := f.token("alice"), f.adminToken()
	const good = "https://app.example.com"

	t.Run("an allowed page", func(t *testing.T) {
		resp, _ := f.getAs(alice, "/v1/me", "Origin", good)
		header := resp.Header
		if resp.StatusCode != 200 || header.Get("Access-Control-Allow-Origin") != good || header.Get("Vary") != "Origin" || header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%d %v, want the origin echoed, Vary and no credentials", resp.StatusCode, header)
		}
		for _, name := range []string{"Link", "ETag", "Retry-After", "X-Request-Id"} {
			if !strings.Contains(header.Get("Access-Control-Expose-Headers"), name) {
				t.Errorf("exposed %s, want %s among them", header.Get("Access-Control-Expose-Headers"), name)
			}
		}
		resp, body := f.getAs("forged", "/v1/me", "Origin", good)
		f.expectRefusal(resp, body, 401, taskfeed.CodeBadToken)
		if resp.Header.Get("Access-Control-Allow-Origin") != good {
			t.Error("a refusal has no Access-Control-Allow-Origin: the page could not read it")
		}
	})
	t.Run("preflight", func(t *testing.T) {
		for path, methods := range map[string]string{"/v1/tasks": "GET", "/v1/events/stream": "GET", "/v1/connections/aaaaaaaa-1": "DELETE"} {
			r := must(http.NewRequest(http.MethodOptions, f.url+path, nil))
			r.Header.Set("Origin", good)
			r.Header.Set("Access-Control-Request-Method", methods)
			r.Header.Set("Access-Control-Request-Headers", "authorization,last-event-id")
			resp, _ := f.do(r)
			header := resp.Header
			if resp.StatusCode != 204 || header.Get("Access-Control-Allow-Origin") != good || !strings.Contains(header.Get("Access-Control-Allow-Methods"), methods) ||
				!strings.Contains(header.Get("Access-Control-Allow-Headers"), "Authorization") || header.Get("Access-Control-Max-Age") == "" {
				t.Errorf("%s: %d %v, want a preflight's answer", path, resp.StatusCode, header)
			}
		}
	})
	t.Run("preflight of libraries", func(t *testing.T) {
		for library, headers := range map[string]string{
			"react-native-sse":         "authorization,cache-control,last-event-id,x-requested-with",
			"eventsource-polyfill":     "cache-control,last-event-id,x-requested-with",
			"launchdarkly-eventsource": "cache-control,last-event-id",
			"fetch-event-source":       "authorization,content-type,last-event-id",
			"axios and its like":       "authorization,cache-control,pragma",
			"tracing":                  "authorization,baggage,traceparent,tracestate,sentry-trace",
			"one that is not listed":   "authorization,x-datadog-trace-id",
		} {
			r := must(http.NewRequest(http.MethodOptions, f.url+"/v1/events/stream", nil))
			r.Header.Set("Origin", good)
			r.Header.Set("Access-Control-Request-Method", "GET")
			r.Header.Set("Access-Control-Request-Headers", headers)
			resp, _ := f.do(r)
			if refused := refusedHeaders(resp.Header.Get("Access-Control-Allow-Headers"), headers); len(refused) > 0 {
				t.Errorf("%s: a browser refuses to send %q", library, refused)
			}
		}
	})
	t.Run("all others", func(t *testing.T) {
		for _, origin := range []string{"https://evil.example", "null", "https://app.example.com.evil.io", "https://app.example.com:444", "http://app.example.com", "*"} {
			resp, body := f.getAs(admin, "/v1/tasks", "Origin", origin)
			f.expectRefusal(resp, body, 403, taskfeed.CodeOriginNotAllowed)
			r := must(http.NewRequest(http.MethodOptions, f.url+"/v1/tasks", nil))
			r.Header.Set("Origin", origin)
			r.Header.Set("Access-Control-Request-Method", "GET")
			preflight, _ := f.do(r)
			if preflight.StatusCode != 403 || preflight.Header.Get("Access-Control-Allow-Origin") != "" || preflight.Header.Get("Vary") != "Origin" {
				t.Errorf("preflight of %s: %d %v, want 403 and no permission", origin, preflight.StatusCode, preflight.Header)
			}
		}
		if resp, _ := f.getAs(alice, "/v1/me", "Origin", f.url); resp.StatusCode != 200 {
			t.Errorf("the server's own page: %d, want 200", resp.StatusCode)
		}
	})
}

func TestRequestLimit(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{}, Config{RequestsPerMinute: 3})
	alice := f.token("alice")
	for range 3 {
		if resp, body := f.getAs(alice, "/v1/me"); resp.StatusCode != 200 {
			t.Fatalf("%d %s, want 3 requests at once to pass", resp.StatusCode, body)
		}
	}
	resp, body := f.getAs(alice, "/v1/me")
	f.expectRefusal(resp, body, 429, taskfeed.CodeRateLimited)
	if got := resp.Header.Get("Retry-After"); got != "20" && got != "19" {
		t.Errorf("Retry-After %s, want about 20", got)
	}
	resp, body = f.getAs(alice, "/v1/events/stream")
	f.expectRefusal(resp, body, 429, taskfeed.CodeRateLimited)
	if resp, body := f.getAs(f.token("bob"), "/v1/me"); resp.StatusCode != 200 {
		t.Errorf("another user: %d %s, want 200", resp.StatusCode, body)
	}
}

func TestConnectionsOverHTTP(t *testing.T) {
	t.Parallel()
	f, commands := serveREST(t, &fakeHistory{}, Config{})
	admin := f.adminToken()
	f.dial("alice").ExpectQuiet()
	f.dial("bob").ExpectQuiet()
	f.stream(f.token("alice")).ExpectLive(0)

	_, body := f.getAs(admin, "/v1/connections?limit=2")
	first, second := f.connectionID(1), f.connectionID(2)
	for _, want := range []string{`"server":"` + f.feeds.ServerID() + `"`, `"id":"` + first + `","user_id":"alice","transport":"websocket"`, `"next":"` + second + `"`, `"remote_addr":"127.0.0.1"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	resp, body := f.getAs(admin, "/v1/connections?limit=2&after="+second)
	if strings.Count(body, `"id"`) != 1 || !strings.Contains(body, `"transport":"sse"`) || strings.Contains(body, "next") || resp.Header.Get("Link") != "" {
		t.Errorf("second page %s, want the stream alone", body)
	}
	if _, body := f.getAs(admin, "/v1/connections?user_id=bob"); strings.Count(body, `"id"`) != 1 || !strings.Contains(body, second) {
		t.Errorf("of bob: %s, want one", body)
	}
	for _, path := range []string{"/v1/connections/" + first, "/v1/connections/aaaaaaaa-77", "/v1/users/b%C3%B6b%2F%3F/connections"} {
		if resp, body := f.do(f.request(http.MethodDelete, path, admin)); resp.StatusCode != 202 || body != "" {
			t.Errorf("DELETE %s: %d %s, want 202", path, resp.StatusCode, body)
		}
	}
	if want := []string{"disconnect_connection " + first, "disconnect_connection aaaaaaaa-77", "disconnect_user böb/?"}; !slices.Equal(commands.given, want) {
		t.Errorf("commands %q, want %q", commands.given, want)
	}
	if got := len(f.connections()); got != 3 {
		t.Errorf("%d connections, want 3: a command is carried out when it comes back", got)
	}
	f.Obey("of a later version", "alice")
	f.Obey(taskfeed.CommandDisconnectUser, "alice")
	f.eventually("alice is gone and bob is not", func() bool { return len(f.connections()) == 1 && f.connections()[0].UserID == "bob" })
	if _, body := f.getAs(admin, "/v1/connections?user_id=alice"); strings.Contains(body, `"id"`) {
		t.Errorf("open connections of alice: %s, want none", body)
	}
	_, body = f.getAs(admin, "/v1/connections?ended=true&limit=2")
	if strings.Count(body, `"id"`) != 2 || strings.Count(body, `"until"`) != 1 || !strings.Contains(body, first) || !strings.Contains(body, second) {
		t.Errorf("first page with those that ended: %s, want alice's, ended, and bob's, open", body)
	}
	if _, body := f.getAs(admin, "/v1/connections?ended=true&user_id=alice"); strings.Count(body, `"until"`) != 2 {
		t.Errorf("connections of alice that ended: %s, want two", body)
	}
	commands.err = &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "away"}
	resp, body = f.do(f.request(http.MethodDelete, "/v1/connections/"+second, admin))
	f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
}

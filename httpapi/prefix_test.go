package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// oddIDs are valid ids that proxies may change or interpret.
var oddIDs = []string{"a/b", "a//b", "/a", "a/", "a/events", "a/../b", "a/./b", "..a", "a%b", "a%2Fb", "a%252Fb", "%", "a?b=c", "?", "a#b", "a+b", "+", "a b", " a", "a;b=c", "a&b=c", "a=b",
	"zoë/用户", "a\\b", "a\"b<c>", "a:b@c", "events", "by-id", "~a!$'()*,"}

// dottedIDs cannot be written in a path at all.
var dottedIDs = []string{".", "..", "../..", "a/..", "../me"}

// proxyBelow serves the fixture below /feed/. A proxy that decodes changes paths as
// nginx does for proxy_pass with a path: it decodes them, merges slashes, resolves
// dots and encodes what needs it. Any other removes the prefix and nothing else.
func proxyBelow(f *fixture, decodes bool) string {
	target := must(url.Parse(f.url))
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		if decodes {
			clean := path.Clean(r.In.URL.Path)
			if strings.HasSuffix(r.In.URL.Path, "/") {
				clean += "/"
			}
			r.Out.URL.Path, r.Out.URL.RawPath = strings.TrimPrefix(clean, "/feed"), ""
		} else {
			raw := strings.TrimPrefix(r.In.URL.EscapedPath(), "/feed")
			r.Out.URL.Path, r.Out.URL.RawPath = must(url.PathUnescape(raw)), raw
		}
		r.Out.URL.RawQuery = r.In.URL.RawQuery
	}}
	server := httptest.NewServer(proxy)
	f.t.Cleanup(server.Close)
	return server.URL + "/feed"
}

// TestIDsBelowAPrefix (bad input 105): behind a proxy that removes a prefix and decodes the path,
// a task whose id has a slash was not found, or the timeline of another one was.
func TestIDsBelowAPrefix(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	for _, id := range append(oddIDs, dottedIDs...) {
		h.page.Items = append(h.page.Items, someTask(id, "alice"))
	}
	h.page.Items = append(h.page.Items, someTask("a", "alice"), someTask("b", "alice"))
	f, commands := serveREST(t, h, Config{RequestsPerMinute: -1})
	decoding, plain := proxyBelow(f, true), proxyBelow(f, false)
	for _, id := range append(oddIDs, dottedIDs...) {
		q, p := url.QueryEscape(id), url.PathEscape(id)
		f.checkID(decoding, id, "/ws?user_id="+q, "/v1/task-by-id?id="+q, "/v1/task-by-id/events?id="+q, "/v1/user-by-id/connections?id="+q, commands)
		if !slices.Contains(dottedIDs, id) {
			f.checkID(plain, id, "/ws/"+p, "/v1/tasks/"+p, "/v1/tasks/"+p+"/events", "/v1/users/"+p+"/connections", commands)
		}
	}
}

// checkID uses the id in all four ways, always as an admin except for the feed.
func (f *fixture) checkID(base, id, feed, task, timeline, user string, commands *fakeCommands) {
	f.t.Helper()
	join := map[bool]string{true: "&", false: "?"}[strings.Contains(feed, "?")]
	sock := wstest.Dial(f.t, base+feed+join+"token="+f.token(id), wstest.Options{})
	sock.ExpectQuiet()
	sock.Close(1000)

	admin := f.adminToken()
	ask := func(method, path string) (int, string) {
		r := must(http.NewRequest(method, base+path, nil))
		r.Header.Set("Authorization", "Bearer "+admin)
		w := must(http.DefaultClient.Do(r))
		defer w.Body.Close()
		var body json.RawMessage
		_ = json.NewDecoder(w.Body).Decode(&body) // empty after DELETE
		return w.StatusCode, string(body)
	}
	var found taskfeed.Task
	if status, body := ask(http.MethodGet, task); status != 200 || json.Unmarshal([]byte(body), &found) != nil || found.ID != id {
		f.t.Errorf("%s: %d %s, want the task %q", task, status, body, id)
	}
	h := f.deps.History.(*fakeHistory)
	if status, body := ask(http.MethodGet, timeline); status != 200 || !strings.HasPrefix(h.lastTimeline(), fmt.Sprintf("%q ", id)) {
		f.t.Errorf("%s: %d %s of %s, want the timeline of %q", timeline, status, body, h.lastTimeline(), id)
	}
	if status, body := ask(http.MethodDelete, user); status != 202 || !strings.HasSuffix(commands.last(), " "+id) {
		f.t.Errorf("%s: %d %s, %q, want a command about %q", user, status, body, commands.last(), id)
	}
}

// lastTimeline is the last call for a timeline; it begins with the task.
func (h *fakeHistory) lastTimeline() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.timeline) == 0 {
		return ""
	}
	return h.timeline[len(h.timeline)-1]
}

func (f *fakeCommands) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.given) == 0 {
		return ""
	}
	return f.given[len(f.given)-1]
}

func TestIDsInTheQueryAreNeeded(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{}, Config{})
	admin := f.adminToken()
	for _, path := range []string{"/v1/task-by-id", "/v1/task-by-id/events", "/v1/me/task-by-id", "/v1/me/task-by-id/events", "/v1/task-by-id?id=", "/v1/task-by-id?id=a&id=b", "/v1/task-by-id?id=%00", "/v1/me/task-by-id?id=" + strings.Repeat("a", 256)} {
		resp, body := f.getAs(admin, path)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "id")
	}
	for _, query := range []string{"", "user_id=", "user_id=alice&user_id=bob", "user_id=%00", "user_id=%ff", "userId=alice"} {
		expectProblem(t, wstest.Refused(t, f.url+"/ws?token="+f.token("alice")+"&"+query, wstest.Options{}), 400, taskfeed.CodeBadRequest)
	}
	wstest.Dial(t, f.url+"/ws?user_id=bob&token="+f.token("alice"), wstest.Options{}).ExpectClose(taskfeed.CloseForbidden)
}

package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// unreadable are queries of which a lenient parser would drop a part.
var unreadable = []string{
	"after=0;x", "after=0;token=1", ";", "x=1;after=0", "after=0&x=;", "after=0&a;b",
	"after=0%zz", "%zz=0", "after=0&x=%", "after=0&%", "after=%1", "x=%u0041", "after=0&x=%f",
	"=0", "after=0&=", "=after=0", "after=0&=x",
	"x=1#after=0", "#after=0", "after=0#",
	"%ff=1&after=0", "after%ff=0", "%00after=0", "after%00=0", "%0aafter=0", "after=0&%7f=1",
	"types=mail?after=0", "task_id=t1?after=0", "x=1?after=0", "x=1?x=2?after=0", "task_id=t1?Last_Event_ID=3", "task_id=t1?lastEventId=3", "task_id=t1?types=mail",
	"task_id=t1%26after=0", "task_id=t1%3Fafter%3D0", "task_id=t1%253Fafter%253D0", "task_id=t1%23after=0", "task_id=t1&amp%3Bafter=0", "task_id=t1%26amp%3Bafter%3D0",
	"x=t1%26amp%3Bamp%3Bafter=0", "?after=0", "%3Fafter=0", "x=1&?after=0", "amp%3Bafter=0", "AMP%3Bx=0", "after%26amp%3Bx=0", "x=1&%26after=0", "x=1&%2526amp%253Bafter=0",
}

// TestBadInput95UnreadableQueries: /ws/alice?after=0;x opened a feed that began
// live: net/url drops a parameter with a semicolon, here the cursor, without an error.
func TestBadInput95UnreadableQueries(t *testing.T) {
	t.Parallel()

	t.Run("at a handshake", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		f.log.add("alice", "hello", `{}`)
		for _, query := range unreadable {
			address := strings.TrimPrefix(f.url, "http://")
			for _, target := range []string{"/ws/alice?" + query, "/ws/alice?token=" + f.token("alice") + "&" + query} {
				raw := wstest.Connect(t, address)
				raw.SendBytes([]byte("GET " + target + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
				raw.ReadResponse()
				if got := raw.Response; got.StatusCode != 400 || got.Header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: %d %s, want a problem document with 400", query, got.StatusCode, got.Header.Get("Content-Type"))
				}
			}
		}
		if got, want := f.metric(`taskfeed_handshake_refusals_total{code="bad_request"}`), float64(2*len(unreadable)); got != want {
			t.Errorf("%v refused handshakes are counted, want %v", got, want)
		}
	})

	// All registered routes are tested, so that new ones are too.
	t.Run("at every URL", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{deps: Deps{History: &fakeHistory{}, Commands: &fakeCommands{}, Sources: fakeSources{}, Samples: fakeSamples{},
			Pages: http.NotFoundHandler(), SDK: http.NotFoundHandler()}})
		admin := f.adminToken()
		asked := 0
		for _, route := range f.handler.Routes() {
			for _, query := range unreadable {
				r := httptest.NewRequest(route.Method, strings.NewReplacer(":user_id", "root", ":id", "t1", "*", "x").Replace(route.Path), nil)
				r.URL.RawQuery = query
				r.Header.Set("Authorization", "Bearer "+admin)
				r.Header.Set("Origin", "http://"+r.Host)
				w := httptest.NewRecorder()
				f.handler.ServeHTTP(w, r)
				if w.Code != 400 || r.Method != http.MethodHead && wstest.ProblemCode(w.Body.Bytes()) != taskfeed.CodeBadRequest {
					t.Errorf("%s %s?%s: %d %s, want 400 bad_request", route.Method, route.Path, query, w.Code, w.Body)
				}
				if asked++; route.Path == "/v1/me" && w.Header().Get("Access-Control-Allow-Origin") == "" {
					t.Errorf("GET /v1/me?%s: a page cannot read the refusal", query)
				}
			}
		}
		if asked < 30*len(unreadable) {
			t.Errorf("%d requests, want more: there are over 30 routes", asked)
		}
	})

	t.Run("odd but valid queries are accepted", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		f.log.add("alice", "hello", `{}`)
		for _, query := range []string{"after=0", "&&after=0&&", "after=%30", "%61fter=0", "x=a?b/c:d@e&after=0", "x=[]{}|^`\\\"<>&after=0",
			"x&after=0", "after=0&x==1", "y=a?b=c&x=/?page=2&after=0", "x=thereafter=0&after=0", "my_after=7&x-token=8&after=0", "x=1&x=2&after=0", "x=%ff%00&after=0", "x=ü&after=0"} {
			f.dial("alice", query).ExpectEvent(1)
		}
	})
}

// TestBadInput96NamesThatLookLikeOurs: a feed ignores unknown parameters, and so it
// ignored a cursor whose name was misspelled.
func TestBadInput96NamesThatLookLikeOurs(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	alice := f.token("alice")
	for _, query := range []string{"After=0", "AFTER=0", "after[]=0", "+after=0", "after+=0", "%20after=0", "after%3D0", "after%3D=0", "after.=0",
		"after%C2%A0=0", "%EF%BB%BFafter=0", "taskId=t1", "task-id=t1", "Types=x", "types[]=x", "Token=x", "last%20event%20id=1",
		"x[after]=0", "stream.after=0", "after%253D0", "after%25253D=0", "[\"after\"]=0", "x/after=0", "after%2520=0"} {
		expectProblem(t, wstest.Refused(t, f.feedURL("alice", query), wstest.Options{}), 400, taskfeed.CodeBadRequest)
		resp, body := f.getAs(alice, "/v1/events/stream?"+query)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "")
	}
	for name, query := range map[string]string{"feeds": "feeds=team", "type": "type=x"} {
		expectProblem(t, wstest.Refused(t, f.feedURL("alice", query), wstest.Options{}), 400, taskfeed.CodeBadRequest)
		resp, body := f.getAs(alice, "/v1/events/stream?"+query)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, name)
	}
	f.dial("alice", "utm_source=x", "t=1").ExpectQuiet()
	f.stream(alice, "utm_source=x", "t=1", "_=1").ExpectLive(0)
}

// TestBadInput137TypesOfNoEvent: a feed narrowed to types that no event can have
// opened and never got an event.
func TestBadInput137TypesOfNoEvent(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{deps: Deps{History: &fakeHistory{}}})
	alice := f.token("alice")
	for _, value := range []string{"*", "task%20queued", "mail,*", "a%2Cb%20c", "1st", "_x", ".x", "-", "%C3%A9t%C3%A9", "m%C3%A4il", "a/b", "a%3Bb", "%22mail%22", "[mail]", "task_*",
		"mail%3F", "a%00", "%FF", strings.Repeat("a", 65), "task_done", "feed_live"} {
		expectProblem(t, wstest.Refused(t, f.feedURL("alice", "types="+value), wstest.Options{}), 400, taskfeed.CodeBadRequest)
		resp, body := f.getAs(alice, "/v1/events/stream?types="+value)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "types")
		for path, token := range map[string]string{"/v1/me/events": alice, "/v1/events": f.adminToken()} {
			resp, body := f.getAs(token, path+"?type="+value)
			f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "type")
		}
	}
	for _, value := range []string{"mail", "M", "a.b:c-d_9", "Task_done", "task_queued,mail", "mail,%20order.paid", strings.Repeat("a", 64)} {
		f.dial("alice", "types="+value).ExpectQuiet()
	}
}

// TestBadInput97Doubled: of two headers with different values, a proxy may use one
// and the server the other.
func TestBadInput97Doubled(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	token := f.token("alice")
	for name, header := range map[string]http.Header{
		"two tokens":                 {"Authorization": {"Bearer " + token, "Bearer " + token}},
		"a token and another scheme": {"Authorization": {"Bearer " + token, "Basic YTpi"}},
		"two other schemes":          {"Authorization": {"Basic YTpi", "Basic YTpi"}},
	} {
		t.Run(name, func(t *testing.T) {
			expectProblem(t, wstest.Refused(t, f.url+"/ws/alice", wstest.Options{Header: header}), 400, taskfeed.CodeAmbiguousCredentials)
			for _, path := range []string{"/v1/events/stream", "/v1/me"} {
				r := f.request(http.MethodGet, path, "")
				r.Header = header.Clone()
				resp, body := f.do(r)
				f.expectRefusal(resp, body, 400, taskfeed.CodeAmbiguousCredentials)
			}
		})
	}
	got := wstest.Refused(t, f.feedURL("alice"), wstest.Options{Header: http.Header{"Last-Event-Id": {"1", "2"}}})
	expectProblem(t, got, 400, taskfeed.CodeBadCursor)
}

// TestBadInput98UserIDsInThePath: an invalid user id is refused before the upgrade,
// and with another code than the id of another user.
func TestBadInput98UserIDsInThePath(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for _, id := range []string{"%FF", "%00", "a%00", "a%0Ab", "%7F", "%C3%28", strings.Repeat("a", 256)} {
		expectProblem(t, wstest.Refused(t, f.url+"/ws/"+id+"?after=0&token="+f.token("alice"), wstest.Options{}), 400, taskfeed.CodeBadRequest)
	}
	for _, id := range []string{"a%3Bb", "a%23b", "a%2Bb", "a+b", "a%20b", "a%3Fb", "a%25b", "%C3%A9", strings.Repeat("a", 255)} {
		expectOpen(t, f, id)
	}
}

func expectOpen(t *testing.T, f *fixture, escaped string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/ws/"+escaped, nil)
	token := f.token(strings.TrimPrefix(r.URL.Path, "/ws/"))
	wstest.Dial(t, f.url+"/ws/"+escaped+"?token="+token, wstest.Options{}).ExpectQuiet()
}

// TestQueriesAreReadInOnePlace: the parsers of net/url and echo silently drop what
// they cannot parse, so no handler may use them.
func TestQueriesAreReadInOnePlace(t *testing.T) {
	t.Parallel()
	forgiving := regexp.MustCompile(`\.Query\(\)|url\.ParseQuery|QueryParam|FormValue|ParseForm|PostForm|QueryString`)
	for _, file := range append(must(filepath.Glob("*.go")), must(filepath.Glob("*/*.go"))...) {
		if strings.HasSuffix(file, "_test.go") || file == "request/query.go" {
			continue
		}
		if found := forgiving.FindString(string(must(os.ReadFile(file)))); found != "" {
			t.Errorf("%s uses %s, want Query or ReadParams of package request", file, found)
		}
	}
}

// fakeSamples is a Samples, without which its route is not registered.
type fakeSamples struct{}

func (fakeSamples) Actions() []string { return nil }

func (fakeSamples) Run(context.Context, string, string) (string, error) { return "", nil }

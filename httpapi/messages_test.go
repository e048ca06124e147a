package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/inbox"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// memInbox stores messages in memory. A user sees the tasks that have the name of a feed
// of theirs.
type memInbox struct {
	mu       sync.Mutex
	messages []taskfeed.Message
	err      error
	query    taskfeed.MessageQuery // the last one
}

func (s *memInbox) AddMessages(_ context.Context, messages []taskfeed.Message, _ taskfeed.InboxLimits) ([]taskfeed.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stored []taskfeed.Stored
	for _, m := range messages {
		if m.TaskID != "" && m.TaskID != m.UserID && !slices.Contains(m.Feeds, m.TaskID) {
			stored = append(stored, taskfeed.Stored{Err: &taskfeed.Error{Code: taskfeed.CodeNotFound, Message: "there is no such task"}})
			continue
		}
		m.ID = int64(len(s.messages)) + 1
		s.messages = append(s.messages, m)
		stored = append(stored, taskfeed.Stored{ID: m.ID})
	}
	return stored, s.err
}

func (s *memInbox) WaitingMessages(context.Context) (int, error) { return 0, nil }

func (s *memInbox) Messages(_ context.Context, q taskfeed.MessageQuery) (found []taskfeed.SentMessage, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.query = q
	for _, m := range slices.Backward(s.messages) {
		if len(found) < q.Limit && (q.Before == 0 || m.ID < q.Before) {
			found = append(found, taskfeed.SentMessage{Message: m, Waiting: true})
		}
	}
	return found, s.err
}

func (s *memInbox) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// serveInbox starts a server that takes messages of the topic cancel.
func serveInbox(t *testing.T, cfg inbox.Config) (*fixture, *memInbox) {
	t.Helper()
	store := new(memInbox)
	cfg.Topics = []string{"cancel"}
	in := must(inbox.New(store, cfg, slog.New(slog.DiscardHandler)))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = in.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return serve(t, setup{deps: Deps{Inbox: in, Messages: store}}), store
}

// post sends a message over HTTP.
func (f *fixture) post(token, kind, body string) (*http.Response, string) {
	f.t.Helper()
	r := must(http.NewRequest(http.MethodPost, f.url+"/v1/me/messages", strings.NewReader(body)))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", kind)
	return f.do(r)
}

// wantAnswer reads the answer to a message, which must be of the contract and begin like
// this.
func wantAnswer(t *testing.T, c *wstest.Client, want string) {
	t.Helper()
	got := c.Text()
	if err := theContract(t).Frame([]byte(got)); err != nil || !strings.HasPrefix(got, want) {
		t.Errorf("bad input 158: got the answer %s (%v), want it to begin with %s", got, err, want)
	}
}

func TestMessagesOverWebSocket(t *testing.T) {
	t.Parallel()
	f, store := serveInbox(t, inbox.Config{PerMinute: 4})
	c := wstest.Dial(t, f.url+"/ws/alice?token="+f.token("alice", "team"), wstest.Options{})
	c.Send(`{"type":"message","ref":"1","topic":"cancel","task_id":"team","data":{"a":1}}`)
	wantAnswer(t, c, `{"type":"message_ack","ref":"1","id":1}`)
	c.Send(`{"type":"message","ref":"2","topic":"cancel","task_id":"bob"}`)
	wantAnswer(t, c, `{"type":"message_nack","ref":"2","code":"not_found","detail":`)
	c.Send(`{"type":"message","ref":"3","topic":"other"}`)
	wantAnswer(t, c, `{"type":"message_nack","ref":"3","code":"topic_not_allowed","detail":`)
	c.Send(`{"type":"message","topic":"cancel"}`)
	wantAnswer(t, c, `{"type":"message_nack","code":"bad_request","detail":`)
	c.Send(`{"type":"message","ref":"5","topic":"cancel"}`)
	wantAnswer(t, c, `{"type":"message_nack","ref":"5","code":"rate_limited","detail":`)
	c.Send("ping")
	if got := c.Text(); got != "pong" {
		t.Errorf("after the answers: got %q, want pong", got)
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.messages) != 1 {
		t.Fatalf("bad input 158: stored %+v, want one message", store.messages)
	}
	m := store.messages[0]
	if got, want := fmt.Sprintf("%s %s %s %s", m.UserID, m.Ref, m.TaskID, m.Data), `alice 1 team {"a":1}`; got != want {
		t.Errorf("stored %q, want %q", got, want)
	}
	for _, outcome := range []string{"stored", "not_found", "topic_not_allowed", "bad_request", "rate_limited"} {
		if n := f.metric(`taskfeed_inbox_messages_total{outcome="` + outcome + `"}`); n != 1 {
			t.Errorf("%v messages counted as %s, want 1", n, outcome)
		}
	}
}

// A message about a task of the user's own is taken on a connection that shows a group
// alone; tasks of groups that it does not show are not seen there.
func TestMessagesOfNarrowedConnections(t *testing.T) {
	t.Parallel()
	f, _ := serveInbox(t, inbox.Config{})
	c := wstest.Dial(t, f.url+"/ws/alice?feed=team&token="+f.token("alice", "team", "org"), wstest.Options{})
	for ref, want := range map[string]string{"alice": "message_ack", "team": "message_ack", "org": "message_nack"} {
		c.Send(`{"type":"message","ref":"` + ref + `","topic":"cancel","task_id":"` + ref + `"}`)
		wantAnswer(t, c, `{"type":"`+want+`","ref":"`+ref+`"`)
	}
}

func TestMessagesOverHTTP(t *testing.T) {
	t.Parallel()
	f, store := serveInbox(t, inbox.Config{PerMinute: 12})
	token := f.token("alice", "team")
	const good = `{"ref":"1","topic":"cancel","task_id":"team"}`
	unavailable := &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the database is away"}
	for _, tt := range []struct {
		name, kind, body string
		err              error
		status           int
		code             taskfeed.Code
	}{
		{"good", "application/json", good, nil, 200, ""},
		{"a charset", "application/json; charset=utf-8", good, nil, 200, ""},
		{"text", "text/plain", good, nil, 415, taskfeed.CodeUnsupportedMedia},
		{"no type", "", good, nil, 415, taskfeed.CodeUnsupportedMedia},
		{"a form", "application/x-www-form-urlencoded", "ref=1", nil, 415, taskfeed.CodeUnsupportedMedia},
		{"no body", "application/json", "", nil, 400, taskfeed.CodeBadRequest},
		{"an array", "application/json", "[]", nil, 400, taskfeed.CodeBadRequest},
		{"another's task", "application/json", `{"ref":"1","topic":"cancel","task_id":"bob"}`, nil, 404, taskfeed.CodeNotFound},
		{"topic", "application/json", `{"ref":"1","topic":"x"}`, nil, 403, taskfeed.CodeTopicNotAllowed},
		{"large data", "application/json", `{"ref":"1","topic":"cancel","data":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`, nil, 413, taskfeed.CodeTooLarge},
		{"a large body", "application/json", `{"ref":"1","topic":"cancel","a":"` + strings.Repeat("x", 32<<10) + `"}`, nil, 413, taskfeed.CodeTooLarge},
		{"an outage", "application/json", good, unavailable, 503, taskfeed.CodeUnavailable},
		{"full", "application/json", good, &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: "no"}, 400, taskfeed.CodeBadRequest},
	} {
		store.fail(tt.err)
		resp, body := f.post(token, tt.kind, tt.body)
		if resp.StatusCode != tt.status || wstest.ProblemCode([]byte(body)) != tt.code {
			t.Errorf("bad input 158: %s: %d %s, want %d %s", tt.name, resp.StatusCode, body, tt.status, tt.code)
		}
		if tt.status == 200 && !strings.HasPrefix(body, `{"ref":"1","id":`) {
			t.Errorf("%s: got %s, want the ref and the id", tt.name, body)
		}
	}
	store.fail(nil)
	for range 4 {
		f.post(token, "application/json", good)
	}
	resp, _ := f.post(token, "application/json", good)
	if after := resp.Header.Get("Retry-After"); resp.StatusCode != 429 || after == "" || after == "0" {
		t.Errorf("the rate: %d with Retry-After %q, want 429 and when to send it again", resp.StatusCode, after)
	}
	if resp, _ := f.post("", "application/json", good); resp.StatusCode != 401 {
		t.Errorf("without a token: %d, want 401", resp.StatusCode)
	}
}

func TestInboxOff(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	resp, body := f.post(f.token("alice"), "application/json", `{"ref":"1","topic":"cancel"}`)
	if resp.StatusCode != 404 || wstest.ProblemCode([]byte(body)) != taskfeed.CodeInboxOff {
		t.Errorf("bad input 159: got %d %s, want 404 inbox_off", resp.StatusCode, body)
	}
	c := f.dial("alice")
	c.Send(`{"type":"message","ref":"1","topic":"cancel"}`)
	wantAnswer(t, c, `{"type":"message_nack","ref":"1","code":"inbox_off","detail":`)
}

func TestListOfMessages(t *testing.T) {
	t.Parallel()
	f, store := serveInbox(t, inbox.Config{})
	for i := range 3 {
		f.post(f.token("alice"), "application/json", fmt.Sprintf(`{"ref":"%d","topic":"cancel","data":{"a":1}}`, i))
	}
	admin := func(query string) (*http.Response, string) {
		r := must(http.NewRequest(http.MethodGet, f.url+"/v1/messages"+query, nil))
		r.Header.Set("Authorization", "Bearer "+must(auth.Issue(authConfig, "root", auth.RoleAdmin, time.Hour)))
		return f.do(r)
	}
	resp, body := admin("?limit=2&user_id=alice&task_id=t")
	if resp.StatusCode != 200 || !strings.Contains(body, `"ref":"2"`) || !strings.HasSuffix(body, `"next":"2"}`+"\n") || resp.Header.Get("Link") == "" {
		t.Errorf("got %d %s, want the last two messages and where the next page begins", resp.StatusCode, body)
	}
	store.mu.Lock()
	query := store.query
	store.mu.Unlock()
	if got, want := query, (taskfeed.MessageQuery{UserID: "alice", TaskID: "t", Limit: 3}); got != want {
		t.Errorf("asked for %+v, want %+v", got, want)
	}
	if _, body = admin("?after=2"); !strings.Contains(body, `"ref":"0"`) || strings.Contains(body, `"next"`) {
		t.Errorf("the last page: got %s", body)
	}
	for _, query := range []string{"?after=x", "?after=-1", "?limit=0", "?what=1"} {
		if resp, body := admin(query); resp.StatusCode != 400 {
			t.Errorf("%s: %d %s, want 400", query, resp.StatusCode, body)
		}
	}
	r := must(http.NewRequest(http.MethodGet, f.url+"/v1/messages", nil))
	r.Header.Set("Authorization", "Bearer "+f.token("alice"))
	if resp, _ := f.do(r); resp.StatusCode != 403 {
		t.Errorf("a user: %d, want 403", resp.StatusCode)
	}
}

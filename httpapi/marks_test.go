package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/ssetest"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// fakeMarks keeps marks in memory.
type fakeMarks struct {
	head taskfeed.Cursor

	mu     sync.Mutex
	at     map[string]taskfeed.Cursor
	writes []string // the marks of each
	err    error
	asked  []string // what was counted
}

func (m *fakeMarks) MoveMarks(_ context.Context, marks []taskfeed.Mark, _ string) (now []taskfeed.Mark, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = make(map[string]taskfeed.Cursor)
	}
	var said []string
	for _, mark := range marks {
		said = append(said, fmt.Sprintf("%s %d", mark.UserID, mark.Through))
		if m.err == nil {
			m.at[mark.UserID] = max(m.at[mark.UserID], mark.Through)
			now = append(now, taskfeed.Mark{UserID: mark.UserID, Through: m.at[mark.UserID]})
		}
	}
	m.writes = append(m.writes, strings.Join(said, ", "))
	return now, m.err
}

func (m *fakeMarks) Marks(_ context.Context, users []string) (marks []taskfeed.Mark, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range users {
		if at, ok := m.at[user]; ok {
			marks = append(marks, taskfeed.Mark{UserID: user, Through: at})
		}
	}
	return marks, m.err
}

func (m *fakeMarks) Head(context.Context) (taskfeed.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head, m.err
}

func (m *fakeMarks) Unread(_ context.Context, reader string, f taskfeed.Filter, through taskfeed.Cursor) (taskfeed.Unread, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, fmt.Sprintf("%s: %s %v %v up to %d", reader, f.UserID, f.Feeds, f.Types, through))
	return taskfeed.Unread{Through: m.at[reader], Total: 2, More: true, Types: map[taskfeed.Type]int{"mail": 2}}, m.err
}

func (m *fakeMarks) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *fakeMarks) written() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.writes)
}

func (m *fakeMarks) countedLast() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[len(m.asked)-1]
}

// serveMarks starts a server whose log ends with event 100.
func serveMarks(t *testing.T) (*fixture, *fakeMarks) {
	t.Helper()
	m := &fakeMarks{head: 100}
	return serve(t, setup{first: 100, deps: Deps{Marks: m}}), m
}

// put moves a user's mark over REST.
func (f *fixture) put(user, query string) (*http.Response, string) {
	f.t.Helper()
	return f.do(f.request(http.MethodPut, "/v1/me/read"+query, f.token(user)))
}

func expectRead(t *testing.T, frame taskfeed.Frame, through taskfeed.Cursor) {
	t.Helper()
	if frame.Type != taskfeed.TypeFeedRead || frame.Cursor != through {
		t.Errorf("frame %+v, want feed_read through %d", frame, through)
	}
}

// expectReadEvent expects a feed_read that leaves the stream's last id as it is.
func expectReadEvent(t *testing.T, stream *ssetest.Client, lastID string, through taskfeed.Cursor) {
	t.Helper()
	e := stream.Event()
	if want := fmt.Sprintf(`{"type":"feed_read","through":%d}`, through); e.Type != "feed_read" || e.Data != want || e.ID != lastID {
		t.Errorf("event %+v, want %s and the last id %s", e, want, lastID)
	}
}

// A mark reaches the user's other connections, and nobody else.
func TestReadReachesOtherConnections(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	sender, other, plain, bob := f.dial("alice", "after=100"), f.dialWith("alice", []string{"team"}, "after=100", "feed=team"), f.dial("alice"), f.dial("bob", "after=100")
	stream := f.stream(f.token("alice"), "after=100")
	admin := must(auth.Issue(authConfig, "alice", auth.RoleAdmin, time.Hour))
	watcher := f.stream(admin, "after=100", "user_id=bob")
	for _, c := range []*wstest.Client{sender, other, bob} {
		c.ExpectLive(100)
	}
	stream.ExpectLive(100)
	watcher.ExpectLive(100)
	sender.Send(`{"type":"read","through":99}`)
	expectRead(t, other.Frame(), 99)
	expectReadEvent(t, stream, "100", 99)
	if got := m.written(); !slices.Equal(got, []string{"alice 99"}) {
		t.Errorf("written %q, want alice's mark", got)
	}
	for _, c := range []*wstest.Client{sender, plain, bob} {
		c.ExpectQuiet()
	}
	id := f.log.add("alice", "news", `{}`)[0]
	for _, c := range []*wstest.Client{sender, other, plain} {
		if c != other {
			c.ExpectEvent(id)
		}
	}
	stream.ExpectEvent(id)
	watcher.ExpectEvent(f.log.add("bob", "news", `{}`)[0])
}

// Over REST the answer comes when the mark is written and says where it is; all
// connections are told.
func TestReadOverREST(t *testing.T) {
	t.Parallel()
	f, _ := serveMarks(t)
	c := f.dial("alice", "after=100")
	c.ExpectLive(100)
	for _, step := range []struct{ through, want taskfeed.Cursor }{{50, 50}, {20, 50}, {60, 60}} {
		resp, body := f.put("alice", fmt.Sprintf("?through=%d", step.through))
		if want := fmt.Sprintf(`{"through":%d}`+"\n", step.want); resp.StatusCode != http.StatusOK || body != want {
			t.Errorf("put %d: %d %s, want %s", step.through, resp.StatusCode, body, want)
		}
		expectRead(t, c.Frame(), step.want)
	}
	c.Send(`{"type":"read","through":10}`) // who is behind is told where the mark is
	expectRead(t, c.Frame(), 60)
}

func TestBadMarks(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	c := f.dial("alice", "after=100")
	c.ExpectLive(100)
	for message, code := range map[string]taskfeed.Code{
		`{"type":"read","through":101}`:              taskfeed.CodeMarkAhead,
		`{"type":"read","through":9007199254740991}`: taskfeed.CodeMarkAhead,
		`{"type":"read","through":9007199254740992}`: taskfeed.CodeBadCursor,
		`{"type":"read","through":"99"}`:             taskfeed.CodeBadCursor,
		`{"type":"read","through":-1}`:               taskfeed.CodeBadCursor,
		`{"type":"read"}`:                            taskfeed.CodeBadCursor,
	} {
		c.Send(message)
		if frame := c.Frame(); frame.Type != taskfeed.TypeFeedReadRefused || frame.Code != code {
			t.Errorf("%s: frame %+v, want it refused with %s", message, frame, code)
		}
	}
	for query, want := range map[string]struct {
		status int
		code   taskfeed.Code
		fields []string
	}{
		"?through=101":          {409, taskfeed.CodeMarkAhead, nil},
		"?through=-1":           {400, taskfeed.CodeBadCursor, nil},
		"?through=x":            {400, taskfeed.CodeBadCursor, nil},
		"":                      {400, taskfeed.CodeBadRequest, []string{"through"}},
		"?through=1&through=2":  {400, taskfeed.CodeBadRequest, []string{"through", "through"}},
		"?through=1&user_id=bo": {400, taskfeed.CodeBadRequest, []string{"user_id"}},
	} {
		resp, body := f.put("alice", query)
		f.expectRefusal(resp, body, want.status, want.code, want.fields...)
	}
	if got := m.written(); len(got) != 0 {
		t.Errorf("written %q, want nothing", got)
	}
	m.mu.Lock()
	m.head = 101 // of which this server has not heard yet
	m.mu.Unlock()
	if resp, body := f.put("alice", "?through=101"); resp.StatusCode != http.StatusOK {
		t.Errorf("a mark at the end of the log: %d %s, want 200", resp.StatusCode, body)
	}
}

// However often a user marks, the mark is written once a second, and the last one counts.
func TestMarksAreWrittenOnceASecond(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	c := f.dial("alice", "after=100")
	c.ExpectLive(100)
	began := time.Now()
	for i := range 100 {
		c.Send(fmt.Sprintf(`{"type":"read","through":%d}`, 1+i))
	}
	f.eventually("the last mark is written", func() bool { w := m.written(); return len(w) > 0 && w[len(w)-1] == "alice 100" })
	if got, most := m.written(), 2+int(time.Since(began)/time.Second); len(got) > most {
		t.Errorf("written %q, want at most %d writes in %v", got, most, time.Since(began))
	}
}

// A mark waits while the database is away, and is written when it is back.
func TestMarksWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	c := f.dial("alice", "after=100")
	c.ExpectLive(100)
	m.set(&taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "away"})
	resp, body := f.put("alice", "?through=7")
	f.expectRefusal(resp, body, 503, taskfeed.CodeUnavailable)
	c.Send(`{"type":"read","through":300}`) // only the database knows
	if frame := c.Frame(); frame.Code != taskfeed.CodeUnavailable {
		t.Errorf("frame %+v, want it refused with %s", frame, taskfeed.CodeUnavailable)
	}
	m.set(nil)
	expectRead(t, c.Frame(), 7)
}

// A mark that the database refuses for good is given up.
func TestMarksThatAreRefused(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	m.set(errors.New("no such table"))
	resp, body := f.put("alice", "?through=7")
	f.expectRefusal(resp, body, 500, taskfeed.CodeInternal)
	m.set(nil)
	if resp, body := f.put("alice", "?through=5"); body != `{"through":5}`+"\n" {
		t.Errorf("put 5: %d %s, want 5", resp.StatusCode, body)
	}
}

// What waits is written when the server stops.
func TestMarksAreWrittenAtShutdown(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	c := f.dial("alice", "after=100")
	c.ExpectLive(100)
	c.Send(`{"type":"read","through":1}`)
	f.eventually("the first mark is written", func() bool { return len(m.written()) == 1 })
	c.Send(`{"type":"read","through":2}`)
	c.ExpectQuiet() // the server has read it
	f.stop()
	if err := f.wait(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if got := m.written(); got[len(got)-1] != "alice 2" {
		t.Errorf("written %q, want alice 2 last", got)
	}
}

// Another server says whose marks it has moved; where they are, the database says.
func TestMarksOfAnotherServer(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	c := f.dial("alice", "after=100")
	c.ExpectLive(100)
	m.at = map[string]taskfeed.Cursor{"alice": 42, "bob": 43}
	f.MarksMoved(t.Context(), f.feeds.ServerID(), []string{"alice"}) // its own
	c.ExpectQuiet()
	f.MarksMoved(t.Context(), "other", []string{"bob", "alice", "carol"})
	expectRead(t, c.Frame(), 42)
}

func TestFeedLiveCountsUnread(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	m.at = map[string]taskfeed.Cursor{"alice": 42}
	groups := []string{"team"}
	ws, sse := f.dialWith("alice", groups, "unread=true", "types=mail,news"), f.stream(f.token("alice", groups...), "unread=true", "feed=team")
	for name, frame := range map[string]taskfeed.Frame{"socket": ws.Frame(), "stream": sse.Frame()} {
		if u := frame.Unread; frame.Type != taskfeed.TypeFeedLive || frame.Cursor != 100 || u == nil || u.Through != 42 || u.Total != 2 || !u.More || u.Types["mail"] != 2 {
			t.Errorf("%s: frame %+v with %+v, want feed_live with the counts", name, frame, u)
		}
	}
	m.mu.Lock()
	slices.Sort(m.asked)
	if got, want := m.asked, []string{"alice: alice [team] [mail news] up to 100", "alice: team [] [] up to 100"}; !slices.Equal(got, want) {
		t.Errorf("counted %q, want %q", got, want)
	}
	m.mu.Unlock()
	m.set(errors.New("too slow"))
	if frame := f.dial("alice", "after=100", "unread=true").Frame(); frame.Type != taskfeed.TypeFeedLive || frame.Unread != nil {
		t.Errorf("frame %+v, want feed_live without counts", frame)
	}
	admin := f.adminToken()
	for _, query := range []string{"unread=true&user_id=bob", "unread=true&all=true", "unread=true&task_id=t1", "unread=yes"} {
		resp, body := f.getAs(admin, "/v1/events/stream?"+query)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, "unread")
	}
	expectProblem(t, wstest.Refused(t, f.feedURL("alice", "unread=true", "task_id=t1"), wstest.Options{}), 400, taskfeed.CodeBadRequest)
}

func TestUnreadOverREST(t *testing.T) {
	t.Parallel()
	f, m := serveMarks(t)
	token := f.token("alice", "team", "org")
	for query, want := range map[string]string{
		"":                        "alice: alice [team org] [] up to 100",
		"?feed=team":              "alice: team [] [] up to 100",
		"?types=mail,task_queued": "alice: alice [team org] [mail task_queued] up to 100",
	} {
		resp, body := f.getAs(token, "/v1/me/unread"+query)
		if resp.StatusCode != http.StatusOK || body != `{"through":0,"total":2,"more":true,"types":{"mail":2},"cursor":100}`+"\n" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, want the counts", query, resp.StatusCode, body)
		}
		if got := m.countedLast(); got != want {
			t.Errorf("%s: counted %s, want %s", query, got, want)
		}
	}
	resp, body := f.getAs(token, "/v1/me/unread?feed=bob")
	f.expectRefusal(resp, body, 403, taskfeed.CodeForbidden)
	for _, query := range []string{"?types=task_other", "?user_id=bob", "?through=1"} {
		resp, body := f.getAs(token, "/v1/me/unread"+query)
		if resp.StatusCode != 400 || !strings.Contains(body, "bad_request") {
			t.Errorf("%s: %d %s, want 400", query, resp.StatusCode, body)
		}
	}
}

// A server without marks ignores them.
func TestWithoutMarks(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	c := f.dial("alice", "after=0")
	c.ExpectLive(0)
	c.Send(`{"type":"read","through":0}`)
	c.ExpectQuiet()
	expectProblem(t, wstest.Refused(t, f.feedURL("alice", "unread=true"), wstest.Options{}), 400, taskfeed.CodeBadRequest)
	f.MarksMoved(t.Context(), "other", []string{"alice"})
	c.ExpectQuiet()
}

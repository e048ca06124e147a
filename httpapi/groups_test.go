package httpapi

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// dialWith connects with a token that lists feeds.
func (f *fixture) dialWith(userID string, feeds []string, params ...string) *wstest.Client {
	f.t.Helper()
	params = append(params, "token="+f.token(userID, feeds...))
	return wstest.Dial(f.t, f.url+"/ws/"+userID+"?"+strings.Join(params, "&"), wstest.Options{})
}

// logOfGroups is six events of three groups, two users and everybody.
func logOfGroups(f *fixture) {
	f.log.add("team:1", taskfeed.TypeTaskQueued, `{"progress":0}`)
	f.log.add("alice", taskfeed.TypeTaskQueued, `{"progress":0}`)
	f.log.add("team:2", "news", `{"n":3}`)
	f.log.put(taskfeed.Event{Type: "news", Data: []byte(`{"n":4}`)})
	f.log.add("bob", "news", `{"n":5}`)
	f.log.add("té\"am", "news", `{}`)
}

// TestFeedsOfGroups: one connection has the user's own feed, those of the groups that the
// token lists and the broadcasts, in one order, and frames of a group name it.
func TestFeedsOfGroups(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	logOfGroups(f)
	all := map[taskfeed.Cursor]string{1: "team:1", 2: "", 4: "", 6: "té\"am"}
	groups := []string{"team:1", "té\"am"}
	ws, sse := f.dialWith("alice", groups, "after=0"), f.stream(f.token("alice", groups...), "after=0")
	for _, id := range []taskfeed.Cursor{1, 2, 4, 6} {
		for _, frame := range []taskfeed.Frame{ws.ExpectEvent(id), sse.ExpectEvent(id)} {
			if frame.Event.UserID != all[id] {
				t.Errorf("event %d is of feed %q, want %q", id, frame.Event.UserID, all[id])
			}
		}
	}
	ws.ExpectLive(6)
	sse.ExpectLive(6)
	f.log.add("team:2", "news", `{}`)
	live := f.log.add("team:1", taskfeed.TypeTaskProgress, `{"progress":1}`)[0]
	if a, b := ws.ExpectEvent(live), sse.ExpectEvent(live); a.Event.UserID != "team:1" || b.Event.UserID != "team:1" {
		t.Errorf("live: feeds %q and %q, want team:1", a.Event.UserID, b.Event.UserID)
	}
	f.eventually("the connections show their feeds", func() bool {
		list := f.connections()
		return len(list) == 2 && strings.Join(list[0].Feeds, "+") == strings.Join(groups, "+") && strings.Join(list[1].Feeds, "+") == strings.Join(groups, "+")
	})
	if _, body := f.getAs(f.token("alice", groups...), "/v1/me"); !strings.Contains(body, `"feeds":["team:1","té\"am"]`) {
		t.Errorf("/v1/me: %s, want the feeds", body)
	}
}

// A long frame of a group crosses the pieces in which sockets are written.
func TestLongFramesOfGroups(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	c := f.dialWith("alice", []string{"team"}, "after=0")
	c.ExpectLive(0)
	for i := range 40 {
		id := f.log.add("team", "news", fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 16_200+i*7)))[0]
		if frame := c.ExpectEvent(id); frame.Event.UserID != "team" || len(frame.Event.Data) < 16_200+i*7 {
			t.Fatalf("frame of %d bytes of data in feed %q, want all of it", len(frame.Event.Data), frame.Event.UserID)
		}
	}
}

func TestFeedNarrowsToGroups(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	logOfGroups(f)
	groups := []string{"team:1", "team:2", "té\"am"}
	for feeds, want := range map[string][]taskfeed.Cursor{
		"feed=team%3A2":            {3, 4},
		"feed=alice":               {2, 4},
		"feed=team%3A2&feed=alice": {2, 3, 4},
		"feed=" + url.QueryEscape("té\"am") + "&feed=alice": {2, 4, 6},
	} {
		ws, sse := f.dialWith("alice", groups, "after=0", feeds), f.stream(f.token("alice", groups...), "after=0", feeds)
		for _, id := range want {
			if a, b := ws.ExpectEvent(id), sse.ExpectEvent(id); a.Event.UserID != b.Event.UserID || id == 2 && a.Event.UserID != "" || id == 3 && a.Event.UserID != "team:2" {
				t.Errorf("%s: event %d is of feeds %q and %q", feeds, id, a.Event.UserID, b.Event.UserID)
			}
		}
		ws.ExpectLive(6)
		sse.ExpectLive(6)
	}
}

// Nobody gets a feed that the token does not list, whatever the request asks for.
func TestFeedsThatATokenDoesNotList(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{deps: Deps{History: &fakeHistory{}}})
	logOfGroups(f)
	token := f.token("alice", "team:1")
	for _, feed := range []string{"bob", "team:2", "TEAM:1", "team:1 ", "*", "team:"} {
		query := "feed=" + url.QueryEscape(feed)
		c := f.dialWith("alice", []string{"team:1"}, "after=0", query)
		c.ExpectClose(taskfeed.CloseForbidden)
		for _, path := range []string{"/v1/events/stream?", "/v1/me/tasks?", "/v1/me/events?"} {
			resp, body := f.getAs(token, path+query)
			f.expectRefusal(resp, body, 403, taskfeed.CodeForbidden)
		}
	}
	admin := must(auth.Issue(authConfig, "root", auth.RoleAdmin, time.Hour))
	for _, c := range []struct{ token, path, field string }{
		{token, "/v1/me/tasks?feed=", "feed"},
		{token, "/v1/me/tasks?feed=%0A", "feed"},
		{token, "/v1/me/events?" + strings.Repeat("feed=alice&", 66), "feed"},
		{token, "/v1/events/stream?feed=" + strings.Repeat("a", 256), "feed"},
		{admin, "/v1/events/stream?all=true&feed=root", "feed"},
		{admin, "/v1/events/stream?user_id=bob&feed=root", "feed"},
		{admin, "/v1/tasks?feed=root", "feed"},
	} {
		resp, body := f.getAs(c.token, c.path)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadRequest, c.field)
	}
	expectProblem(t, wstest.Refused(t, f.feedURL("alice", "feed="), wstest.Options{}), 400, taskfeed.CodeBadRequest)
}

// TestRenewalChangesFeeds: the feeds of a new token count from then on, and no event comes
// twice or out of order for it.
func TestRenewalChangesFeeds(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	c := f.dialWith("alice", []string{"old"}, "after=0")
	c.ExpectLive(0)
	c.ExpectEvent(f.log.add("old", "news", `{}`)[0])
	passed := func(id taskfeed.Cursor) {
		f.eventually("the connection has passed the event", func() bool { return f.connections()[0].Cursor == id })
	}
	passed(f.log.add("new", "news", `{}`)[0])
	renew := func(c *wstest.Client, feeds ...string) {
		c.Send(`{"type":"auth","token":"` + f.token("alice", feeds...) + `"}`)
		c.ExpectQuiet()
	}
	renew(c, "new", "other")
	f.log.add("old", "news", `{}`)
	last := f.log.add("new", "news", `{}`)[0]
	c.ExpectEvent(last)
	passed(last)
	renew(c)
	f.log.add("new", "news", `{}`)
	c.ExpectEvent(f.log.add("alice", "news", `{}`)[0])

	narrow := f.dialWith("alice", []string{"team"}, "feed=team")
	renew(narrow, "team", "other")
	narrow.ExpectEvent(f.log.add("team", "news", `{}`)[0])
	narrow.Send(`{"type":"auth","token":"` + f.token("alice", "other") + `"}`)
	narrow.ExpectClose(taskfeed.CloseForbidden)
}

func TestRESTShowsGroups(t *testing.T) {
	t.Parallel()
	h := &fakeHistory{}
	f := serve(t, setup{deps: Deps{History: h}})
	token := f.token("alice", "team:1", "team:2")
	f.getAs(token, "/v1/me/tasks")
	f.getAs(token, "/v1/me/tasks?feed=team%3A2")
	f.getAs(token, "/v1/me/events?feed=team%3A1&feed=alice")
	f.getAs(token, "/v1/me/tasks/t1/events")
	if q := h.tasks[0]; q.UserID != "alice" || strings.Join(q.Feeds, "+") != "team:1+team:2" {
		t.Errorf("tasks of %q and %q, want alice's and both groups'", q.UserID, q.Feeds)
	}
	if q := h.tasks[1]; q.UserID != "team:2" || len(q.Feeds) != 0 {
		t.Errorf("tasks of %q and %q, want the group's alone", q.UserID, q.Feeds)
	}
	if q := h.events[0]; q.UserID != "team:1" || strings.Join(q.Feeds, "+") != "alice" || !q.IncludeBroadcast {
		t.Errorf("events of %+v, want the group's, alice's and the broadcasts", q)
	}
	if !strings.Contains(h.timeline[0], `"alice+team:1+team:2"`) {
		t.Errorf("timeline %s, want that of alice and both groups", h.timeline[0])
	}
}

package httpapi

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/lab/ssetest"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// TestWhereClientsComeBack: event-source-polyfill reconnects with ?lastEventId=13
// and was answered 400, after which it never reconnects.
func TestWhereClientsComeBack(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	f.log.add("alice", "hello", `{}`, `{}`, `{}`, `{}`, `{}`)
	for name, tc := range map[string]struct {
		query, header string
		first         taskfeed.Cursor // the first event sent; 0 if none is, because the feed is live at once
	}{
		"nothing":                             {first: 0},
		"event-source-polyfill":               {query: "lastEventId=3", first: 4},
		"the same, with after in its URL":     {query: "after=0&lastEventId=3", first: 4},
		"the same, after a feed_reset":        {query: "after=5&lastEventId=2", first: 3},
		"reconnecting-eventsource":            {query: "lastEventId=2", header: "4", first: 5},
		"the same, with one in the app's URL": {query: "lastEventId=2&lastEventId=4", first: 5},
		"eventsource-polyfill":                {query: "evs_last_event_id=3&evs_preamble=2056", first: 4},
		"a hub's lastEventID":                 {query: "lastEventID=3", first: 4},
		"a hub's Last-Event-ID":               {query: "Last-Event-ID=3", first: 4},
		"snake case":                          {query: "last_event_id=3", first: 4},
		"a header that was fixed at first":    {query: "lastEventId=4", header: "2", first: 5},
		"a browser":                           {query: "after=0", header: "4", first: 5},
		"an empty one":                        {query: "after=2&lastEventId=", first: 3},
		"two empty ones":                      {query: "lastEventId=&last_event_id=", first: 0},
		"a cache buster":                      {query: "after=3&_=1700000000&r=0.25&heartbeat=1", first: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			if tc.header != "" {
				header.Set("Last-Event-ID", tc.header)
			}
			sock := wstest.Dial(t, f.feedURL("alice", tc.query), wstest.Options{Header: header})
			header = header.Clone()
			header.Set("Authorization", "Bearer "+f.token("alice"))
			st := ssetest.Open(t, f.streamURL(tc.query), header)
			if tc.first == 0 {
				sock.ExpectQuiet()
				st.ExpectLive(5)
				return
			}
			for id := tc.first; id <= 5; id++ {
				sock.ExpectEvent(id)
				st.ExpectEvent(id)
			}
			sock.ExpectLive(5)
			st.ExpectLive(5)
		})
	}
}

// TestBadInput99LastEventIDs: a value that is no cursor is refused, with the name of
// its parameter, also when a valid one beside it takes precedence.
func TestBadInput99LastEventIDs(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	alice := f.token("alice")
	for _, query := range []string{"lastEventId=abc", "lastEventId=-1", "lastEventId=1&lastEventId=x", "last_event_id=%00", "Last-Event-ID=1.5",
		"lastEventId=9007199254740992", "after=x&lastEventId=1", "after=1&after=2&lastEventId=1", "lastEventId=undefined", "lastEventId=null", "lastEventId=1%202"} {
		expectProblem(t, wstest.Refused(t, f.feedURL("alice", query), wstest.Options{}), 400, taskfeed.CodeBadCursor)
		resp, body := f.getAs(alice, "/v1/events/stream?"+query)
		f.expectRefusal(resp, body, 400, taskfeed.CodeBadCursor)
	}
	resp, body := f.getAs(alice, "/v1/events/stream?after=x", "Last-Event-ID", "1")
	f.expectRefusal(resp, body, 400, taskfeed.CodeBadCursor)
	for _, query := range []string{"last%20event%20id=1", "lastEventId[]=1", "lastEventId%00=1", "%20lastEventId=1"} {
		expectProblem(t, wstest.Refused(t, f.feedURL("alice", query), wstest.Options{}), 400, taskfeed.CodeBadRequest)
	}
}

// TestStreamsArePutOffByParameter: a library that sends its last id as a parameter
// gives up at 503, as browsers do, and would not reconnect after a restart.
func TestStreamsArePutOffByParameter(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{deps: Deps{Unavailable: func() error { return errors.New("not migrated") }}})
	alice := f.token("alice")
	for query, want := range map[string]int{"lastEventId=3": 200, "after=0&last_event_id=3": 200, "after=3": 503, "lastEventId=": 503} {
		resp, err := http.DefaultClient.Do(f.request(http.MethodGet, "/v1/events/stream?"+query, alice))
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		body := string(must(io.ReadAll(resp.Body)))
		_ = resp.Body.Close()
		if put := strings.Contains(body, `"code":1012`); resp.StatusCode != want || put != (want == 200) {
			t.Errorf("%s: %d %s, want %d", query, resp.StatusCode, body, want)
		}
	}
}

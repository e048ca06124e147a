package feeds

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// FuzzFeedFilter parses parameters that filter a feed: a filter that is accepted
// selects the event that it names.
func FuzzFeedFilter(f *testing.F) {
	f.Fuzz(func(t *testing.T, query string) {
		values, err := request.ParseQuery(query)
		if err != nil {
			return
		}
		for _, all := range values {
			for _, value := range all {
				if lower := strings.ToLower(value); strings.Contains(lower, "?after=") || strings.Contains(lower, "&after=") {
					t.Errorf("%q: a cursor is passed over in %q", query, value)
				}
			}
		}
		p, err := request.ReadParams(&http.Request{URL: &url.URL{RawQuery: query}})
		if err != nil {
			t.Fatalf("%q: %v, want it to be read again", query, err)
		}
		var filter taskfeed.Filter
		narrow(p, &filter)
		if err := p.IgnoreUnread(); err != nil {
			if taskfeed.CodeOf(err) != taskfeed.CodeBadRequest || strings.Contains(err.Error(), "C4N4RY") {
				t.Errorf("%q: refused by %v, want bad_request without what was sent", query, err)
			}
			return
		}
		filter.UserID = "alice"
		for _, typ := range append([]taskfeed.Type{}, filter.Types...) {
			if e := (taskfeed.Event{UserID: "alice", TaskID: filter.TaskID, Type: typ}); !filter.Match(&e) || !typ.Valid() {
				t.Errorf("%q: %+v does not select %+v", query, filter, e)
			}
		}
		for _, e := range []taskfeed.Event{{UserID: "bob", TaskID: filter.TaskID, Type: "a"}, {UserID: "alice", TaskID: filter.TaskID + "x", Type: "a"}} {
			if filter.Match(&e) && (e.UserID == "bob" || filter.TaskID != "") {
				t.Errorf("%q: %+v selects %+v", query, filter, e)
			}
		}
	})
}

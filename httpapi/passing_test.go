package httpapi

import (
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/history"
)

// TestEmptyPage: a page without rows need not be the last. Its list is empty, not
// null, and it links to the page that the store names as the next.
func TestEmptyPage(t *testing.T) {
	t.Parallel()
	f, _ := serveREST(t, &fakeHistory{log: history.EventPage{Items: []taskfeed.Event{}, Next: "further"}}, Config{})
	for path, token := range map[string]string{"/v1/events?type=none&limit=7": f.adminToken(), "/v1/me/events?type=none&limit=7": f.token("alice")} {
		resp, body := f.getAs(token, path)
		if want := `{"items":[],"next":"further"}` + "\n"; resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %s, want 200 %s", path, resp.StatusCode, body, want)
			continue
		}
		if got := linkOf(t, resp).Query(); got.Get("after") != "further" || got.Get("type") != "none" || got.Get("limit") != "7" {
			t.Errorf("%s: next page asks for %v, want the same after=further", path, got)
		}
	}
}

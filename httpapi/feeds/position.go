package feeds

import (
	"net/http"
	"strings"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

const headerLastEventID = "Last-Event-ID"

var errTwoCursors = &taskfeed.Error{Code: taskfeed.CodeBadCursor,
	Message: "the cursor stands more than once: send one parameter after, or one Last-Event-ID"}

// position returns the cursor to resume from, nil when the request has none. The last id
// that the client has seen takes precedence over the parameter after, which stays in
// its URL from the first connection on. That holds even where it is lower, because a
// feed_reset lowers it.
func position(r *http.Request) (*taskfeed.Cursor, error) {
	start, err := startOf(r)
	if err != nil {
		return nil, err
	}
	seen, err := lastSeen(r)
	if err != nil || seen != nil {
		return seen, err
	}
	return start, nil
}

// startOf returns the parameter after, nil when there is none.
func startOf(r *http.Request) (*taskfeed.Cursor, error) {
	values, ok := request.Query(r)["after"]
	if !ok {
		return nil, nil
	}
	if len(values) > 1 {
		return nil, errTwoCursors
	}
	after, err := taskfeed.ParseCursor(values[0])
	return &after, err
}

// lastSeen returns the last id that an SSE client has seen, nil when the request has
// none. Browsers send it as a header; libraries that cannot send the header across
// origins send a parameter. Some add theirs to one that the app's URL already has, so
// the greatest counts. An empty one is ignored.
func lastSeen(r *http.Request) (latest *taskfeed.Cursor, err error) {
	said := r.Header.Values(headerLastEventID)
	if len(said) > 1 {
		return nil, errTwoCursors
	}
	for name, values := range request.Query(r) {
		if namesLastEventID(name) {
			said = append(said, values...)
		}
	}
	for _, value := range said {
		if value == "" {
			continue
		}
		seen, err := taskfeed.ParseCursor(value)
		if err != nil {
			return nil, err
		}
		if latest == nil || seen > *latest {
			latest = &seen
		}
	}
	return latest, nil
}

// namesLastEventID recognizes the parameter in the spellings of libraries: lastEventId
// (event-source-polyfill, reconnecting-eventsource), lastEventID and
// Last-Event-ID (Mercure), evs_last_event_id (eventsource-polyfill).
func namesLastEventID(name string) bool {
	plain := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	return strings.TrimPrefix(plain, "evs") == "lasteventid"
}

// knowPosition tells the parameters that position reads them.
func knowPosition(p *request.Params) {
	p.Know("after", "lastEventId")
	for name := range p.Names() {
		if namesLastEventID(name) {
			p.Know(name)
		}
	}
}

// isResuming reports whether the client has had a stream before.
func isResuming(r *http.Request) bool {
	seen, err := lastSeen(r)
	return err == nil && seen != nil
}

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

// position returns the cursor to go on from, nil when the request has none. What
// a client has seen since it connected first counts before the after that its URL
// has had from the beginning, even where it is lower: a feed_reset lowers it. Of
// several such, the latest counts.
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

// lastSeen returns the last id that a client of server-sent events says to have
// seen, nil when it says none: browsers send a header, and libraries that may not
// send that one across origins a parameter. Some add theirs to one that the app's
// URL has already, so the latest counts. An empty one is none.
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

// namesLastEventID knows the parameter as libraries spell it: lastEventId
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

// comesBack reports whether the client says to have had a stream before.
func comesBack(r *http.Request) bool {
	seen, err := lastSeen(r)
	return err == nil && seen != nil
}

package check

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// checkAnswers checks the answers of the REST API: their status, that they show only
// the user's own data, and that listed events match the log. checkCanaries searches
// them for canaries.
func (s *subject) checkAnswers() {
	for _, n := range s.sessions {
		for _, a := range n.answers {
			s.figures["answers"]++
			if !slices.Contains(s.allowedStatuses(a), a.Status) {
				s.wrong(n.answered("P13", a, fmt.Sprintf("was answered with status %d", a.Status)))
			}
			if own := strings.HasPrefix(a.Path, "/v1/me/events"); own && a.Status == http.StatusOK {
				s.checkListed(n, a)
			} else if a.Status == http.StatusOK && !owned(a.Path) {
				s.wrong(n.answered("P6", a, "was answered, and is not the user's"))
			}
		}
	}
}

func (n *session) answered(property string, a history.Client, what string) Violation {
	return Violation{Property: property, Client: n.client, User: n.user, T: a.T, What: fmt.Sprintf("GET %s %s", a.Path, what)}
}

// owned reports whether a path shows the user's own data. Clients request single tasks
// only of other users.
func owned(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return path == "/v1/me" || path == "/v1/me/tasks" || path == "/v1/me/events"
}

// allowedStatuses returns the statuses with which a request may be answered.
func (s *subject) allowedStatuses(a history.Client) []int {
	allowed := []int{http.StatusForbidden}
	if strings.HasPrefix(a.Path, "/v1/me") {
		allowed = []int{http.StatusNotFound}
	}
	if owned(a.Path) {
		allowed = []int{http.StatusOK}
	}
	if s.during(a.T, a.T, "", slices.Concat(killing, ending, database)) {
		allowed = append(allowed, http.StatusServiceUnavailable)
	}
	return allowed
}

// checkListed checks a list of events against the log.
func (s *subject) checkListed(n *session, a history.Client) {
	var list struct {
		Items []struct {
			ID      int64           `json:"id"`
			Type    string          `json:"type"`
			User    string          `json:"user_id"`
			Task    string          `json:"task_id"`
			Version int64           `json:"version"`
			Data    json.RawMessage `json:"data"`
		} `json:"items"`
	}
	if json.Unmarshal([]byte(a.Text), &list) != nil {
		s.wrong(n.answered("P7", a, "was answered with what is no list"))
		return
	}
	for _, e := range list.Items {
		listed := newRow(e.ID, e.User, e.Task, e.Type, e.Version, string(e.Data))
		switch i := slices.IndexFunc(s.byID[e.ID], listed.same); {
		case e.User != "" && !s.users[n.user].Sees(e.User):
			s.wrong(n.answered("P6", a, fmt.Sprintf("has event %d, which is for %s", e.ID, e.User)))
		case len(s.byID[e.ID]) == 0:
			s.wrong(n.answered("P1", a, fmt.Sprintf("has event %d, which is in no log", e.ID)))
		case i < 0:
			s.wrong(n.answered("P7", a, fmt.Sprintf("has event %d with other content than the log has", e.ID)))
		}
	}
}

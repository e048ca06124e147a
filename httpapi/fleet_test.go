package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/taskfeed/taskfeed/httpapi/feeds"
	"github.com/taskfeed/taskfeed/hub"
)

// fleetOf are the other servers in a test.
type fleetOf struct {
	mu      sync.Mutex
	servers []*fixture
	away    map[string]bool // they answer no question to them alone
	extra   []FleetAnswer
}

func (o *fleetOf) Ask(_ context.Context, question []byte) []FleetAnswer {
	o.mu.Lock()
	defer o.mu.Unlock()
	answers := slices.Clone(o.extra)
	for _, s := range o.servers {
		if a, err := s.Answer(question); err == nil {
			answers = append(answers, a)
		}
	}
	return answers
}

func (o *fleetOf) AskOne(_ context.Context, server string, question []byte) (FleetAnswer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.servers {
		if s.ID() == server && !o.away[server] {
			return s.Answer(question)
		}
	}
	return FleetAnswer{}, errors.New("nobody answers")
}

// An admin sees the connections of all servers, page by page: each once, with the name of
// its server.
func TestConnectionsOfTheFleet(t *testing.T) {
	t.Parallel()
	fleet := &fleetOf{away: make(map[string]bool)}
	var want []string
	for i, connections := range []int{3, 0, 5, 2} {
		with := setup{deps: Deps{Name: fmt.Sprint("gateway-", i), Describe: func(s *ServerInfo) { s.Role = "gateway" }}, limits: hub.Config{MaxPerUser: 20}}
		if i == 0 {
			with.deps = Deps{Name: "core", Fleet: fleet}
		}
		f := serve(t, with)
		fleet.mu.Lock()
		fleet.servers = append(fleet.servers, f) // the core answers itself, too
		fleet.mu.Unlock()
		for n := range connections {
			f.dial([]string{"alice", "bob"}[n%2]).ExpectQuiet()
			want = append(want, fmt.Sprintf("%s of %s", f.connectionID(n+1), with.deps.Name))
		}
	}
	core := fleet.servers[0]
	fleet.mu.Lock()
	fleet.extra = []FleetAnswer{{Server: "garbage!", Says: json.RawMessage(`{"server":"garbage!","matching":9}`)}, {Server: "aaaaaaaa", Says: json.RawMessage(`x`)}}
	fleet.mu.Unlock()
	type list struct {
		Server  string             `json:"server"`
		Servers []ServerInfo       `json:"servers"`
		Items   []feeds.Connection `json:"items"`
		Next    string             `json:"next"`
	}
	get := func(query string) (l list) {
		t.Helper()
		resp, body := core.do(core.request(http.MethodGet, "/v1/connections?"+query, core.adminToken()))
		if err := json.Unmarshal([]byte(body), &l); resp.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", query, resp.StatusCode, body)
		}
		return l
	}
	all := func(query string, limit int) (got []string) {
		t.Helper()
		for l := (list{Next: "first"}); l.Next != ""; {
			after := ""
			if l.Next != "first" {
				after = "&after=" + l.Next
			}
			l = get(fmt.Sprintf("limit=%d%s%s", limit, query, after))
			if len(l.Items) > limit || len(l.Items) == 0 {
				t.Fatalf("a page of %d, want 1 to %d", len(l.Items), limit)
			}
			for _, c := range l.Items {
				got = append(got, c.ID+" of "+c.ServerName)
			}
		}
		return got
	}
	slices.Sort(want)
	for limit := 1; limit <= 11; limit++ {
		got := all("", limit)
		if first := got[0]; first != core.connectionID(1)+" of core" {
			t.Errorf("pages of %d: %s comes first, want this server's", limit, first)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %q, want %q", limit, got, want)
		}
	}
	if got := all("&user_id=bob", 2); len(got) != 4 {
		t.Errorf("of bob: %q, want four", got)
	}
	l := get("limit=1")
	if len(l.Servers) != 4 || l.Server != core.ID() || l.Servers[0].Name != "core" || l.Servers[0].Role != "core" || l.Servers[0].Connections != 3 {
		t.Errorf("servers %+v, want four, the core first", l.Servers)
	}
	for _, s := range l.Servers[1:] {
		if s.Role != "gateway" || s.Server == "" || s.Name == "" {
			t.Errorf("%+v, want a gateway", s)
		}
	}
	fleet.mu.Lock()
	fleet.away[fleet.servers[2].ID()] = true
	fleet.mu.Unlock()
	if l := get("limit=100"); len(l.Servers) != 3 || len(l.Items) != 5 || l.Next != "" {
		t.Errorf("one has gone: %d servers and %d connections, want 3 and 5", len(l.Servers), len(l.Items))
	}
}

package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/feeds"
)

// Fleet asks the other servers of the deployment.
type Fleet interface {
	// Ask sends a question to all of them and returns who answered, within about a second.
	// Questions and answers are those of Server.Answer.
	Ask(ctx context.Context, question []byte) []FleetAnswer
	// AskOne sends a question to one of them.
	AskOne(ctx context.Context, server string, question []byte) (FleetAnswer, error)
}

// FleetAnswer is what a server answers to others.
type FleetAnswer struct {
	Server string          // the beginning of its connections' ids
	Says   json.RawMessage // about itself
	Items  []json.RawMessage
	More   bool // there are more items
}

// ServerInfo is what a server says of itself.
type ServerInfo struct {
	Server      string          `json:"server"` // the beginning of its connections' ids
	Name        string          `json:"name"`   // for people
	Role        string          `json:"role"`   // core or gateway
	Version     string          `json:"version,omitempty"`
	Leads       bool            `json:"leads,omitempty"` // it is the sequencer
	Head        taskfeed.Cursor `json:"head"`            // the last event that it knows
	LagSeconds  *float64        `json:"lag_seconds,omitempty"`
	Connections int             `json:"connections"`
	Users       int             `json:"users"`
}

// fleetQuestion asks for connections of one server.
type fleetQuestion struct {
	UserID string `json:"user_id,omitempty"`
	Ended  bool   `json:"ended,omitempty"`
	After  string `json:"after,omitempty"` // an id of that server
	Limit  int    `json:"limit,omitempty"` // 0 asks only how many there are
}

// fleetSays is the first part of an answer.
type fleetSays struct {
	ServerInfo
	Matching int `json:"matching"` // connections that are asked for
}

// self describes this server.
func (s *Server) self() ServerInfo {
	stats := s.deps.Hub.Stats()
	info := ServerInfo{Server: s.feeds.ServerID(), Name: s.deps.Name, Role: "core", Version: s.deps.Version,
		Head: stats.Head, Connections: stats.Subscribers, Users: stats.Users}
	if s.deps.Describe != nil {
		s.deps.Describe(&info)
	}
	return info
}

// ID is what the ids of this server's connections begin with.
func (s *Server) ID() string { return s.feeds.ServerID() }

// Answer answers a question of another server.
func (s *Server) Answer(question []byte) (FleetAnswer, error) {
	var q fleetQuestion
	if err := json.Unmarshal(question, &q); err != nil {
		return FleetAnswer{}, err
	}
	says := fleetSays{s.self(), s.feeds.Count(q.UserID, q.Ended)}
	a := FleetAnswer{Server: says.Server}
	if q.Limit > 0 {
		var page []feeds.Connection
		page, a.More = s.feeds.Connections(q.UserID, q.Ended, q.After, min(q.Limit, maxConnections))
		for _, c := range page {
			item, err := json.Marshal(c)
			if err != nil {
				return a, err
			}
			a.Items = append(a.Items, item)
		}
	}
	var err error
	a.Says, err = json.Marshal(says)
	return a, err
}

// others returns what the other servers say of themselves, by their ids, and how many
// connections each has that are asked for.
func (s *Server) others(ctx context.Context, q fleetQuestion) []fleetSays {
	if s.deps.Fleet == nil {
		return nil
	}
	q.Limit = 0
	question, err := json.Marshal(q)
	if err != nil {
		return nil
	}
	var all []fleetSays
	for _, a := range s.deps.Fleet.Ask(ctx, question) {
		var says fleetSays
		if a.Server != s.ID() && json.Unmarshal(a.Says, &says) == nil && says.Server == a.Server && feeds.IsConnectionID(says.Server+"-1") {
			all = append(all, says)
		}
	}
	slices.SortFunc(all, func(a, b fleetSays) int { return cmp.Compare(a.Server, b.Server) })
	return all
}

// connectionsOf returns a page of another server's connections.
func (s *Server) connectionsOf(ctx context.Context, server ServerInfo, q fleetQuestion) (page []feeds.Connection, more bool, err error) {
	question, err := json.Marshal(q)
	if err != nil {
		return nil, false, err
	}
	a, err := s.deps.Fleet.AskOne(ctx, server.Server, question)
	if err != nil {
		return nil, false, err
	}
	for _, item := range a.Items[:min(len(a.Items), q.Limit)] {
		var c feeds.Connection
		if json.Unmarshal(item, &c) == nil && strings.HasPrefix(c.ID, server.Server+"-") && feeds.IsConnectionID(c.ID) {
			c.ServerName = server.Name
			page = append(page, c)
		}
	}
	return page, a.More && len(page) > 0, nil
}

// connections returns a page of the connections of all servers, this one's first and the
// others' by the ids of the servers, and those servers that have answered.
func (s *Server) connections(ctx context.Context, q fleetQuestion) (page []feeds.Connection, more bool, servers []ServerInfo) {
	self, limit := s.self(), q.Limit
	servers = []ServerInfo{self}
	page = []feeds.Connection{}
	if q.After == "" || s.feeds.IsOwn(q.After) {
		page, more = s.feeds.Connections(q.UserID, q.Ended, q.After, limit)
		q.After = ""
		for i := range page {
			page[i].ServerName = self.Name
		}
	}
	begin, _, _ := strings.Cut(q.After, "-")
	for _, other := range s.others(ctx, q) {
		servers = append(servers, other.ServerInfo)
		if more || other.Server < begin || other.Matching == 0 {
			continue
		}
		if more = len(page) == limit; more {
			continue
		}
		ask := q
		ask.Limit = limit - len(page)
		if other.Server != begin {
			ask.After = ""
		}
		part, left, err := s.connectionsOf(ctx, other.ServerInfo, ask)
		if err != nil {
			servers = servers[:len(servers)-1] // it has gone meanwhile
		}
		page, more = append(page, part...), left
	}
	return page, more, servers
}

package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// fleetList is what /v1/connections answers.
type fleetList struct {
	Servers []struct {
		Name, Role  string
		Connections int
		LagSeconds  *float64 `json:"lag_seconds"`
	}
	Items []struct {
		ID, UserID, ServerName string
	}
	Next string
}

// A core lists the connections of all cores and gateways, with the permissions of
// docs/SCALING.md. A gateway that has gone is missing, and so is one of another deployment.
func TestFleetOverNATS(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, permissions(t))
	db := pgtest.New(t)
	first, second := startServing(t, db, asEngine(nats, "core")...), startServing(t, db, asEngine(nats, "core")...)
	one, two := startGateway(t, asEngine(nats, "gateway")...), startGateway(t, asEngine(nats, "gateway")...)
	dialPlain(t, first, "alice")
	dialPlain(t, second, "bob")
	dialPlain(t, one, "carol")
	dialPlain(t, two, "alice")
	admin := apiOf(t, first, "root", auth.RoleAdmin)
	var list fleetList
	eventually(t, "all servers answer", 30*time.Second, func() bool {
		list = fleetList{}
		admin.get("/v1/connections", &list)
		return len(list.Servers) == 4 && len(list.Items) == 4
	})
	roles := make(map[string]int)
	for _, s := range list.Servers {
		if s.Connections != 1 || s.Name == "" || (s.LagSeconds != nil) != (s.Role == "gateway") {
			t.Errorf("%+v, want one connection, a name, and the lag of gateways alone", s)
		}
		roles[s.Role]++
	}
	if roles["core"] != 2 || roles["gateway"] != 2 {
		t.Errorf("roles %v, want two cores and two gateways", roles)
	}
	two.Kill()
	eventually(t, "the others answer", 30*time.Second, func() bool {
		list = fleetList{}
		admin.get("/v1/connections?limit=2", &list)
		return len(list.Servers) == 3 && len(list.Items) == 2 && list.Next != ""
	})
	status, _ := get(t, one.base+"/v1/connections")
	if status != http.StatusUnauthorized {
		t.Errorf("a gateway without a token: %d, want 401", status)
	}
	list = fleetList{}
	apiOf(t, one, "root", auth.RoleAdmin).get("/v1/connections", &list)
	if len(list.Servers) != 1 || len(list.Items) != 1 {
		t.Errorf("a gateway lists %d servers and %d connections, want its own", len(list.Servers), len(list.Items))
	}
	nats.Kill()
	list = fleetList{}
	admin.get("/v1/connections", &list)
	if len(list.Servers) != 1 || len(list.Items) != 1 {
		t.Errorf("without the engine: %d servers and %d connections, want those of the server that is asked", len(list.Servers), len(list.Items))
	}
	for _, s := range []*serving{first, second, one} {
		if got := s.metric(t, `taskfeed_engine_errors_total{kind="other"}`); got != "0" {
			t.Errorf("faults of the engine: %s, want none: permissions are as documented", got)
		}
	}
}

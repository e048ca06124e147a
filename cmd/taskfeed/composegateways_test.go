package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskfeed/taskfeed/lab/doctest"
	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

const composeGateways = "deploy/compose/gateways.yaml"

func readGateways(t *testing.T) composeFile {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(interpolate(t, doctest.Read(t, composeGateways), map[string]string{"TASKFEED_JWT_SECRET": testSecret})))
	decoder.KnownFields(true)
	var file composeFile
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("parse %s: %v", composeGateways, err)
	}
	return file
}

// The file fits that of one server, and its settings are those that the commands have.
func TestComposeGateways(t *testing.T) {
	t.Parallel()
	file := readGateways(t)
	gateway, core, nats := file.Services["gateway"], file.Services["taskfeed"], file.Services["nats"]
	var cfg config
	ss := newSettings(cfg.gatewaySettings())
	for name := range gateway.Environment {
		if !slices.ContainsFunc(ss.list, func(s *setting) bool { return s.env == name }) {
			t.Errorf("the gateway sets %s: got a variable that gateways do not have", name)
		}
	}
	if err := ss.read(func(name string) string { return gateway.Environment[name] }); err != nil {
		t.Errorf("settings of the gateway: got %v, want none refused", err)
	}
	if err := cfg.finishGateway(); err != nil {
		t.Errorf("configuration of the gateway: got %v, want none refused", err)
	}
	if got, least := gateway.StopGracePeriod, cfg.http.Drain+cfg.http.DrainDelay+6*time.Second; got < least {
		t.Errorf("stop_grace_period: got %v, want at least %v, for the drain and what follows it", got, least)
	}
	var coreConfig config
	if err := newSettings(coreConfig.engineSettings()).read(func(name string) string { return core.Environment[name] }); err != nil {
		t.Errorf("settings of the core: got %v, want none refused", err)
	}
	for user, password := range map[string]string{"core": core.Environment["TASKFEED_ENGINE_PASSWORD"], "gateway": gateway.Environment["TASKFEED_ENGINE_PASSWORD"]} {
		if want := nats.Environment[strings.ToUpper(user)+"_PASSWORD"]; password == "" || password != want {
			t.Errorf("password of %s: got %q, want that of NATS, %q", user, password, want)
		}
	}
	binary := dockerfile(t)["ENTRYPOINT"][0]
	wantCommand(t, "command", append([]string{binary}, gateway.Command...), binary)
	wantCommand(t, "healthcheck", gateway.Healthcheck.Test[1:], binary)
	if want := []string{"127.0.0.1:" + gateway.Environment["PORT"] + ":" + gateway.Environment["PORT"]}; !slices.Equal(gateway.Ports, want) {
		t.Errorf("ports: got %q, want %q: a server without TLS stays on this machine", gateway.Ports, want)
	}
	if want := []string{"./deploy/compose/nats.conf:/etc/nats/nats.conf:ro"}; !slices.Equal(nats.Volumes, want) || nats.Command[1] != "/etc/nats/nats.conf" {
		t.Errorf("NATS: got the volumes %q and the command %q, want its configuration", nats.Volumes, nats.Command)
	}
}

// NATS itself takes the configuration, and the servers work with it.
func TestComposeNATS(t *testing.T) {
	t.Parallel()
	conf := strings.NewReplacer("$CORE_PASSWORD", "core-password", "$GATEWAY_PASSWORD", "gateway-password").Replace(doctest.Read(t, "deploy/compose/nats.conf"))
	if _, users, _ := strings.Cut(conf, "authorization {"); "authorization {"+users != permissions(t) {
		t.Errorf("nats.conf: got\n%swant the permissions of docs/SCALING.md", conf)
	}
	nats := natstest.Start(t, conf)
	startServing(t, pgtest.New(t), asEngine(nats, "core")...)
	startGateway(t, asEngine(nats, "gateway")...)
}

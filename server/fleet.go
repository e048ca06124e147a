package server

import (
	"cmp"
	"context"
	"net"
	"os"

	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/relay"
)

// nameOf returns what people call a server: its host and port.
func nameOf(cfg httpapi.Config) string {
	host, _ := os.Hostname()
	host = cmp.Or(host, "server")
	address := cfg.Addr
	if cfg.Listener != nil {
		address = cfg.Listener.Addr().String()
	}
	if _, port, err := net.SplitHostPort(address); err == nil && port != "" {
		return net.JoinHostPort(host, port)
	}
	return host
}

// attendant answers other servers about the connections of one.
func attendant(http *httpapi.Server, log func() ([16]byte, bool)) relay.Attendant {
	return relay.Attendant{Server: http.ID(), Log: log, Answer: func(question []byte) (relay.Reply, error) {
		a, err := http.Answer(question)
		return relay.Reply(a), err
	}}
}

// attend asks and answers other servers once the name of the log is known, until ctx is
// done.
func (c *core) attend(ctx context.Context) error {
	state, ok := ask(ctx, c.store.LogState)
	if !ok {
		return nil
	}
	c.roster.Store(relay.NewRoster(c.transport, c.cfg.Relay.Prefix, state.ID))
	return relay.Attend(ctx, c.transport, c.cfg.Relay.Prefix, attendant(c.http, func() ([16]byte, bool) { return state.ID, true }))
}

// Ask implements httpapi.Fleet.
func (c *core) Ask(ctx context.Context, question []byte) (answers []httpapi.FleetAnswer) {
	roster := c.roster.Load()
	if roster == nil {
		return nil
	}
	for _, r := range roster.Ask(ctx, question) {
		answers = append(answers, httpapi.FleetAnswer(r))
	}
	return answers
}

// AskOne implements httpapi.Fleet.
func (c *core) AskOne(ctx context.Context, server string, question []byte) (httpapi.FleetAnswer, error) {
	roster := c.roster.Load()
	if roster == nil {
		return httpapi.FleetAnswer{}, errNoEngine
	}
	r, err := roster.AskOne(ctx, server, question)
	return httpapi.FleetAnswer(r), err
}

// describe completes what a gateway says of itself.
func (g *Gateway) describe(info *httpapi.ServerInfo) {
	info.Role = "gateway"
	if link := g.link.Load(); link != nil {
		info.LagSeconds = new(link.receiver.Stats().Lag.Seconds())
	}
}

package natsrelay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskfeed/taskfeed/relay"
)

// InspectConfig says what to inspect.
type InspectConfig struct {
	// Engine says how the server connects.
	Engine Config
	// Prefix begins the subjects. Default "taskfeed".
	Prefix string
	// Gateway has the engine inspected as a gateway needs it, not as a core does.
	Gateway bool
	// Own is the log of the core's database, nil when it is not known.
	Own *relay.Lineage
	// Listen is how long to listen for cores. Default 3 s.
	Listen time.Duration
}

// Finding is something that was found.
type Finding struct {
	// Problem is false for a note that needs no action.
	Problem bool
	// Says what was found, and what to do about a problem. It may have names that others
	// have chosen.
	Says string
}

// Inspect tries what a server does on the engine, and what it must not be able to do. It
// sends only questions, and probes on which nobody acts.
func Inspect(ctx context.Context, cfg InspectConfig) []Finding {
	cfg.Listen = cmp.Or(cfg.Listen, 3*time.Second)
	cfg.Engine.Logger = slog.New(slog.DiscardHandler)
	cfg.Engine.Name = "taskfeed doctor"
	i := &inspection{cfg: cfg, log: relay.LogSubject(cfg.Prefix), ask: relay.AskSubject(cfg.Prefix), role: "a core"}
	if cfg.Gateway {
		i.role = "a gateway"
	}
	i.connect()
	if i.conn == nil {
		return i.found
	}
	defer i.conn.Close()
	if err := relay.CheckPayload(int(i.conn.MaxPayload())); err != nil {
		i.problem("%v", err)
	}
	i.rights(ctx)
	if i.hears {
		i.listen(ctx)
	}
	if cfg.Gateway {
		i.question(ctx)
	}
	if i.lost != nil {
		i.problem("the connection to the engine was lost meanwhile, so not everything was tried: %s", i.cfg.Engine.explain(i.lost))
	}
	return i.found
}

type inspection struct {
	cfg      InspectConfig
	log, ask string // subjects
	role     string
	found    []Finding
	conn     *nats.Conn // to the first server that accepts
	hears    bool       // it may hear the log
	lost     error      // why the connection broke
}

func (i *inspection) problem(format string, args ...any) {
	i.found = append(i.found, Finding{true, fmt.Sprintf(format, args...)})
}

func (i *inspection) note(format string, args ...any) {
	i.found = append(i.found, Finding{false, fmt.Sprintf(format, args...)})
}

// connect tries each of the servers, and keeps the connection to the first.
func (i *inspection) connect() {
	for address := range strings.SplitSeq(i.cfg.Engine.URLs, ",") {
		address = strings.TrimSpace(address)
		options := append(newTransport(i.cfg.Engine).options(""), nats.NoReconnect())
		conn, err := nats.Connect(address, options...)
		if err != nil {
			i.problem("engine %s: %s", hostOf(address), i.cfg.Engine.explain(err))
			continue
		}
		i.describe(address, conn)
		if i.conn == nil {
			i.conn = conn
		} else {
			conn.Close()
		}
	}
}

// hostOf returns the host and port of a URL, which may also have a password.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Host
	}
	return "" // Check refuses such a URL
}

// slow is a round trip that users notice.
const slow = 50 * time.Millisecond

func (i *inspection) describe(address string, conn *nats.Conn) {
	took := time.Duration(-1)
	for range 3 { // the first may be slow for other reasons
		if rtt, err := conn.RTT(); err == nil && (took < 0 || rtt < took) {
			took = rtt
		}
	}
	if took < 0 {
		i.problem("engine %s: it does not answer in time", hostOf(address))
		return
	}
	line := fmt.Sprintf("engine %s: NATS %s, round trip %v", hostOf(address), conn.ConnectedServerVersion(), took.Round(10*time.Microsecond))
	if took > slow {
		line += ": that is far away, and every event comes later by it; name a nearer server first"
	}
	i.note("%s", line)
	if _, err := conn.TLSConnectionState(); err != nil && !isLocal(address) {
		i.note("engine %s: the connection is not encrypted: passwords and the events of all users can be read on the way; unless that network is yours, use tls://", hostOf(address))
	}
}

func isLocal(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// rights tries what the role needs, and what it should not have.
func (i *inspection) rights(ctx context.Context) {
	i.hears = i.needs(ctx, subscribe, i.log)
	i.needs(ctx, subscribe, nats.NewInbox())
	i.needs(ctx, subscribe, relay.GatewaysSubject(i.cfg.Prefix))
	if i.cfg.Gateway {
		i.mustNot(ctx, publish, i.log, "forge the events of all users")
		i.mustNot(ctx, subscribe, i.ask, "answer in place of cores")
		i.mustNot(ctx, publish, relay.GatewaysSubject(i.cfg.Prefix), "ask who is connected")
		i.mustNot(ctx, publish, nats.NewInbox(), "answer in place of cores")
	} else {
		speaks := i.needs(ctx, publish, i.log)
		i.needs(ctx, subscribe, i.ask)
		i.needs(ctx, publish, relay.GatewaysSubject(i.cfg.Prefix))
		if speaks && i.hears {
			i.responses(ctx)
		}
	}
	if i.may(ctx, subscribe, ">") {
		i.note("the engine's user may subscribe to everything, so it sees what other programs send over this NATS: %s needs only what docs/SCALING.md lists", i.role)
	}
}

const (
	publish   = "publish on"
	subscribe = "subscribe to"
)

// may tries something. The engine refuses it before it answers the flush.
func (i *inspection) may(ctx context.Context, verb, subject string) bool {
	return i.allows(ctx, func() error {
		if verb == publish {
			return i.conn.Publish(subject, relay.Probe())
		}
		sub, err := i.conn.SubscribeSync(subject)
		if err == nil {
			err = sub.Unsubscribe()
		}
		return err
	})
}

func (i *inspection) allows(ctx context.Context, try func() error) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	before := i.conn.LastError()
	err := try()
	if err == nil {
		err = i.conn.FlushWithContext(ctx)
	}
	if err != nil {
		i.lost = err
	}
	return err == nil && !i.refused(before)
}

// refused reports whether the engine has refused something since before was the last
// error.
func (i *inspection) refused(before error) bool {
	err := i.conn.LastError()
	return err != before && errors.Is(err, nats.ErrPermissionViolation) //nolint:errorlint // each refusal is an error of its own
}

func (i *inspection) needs(ctx context.Context, verb, subject string) bool {
	if i.may(ctx, verb, subject) {
		return true
	}
	if i.lost == nil {
		i.problem("the engine's user may not %s %s, and %s has to: docs/SCALING.md lists the permissions", verb, anyInbox(subject), i.role)
	}
	return false
}

func (i *inspection) mustNot(ctx context.Context, verb, subject, harm string) {
	if i.may(ctx, verb, subject) {
		i.problem("the engine's user may %s %s, so whoever takes over a gateway could %s: give gateways a user of their own with the permissions that docs/SCALING.md lists", verb, anyInbox(subject), harm)
	}
}

// anyInbox returns the subject as permissions name it.
func anyInbox(subject string) string {
	if strings.HasPrefix(subject, nats.InboxPrefix) {
		return nats.InboxPrefix + ">"
	}
	return subject
}

// responses tries whether a core may answer what it was asked: a message with an inbox
// comes from itself.
func (i *inspection) responses(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	sub, err := i.conn.SubscribeSync(i.log)
	if err != nil {
		i.lost = err
		return
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed
	inbox := nats.NewInbox()
	if i.lost = i.conn.PublishRequest(i.log, inbox, relay.Probe()); i.lost != nil {
		return
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			i.lost = err
			return
		}
		if m.Reply != inbox {
			continue // the log goes on meanwhile
		}
		if !i.allows(ctx, func() error { return m.Respond(nil) }) && i.lost == nil {
			i.problem("the engine's user may not answer questions, and %s has to: set allow_responses, as docs/SCALING.md shows", i.role)
		}
		return
	}
}

// listen hears for a while who publishes.
func (i *inspection) listen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Listen)
	defer cancel()
	sub, err := i.conn.SubscribeSync(i.log)
	if err != nil {
		i.lost = err
		return
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed
	heard := newAudience()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			break
		}
		heard.add(m.Data)
	}
	heard.report(i)
}

// question asks a core, as gateways do.
func (i *inspection) question(ctx context.Context) {
	before, began := i.conn.LastError(), time.Now()
	transport := newTransport(i.cfg.Engine)
	transport.live, transport.asks = i.conn, i.conn
	client := relay.NewClient(transport, relay.ClientConfig{Prefix: i.cfg.Prefix, Timeout: i.cfg.Listen})
	head, err := client.Head(ctx)
	switch {
	case i.refused(before):
		i.problem("the engine's user may not %s %s, and %s has to: docs/SCALING.md lists the permissions", publish, i.ask, i.role)
	case errors.Is(err, nats.ErrNoResponders):
		i.problem("no core answers on %s: start cores (taskfeed serve) with the same engine and the prefix of this gateway, and let them subscribe to it", i.ask)
	case err != nil:
		i.problem("a core was asked and did not answer well: %v", err)
	default:
		l := client.Lineage()
		i.note("a core answers in %v: log %x, epoch %d, up to event %d", time.Since(began).Round(10*time.Microsecond), l.ID, l.Epoch, int64(head))
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/taskfeed/taskfeed/lab/query"
)

// peers is the measurement that takes somebody else's program.
const peers = "peers"

const (
	centrifugoName = "Centrifugo's Postgres broker"
	// peerSockets are connected while writers update, each of a user of its own.
	peerSockets = 100
	// peerRate is the number of updates per second at which latency is compared.
	peerRate = 50
)

// serveCentrifugo starts Centrifugo with its Postgres broker: woken by NOTIFY, and
// with a channel for each user that its connections get without asking.
func (b *bench) serveCentrifugo(ctx context.Context, p *place) (*server, error) {
	s, err := b.start(ctx, b.cfg.Centrifugo, nil, "/health", func(host, port string) []string {
		return []string{
			"CENTRIFUGO_HTTP_SERVER_ADDRESS=" + host, "CENTRIFUGO_HTTP_SERVER_PORT=" + port, "CENTRIFUGO_LOG_LEVEL=error",
			"CENTRIFUGO_HEALTH_ENABLED=true", "CENTRIFUGO_UNI_WEBSOCKET_ENABLED=true",
			"CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY=" + benchSecret,
			"CENTRIFUGO_CLIENT_SUBSCRIBE_TO_USER_PERSONAL_CHANNEL_ENABLED=true",
			"CENTRIFUGO_BROKER_ENABLED=true", "CENTRIFUGO_BROKER_TYPE=postgres",
			"CENTRIFUGO_BROKER_POSTGRES_DSN=" + p.url, "CENTRIFUGO_BROKER_POSTGRES_USE_NOTIFY=true",
		}
	})
	if err != nil {
		return nil, err
	}
	s.sends = "SELECT public.cf_stream_publish('#" + p.crowd() + "', $1::text::jsonb)"
	s.join = func(_, token string) string {
		return "/connection/uni_websocket?cf_connect=" + url.QueryEscape(`{"token":"`+token+`"}`)
	}
	return s, nil
}

// sqlAppPath gives a connection the path of an app: Centrifugo's functions find
// their tables by it.
const sqlAppPath = "SET search_path = public"

func (p *place) centrifugo() string { return p.schema + ".centrifugo" }

// sqlCentrifugo makes the table whose trigger publishes each new row to the channel
// of its owner. Centrifugo makes the function when it starts.
const sqlCentrifugo = `
CREATE TABLE {schema}.centrifugo (LIKE {schema}.plain INCLUDING ALL) WITH (fillfactor = 80);
CREATE FUNCTION {schema}.publish_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cf_stream_publish('#' || new.user_id, jsonb_build_object(
        'id', new.id, 'user_id', new.user_id, 'status', new.status, 'progress', new.progress, 'message', new.message));
    RETURN NULL;
END
$$;
CREATE TRIGGER publish_row AFTER UPDATE ON {schema}.centrifugo FOR EACH ROW EXECUTE FUNCTION {schema}.publish_row()`

// measurePeers compares with Centrifugo's Postgres broker, and with a bare LISTEN:
// writers, latency, fan-out and idle memory.
func measurePeers(ctx context.Context, b *bench, p *place) ([]Figure, error) {
	if b.cfg.Centrifugo == "" {
		b.note("peers was left out: name Centrifugo's program with --centrifugo")
		return nil, nil
	}
	figures, err := b.peersUpdate(ctx, p)
	if err != nil {
		return figures, err
	}
	more, err := b.peersFanOut(ctx, p)
	return append(figures, more...), err
}

// peersUpdate measures, with both servers up, how fast writers update and how long
// an update takes to a client.
func (b *bench) peersUpdate(ctx context.Context, p *place) (figures []Figure, err error) {
	ours, err := b.serve(ctx, p)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	theirs, err := b.serveCentrifugo(ctx, p)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	if err := query.Script(ctx, at(p.url), p.named(sqlCentrifugo)); err != nil {
		return nil, err
	}
	if err := p.fill(ctx, goalWriters, b.cfg.Rows, p.centrifugo()); err != nil {
		return nil, err
	}
	ws, err := b.openWriters(ctx, p, goalWriters)
	if err != nil {
		return nil, err
	}
	defer ws.close()
	for _, w := range ws.all {
		if _, err := w.conn.Exec(ctx, sqlAppPath); err != nil {
			return nil, err
		}
	}
	rates, err := ws.besidePeer(ctx, ours, theirs)
	if err != nil {
		return nil, err
	}
	figures = append(figures, rates)
	more, err := b.peersLatency(ctx, p, ws, ours, theirs)
	return append(figures, more...), err
}

// besidePeer compares updates by all writers, while sockets of some users are open
// at both servers.
func (ws *writers) besidePeer(ctx context.Context, ours, theirs *server) (Figure, error) {
	b, p := ws.bench, ws.place
	for _, s := range []*server{ours, theirs} {
		open, err := s.openFeeds(ctx, peerSockets, func(i int) string { return fmt.Sprint(p.prefix, "u", i) }, func([]byte) {})
		if err != nil {
			return Figure{}, err
		}
		defer open.close()
	}
	rates := make(map[string][]float64)
	for round := range b.cfg.Rounds + 1 { // the first one warms up
		for _, table := range []string{p.centrifugo(), oursTable} {
			rate, err := ws.rate(ctx, singleRow, goalWriters, table, b.cfg.Step)
			if err != nil {
				return Figure{}, err
			}
			if err := p.drained(ctx); err != nil {
				return Figure{}, err
			}
			if round > 0 {
				rates[table] = append(rates[table], rate)
			}
		}
	}
	f := compare(fmt.Sprintf("%s, %d writers, %d sockets", singleRow.name, goalWriters, peerSockets), singleRow.unit, rates[oursTable]).
		beside(centrifugoName, rates[p.centrifugo()]).judge(ratioAtLeast(6))
	b.say("peers: %s: %.0f, %.1f times %s", f.Name, f.Value, f.Ratio, f.Baseline)
	return f, nil
}

// peersLatency compares the time from when an update was due to when a client of the
// server has it, beside a connection that LISTENs.
func (b *bench) peersLatency(ctx context.Context, p *place, ws *writers, ours, theirs *server) ([]Figure, error) {
	if err := p.giveToOne(ctx, append(p.tables(), p.centrifugo())); err != nil {
		return nil, err
	}
	l := &latencies{bench: b, place: p, tally: b.newTally(), writers: ws}
	stopListening, err := listenBare(ctx, p, func(payload string) { l.tally.arrive([]byte(payload)) })
	if err != nil {
		return nil, err
	}
	defer stopListening()
	for _, s := range []*server{ours, theirs} {
		feeds, err := s.openFeeds(ctx, 1, func(int) string { return p.oneUser() }, l.tally.arrive)
		if err != nil {
			return nil, err
		}
		defer feeds.close()
	}
	q, err := l.compare(ctx, pace{rate: peerRate, writers: 1}, []string{p.notify(), p.centrifugo(), oursTable}, b.cfg.Rounds)
	if err != nil {
		return nil, err
	}
	var figures []Figure
	for _, of := range []struct {
		name  string
		times map[string][]float64
	}{{"p50", q.p50}, {"p99", q.p99}} {
		name := fmt.Sprintf("update to client at %d/s, %s", peerRate, of.name)
		mine := compare(name, "ms", of.times[oursTable]).lower()
		figures = append(figures, mine.beside(centrifugoName, of.times[p.centrifugo()]), mine.beside("bare LISTEN with payload", of.times[p.notify()]))
		b.say("peers: %s: %.2f ms, %.2f times %s", name, mine.Value, figures[len(figures)-2].Ratio, centrifugoName)
	}
	return figures, nil
}

// peersFanOut compares one event to many connections, and the memory of idle ones.
// Each server has the machine for itself.
func (b *bench) peersFanOut(ctx context.Context, p *place) ([]Figure, error) {
	var figures []Figure
	audience := b.connections(slices.Max(b.cfg.Audience))
	ours, err := b.shots(ctx, p, audience, b.serve)
	if err != nil {
		return nil, err
	}
	theirs, err := b.shots(ctx, p, audience, b.serveCentrifugo)
	if err != nil {
		return nil, err
	}
	last := compare(fmt.Sprintf("1 event to %d connections, time to the last", audience), "ms", ours.last).lower().
		beside(centrifugoName, theirs.last).judge(ratioAtMost(0.5))
	figures = append(figures, last)
	b.say("peers: %s: %.0f ms, %.2f times %s", last.Name, last.Value, last.Ratio, centrifugoName)

	n := b.connections(b.cfg.Idle)
	mine, err := b.idle(ctx, p, b.serve, n, 0)
	if errors.Is(err, errNotHere) {
		return figures, nil
	}
	if err != nil {
		return figures, err
	}
	other, err := b.idle(ctx, p, b.serveCentrifugo, n, 0)
	if err != nil {
		return figures, err
	}
	memory := compare(fmt.Sprintf("memory for each of %d idle connections", n), "KB", []float64{mine.memory}).lower().
		beside(centrifugoName, []float64{other.memory}).judge(ratioAtMost(0.16))
	b.say("peers: %s: %.1f KB, %.2f times %s", memory.Name, memory.Value, memory.Ratio, centrifugoName)
	return append(figures, memory), nil
}

// path is where a user's connection goes.
func (s *server) path(user, query, token string) string {
	if s.join != nil {
		return s.join(user, token)
	}
	return "/ws/" + url.PathEscape(user) + "?" + query
}

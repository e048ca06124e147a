package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	takeRate    = 10_000 // events a second
	takeWriters = 4
	takeTick    = 10 * time.Millisecond
	takeBytes   = 1000 // of an event's data, about
	takeUsers   = 100_000
)

// took is what events cost in one turn.
type took struct {
	gateway, engine float64 // % of a core at takeRate
	bytes           float64 // of messages, for each event
}

// taking measures what it costs a gateway to hear the events of users who are not
// connected to it, compressed and not.
func (b *bench) taking(ctx context.Context, p *place, e *engine) ([]Figure, error) {
	var turns [2][]took // of compressions
	compressions := [2]string{"off", "s2"}
	for range max(1, b.cfg.Rounds*3/5) {
		for i, how := range compressions {
			t, err := b.take(ctx, p, e, how)
			if err != nil {
				return nil, fmt.Errorf("compression %s: %w", how, err)
			}
			turns[i] = append(turns[i], t)
		}
	}
	const without = "without compression"
	values := func(of func(took) float64) (off, s2 []float64) {
		for i := range turns[0] {
			off, s2 = append(off, of(turns[0][i])), append(s2, of(turns[1][i]))
		}
		return off, s2
	}
	name := fmt.Sprintf("%d events/s for users who are not there", takeRate)
	var figures []Figure
	if off, s2 := values(func(t took) float64 { return t.gateway }); s2[0] > 0 {
		figures = append(figures, compare("CPU of a gateway that hears "+name, "% of a core", s2).lower().beside(without, off).judge(atMost(5)))
		off, s2 = values(func(t took) float64 { return t.engine })
		figures = append(figures, compare("CPU of NATS that carries them to one gateway", "% of a core", s2).lower().beside(without, off))
	}
	off, s2 := values(func(t took) float64 { return t.bytes })
	figures = append(figures, compare(fmt.Sprintf("bytes on the way to a gateway for each event with %d bytes of data", takeBytes), "bytes", s2).lower().beside(without, off))
	for _, f := range figures {
		b.say("gateways: %s: %.1f %s, %s %.1f", f.Name, f.Value, f.Unit, f.Baseline, f.Base)
	}
	return figures, nil
}

// take measures one turn, with a core that compresses like this.
func (b *bench) take(ctx context.Context, p *place, e *engine, compression string) (t took, err error) {
	core, err := b.serveCore(ctx, p, e, "TASKFEED_ENGINE_COMPRESSION="+compression)
	if err != nil {
		return t, err
	}
	defer core.stop()
	gateway, err := b.serveGateway(ctx, e)
	if err != nil {
		return t, err
	}
	defer gateway.stop()
	ws, err := b.openWriters(ctx, p, takeWriters)
	if err != nil {
		return t, err
	}
	defer ws.close()
	if _, err := ws.strew(ctx, b.cfg.Step/2); err != nil { // warms up
		return t, err
	}
	if err := b.awaitHead(ctx, p, gateway); err != nil {
		return t, err
	}
	started := time.Now()
	before, err := usageOf(core, gateway, e.server)
	if err != nil {
		return t, err
	}
	sent, err := ws.strew(ctx, 5*b.cfg.Step)
	if err != nil {
		return t, err
	}
	if err := b.awaitHead(ctx, p, gateway); err != nil {
		return t, err
	}
	lasted := time.Since(started)
	after, err := usageOf(core, gateway, e.server)
	if err != nil {
		return t, err
	}
	if rate := float64(sent) / lasted.Seconds(); rate < 0.9*takeRate {
		b.note("gateways: only %.0f events/s were sent in place of %d; what they cost was scaled up", rate, takeRate)
	}
	at := func(used time.Duration) float64 { return 100 * used.Seconds() / float64(sent) * takeRate }
	return took{at(after.gateway - before.gateway), at(after.engine - before.engine), (after.bytes - before.bytes) / float64(sent)}, nil
}

type usage struct {
	gateway, engine time.Duration // of CPU
	bytes           float64
}

// usageOf returns what was used so far; on systems where that is not known, no CPU.
func usageOf(core, gateway, engine *server) (u usage, err error) {
	u.gateway, _ = gateway.cpu()
	u.engine, _ = engine.cpu()
	u.bytes, err = core.metric("taskfeed_relay_published_bytes_total")
	return u, err
}

// awaitHead waits until the gateway has the whole log.
func (b *bench) awaitHead(ctx context.Context, p *place, gateway *server) error {
	if err := p.drained(ctx); err != nil {
		return err
	}
	last, err := p.lastID(ctx)
	if err != nil {
		return err
	}
	return await(ctx, arrivalTime, "the gateway to have all events", func() (bool, error) {
		head, err := gateway.metric("taskfeed_relay_head")
		return head >= float64(last), err
	})
}

// sqlStrew sends one event with each of the data to users whom nobody knows.
const sqlStrew = `
SELECT count(taskfeed.notify($1 || (random() * $2)::int, 'bench.taken', data))
FROM unnest($3::text::jsonb[]) AS data`

// strew sends events at takeRate for some time, and returns how many.
func (ws *writers) strew(ctx context.Context, during time.Duration) (sent int, err error) {
	ticks := max(1, int(during/takeTick))
	each := takeRate * int(takeTick) / int(time.Second) / takeWriters
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for i, w := range ws.all {
		group.Go(func() error {
			for tick := range ticks {
				due := start.Add(time.Duration(tick)*takeTick + time.Duration(i)*takeTick/takeWriters)
				if err := sleep(ctx, time.Until(due)); err != nil {
					return err
				}
				if _, err := w.conn.Exec(ctx, sqlStrew, w.place.prefix+"away", takeUsers, someData(each)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return ticks * each * takeWriters, group.Wait()
}

// someData returns so many objects as an array of Postgres. Each has about takeBytes of
// text that is as repetitive as what people and programs write.
func someData(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		text := make([]string, 0, takeBytes/6)
		for size := 0; size < takeBytes-40; {
			word := dataWords[rand.N(len(dataWords))]
			if rand.N(4) == 0 {
				word = fmt.Sprint(rand.N(1_000_000))
			}
			text = append(text, word)
			size += len(word) + 1
		}
		fmt.Fprintf(&b, `"{\"progress\":%d,\"message\":\"%s\"}"`, rand.N(101), strings.Join(text, " "))
	}
	b.WriteByte('}')
	return b.String()
}

var dataWords = strings.Fields("import of customers step rows were read written checked and the next batch begins file export invoice order number status running waiting queue retry worker finished page of with in to from")

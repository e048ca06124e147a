package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed/lab/query"
)

const (
	benchTopic  = "bench"
	inFlight    = 4  // messages that one connection has sent and that are not answered
	inserters   = 16 // connections of the baseline, as many as a pool often has
	receiveMost = 1000
	firstAnswer = 20 * time.Second // how long the first answer may take
)

// measureInbox measures how many messages a second are acknowledged to many connections
// while an app receives them, beside as many rows of the same size that an app inserts
// one by one.
func measureInbox(ctx context.Context, b *bench, p *place) (_ []Figure, err error) {
	s, err := b.serveWith(ctx, p, "TASKFEED_INBOX=on", "TASKFEED_INBOX_TOPICS="+benchTopic, "TASKFEED_INBOX_PER_MINUTE=off",
		"TASKFEED_INBOX_PER_USER=1000000", "TASKFEED_INBOX_TOTAL=10000000", "TASKFEED_MESSAGES_PER_MINUTE=off")
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := query.Script(ctx, at(p.url), p.named(`CREATE TABLE {schema}.messages (LIKE taskfeed.inbox_refs INCLUDING ALL)`)); err != nil {
		return nil, err
	}
	n := b.connections(b.cfg.Senders)
	b.say("inbox: opening %d connections", n)
	senders, err := b.openSenders(ctx, s, p, n)
	if err != nil {
		return nil, err
	}
	defer senders.close()
	receiving, stop := context.WithCancel(ctx)
	var app errgroup.Group
	app.Go(func() error { return receiveAll(receiving, p) })
	defer func() {
		stop()
		if e := app.Wait(); err == nil {
			err = e
		}
	}()
	var ours, base []float64
	for round := range b.cfg.Rounds + 1 { // the first one warms up
		answered, took := senders.run(ctx, b.cfg.Step)
		if answered == 0 {
			return nil, senders.explain(fmt.Errorf("no message was acknowledged"))
		}
		inserted, within, err := b.insertMessages(ctx, p)
		if err != nil {
			return nil, err
		}
		if round > 0 {
			ours, base = append(ours, float64(answered)/took.Seconds()), append(base, float64(inserted)/within.Seconds())
		}
	}
	rate := compare(fmt.Sprintf("messages of %d connections acknowledged", n), "/s", ours).
		beside(fmt.Sprintf("rows inserted one by one over %d connections", inserters), base)
	if n >= 1000 {
		rate = rate.judge(atLeast(3000))
	}
	b.say("inbox: %.0f messages/s, %.0f inserts/s", rate.Value, rate.Base)
	return []Figure{rate}, nil
}

// senders are connections that send messages while they run.
type senders struct {
	*feeds
	each []*sender

	running  atomic.Bool
	answered atomic.Int64
}

// sender is one connection. A token stands for a message that it may send.
type sender struct {
	feed   *feed
	next   int
	tokens chan struct{}
	text   []byte
}

// openSenders opens n connections, each of a user of its own.
func (b *bench) openSenders(ctx context.Context, s *server, p *place, n int) (*senders, error) {
	all := &senders{feeds: &feeds{all: make([]*feed, n)}, each: make([]*sender, n)}
	group, dialing := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range n {
		group.Go(func() (err error) {
			if all.all[i], err = s.dial(dialing, fmt.Sprint(p.prefix, "m", i), ""); err == nil {
				all.each[i] = &sender{feed: all.all[i], tokens: make(chan struct{}, inFlight)}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		all.close()
		return nil, err
	}
	for _, one := range all.each {
		for range inFlight {
			one.tokens <- struct{}{}
		}
		all.readers.Go(func() { all.end(one.feed.read(func(payload []byte) error { return all.take(one, payload) })) })
	}
	return all, nil
}

// take counts an answer.
func (all *senders) take(one *sender, payload []byte) error {
	if !bytes.Contains(payload, []byte(`"message_ack"`)) {
		return fmt.Errorf("a message was answered with %.200s", payload)
	}
	if all.running.Load() {
		all.answered.Add(1)
	}
	one.tokens <- struct{}{}
	return nil
}

// run sends for a time, and until a message is acknowledged. It returns how many were, and
// in what time.
func (all *senders) run(ctx context.Context, d time.Duration) (answered int64, took time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	all.answered.Store(0)
	all.running.Store(true)
	var wg sync.WaitGroup
	for _, one := range all.each {
		wg.Go(func() {
			for {
				select {
				case <-one.tokens:
				case <-ctx.Done():
					return
				}
				if ctx.Err() != nil {
					one.tokens <- struct{}{}
					return
				}
				if one.send() != nil {
					return // its reader tells why
				}
			}
		})
	}
	_ = sleep(ctx, d)
	_ = await(ctx, firstAnswer, "a message to be acknowledged", func() (bool, error) { return all.answered.Load() > 0, nil })
	all.running.Store(false)
	answered, took = all.answered.Load(), time.Since(began)
	cancel()
	wg.Wait()
	return answered, took
}

// send writes one message in one frame, masked with zeros.
func (one *sender) send() error {
	one.next++
	one.text = fmt.Appendf(one.text[:0], `{"type":"message","ref":"%d","topic":%q,"data":{"n":%d}}`, one.next, benchTopic, one.next)
	frame := []byte{0x81, 0x80 | byte(len(one.text)), 0, 0, 0, 0}
	if len(one.text) > 125 {
		frame = binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(one.text)))
		frame = append(frame, 0, 0, 0, 0)
	}
	_, err := one.feed.conn.Write(append(frame, one.text...))
	return err
}

// receiveAll receives messages, as an app does, until ctx is done.
func receiveAll(ctx context.Context, p *place) error {
	conn, err := connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer query.Close(conn)
	for ctx.Err() == nil {
		tag, err := conn.Exec(context.WithoutCancel(ctx), "SELECT id, user_id, data FROM taskfeed.receive($1, $2)", benchTopic, receiveMost)
		if err != nil {
			return fmt.Errorf("receive messages: %w", err)
		}
		if tag.RowsAffected() == 0 {
			_ = sleep(ctx, 10*time.Millisecond) // the loop's condition sees that ctx is done
		}
	}
	return nil
}

// insertMessages inserts rows one by one for a step, at least one over each connection. It
// returns how many, and in what time.
func (b *bench) insertMessages(ctx context.Context, p *place) (inserted int64, took time.Duration, err error) {
	sql := p.named(`INSERT INTO {schema}.messages (user_id, ref, id, topic, digest) VALUES ($1, gen_random_uuid()::text, $2, 'bench', 0)`)
	conns := make([]*pgx.Conn, inserters)
	for i := range conns {
		if conns[i], err = connect(ctx, p.url); err != nil {
			return 0, 0, err
		}
		defer query.Close(conns[i])
	}
	began := time.Now()
	var count atomic.Int64
	var group errgroup.Group
	for i, conn := range conns {
		group.Go(func() error {
			for {
				if _, err := conn.Exec(ctx, sql, fmt.Sprint(p.prefix, i), i); err != nil {
					return fmt.Errorf("insert a row: %w", err)
				}
				count.Add(1)
				if time.Since(began) > b.cfg.Step {
					return nil
				}
			}
		})
	}
	err = group.Wait()
	return count.Load(), time.Since(began), err
}

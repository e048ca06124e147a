package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// The mailbox sends messages of users to the app through all faults, and plays the app
// that receives them. A sender sends a message again, to any server, until it is
// answered; the app rolls back now and then, and records what it has received in the
// transaction that received it.
const (
	inboxTopic  = "verify"
	mailSenders = 3
	mailWorkers = 2
	mailEvery   = 100 * time.Millisecond // of one sender
	mailTime    = 3 * time.Second        // for an answer
	mailEnd     = 45 * time.Second       // for the last answers, and for the app to receive what waits
)

type mailbox struct {
	r       *round
	work    sync.WaitGroup
	stop    context.CancelFunc // of the senders
	rest    context.CancelFunc // of the app
	app     sync.WaitGroup
	timeout context.CancelFunc // of the last tries

	mu   sync.Mutex
	sent map[string]*history.Message // by ref
}

// startMail begins to send and to receive, in a database of the run's own.
func (r *round) startMail(ctx context.Context) {
	if !r.private() {
		return
	}
	m := &mailbox{r: r, sent: make(map[string]*history.Message)}
	r.mail = m
	sending, stop := context.WithCancel(ctx)
	trying, timeout := context.WithCancel(ctx)
	receiving, rest := context.WithCancel(ctx)
	m.stop, m.timeout, m.rest = stop, timeout, rest
	for i := range mailSenders {
		m.work.Go(func() { m.send(sending, trying, i) })
	}
	for range mailWorkers {
		m.app.Go(func() { m.receive(receiving) })
	}
}

// endMail waits, for a bounded time, until every message is answered and the app has
// received all that wait, and records what became of each.
func (r *round) endMail(ctx context.Context) error {
	m := r.mail
	if m == nil {
		return nil
	}
	defer m.rest()
	m.stop()
	late := time.AfterFunc(mailEnd, m.timeout)
	m.work.Wait()
	late.Stop()
	m.timeout()
	_ = await(ctx, mailEnd, func() error { // what is left, the judge reports
		n, err := one[int64](ctx, r.db, "SELECT count(*) FROM taskfeed.inbox")
		if err == nil && n > 0 {
			err = fmt.Errorf("%d messages wait", n)
		}
		return err
	})
	m.rest()
	m.app.Wait()
	return m.record(ctx)
}

// record writes what became of each message.
func (m *mailbox) record(ctx context.Context) error {
	conn, err := m.r.db.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var ref string
	var n int
	rows, _ := conn.Query(ctx, "SELECT ref, count(*) FROM "+receivedTable+" GROUP BY ref") // the rows report the error too
	if _, err := pgx.ForEachRow(rows, []any{&ref, &n}, func() error {
		if m.sent[ref] == nil {
			m.sent[ref] = &history.Message{Ref: ref}
		}
		m.sent[ref].Received = n
		return nil
	}); err != nil {
		return fmt.Errorf("read what the app has received: %w", err)
	}
	out, err := history.Create(m.r.dir, "messages.jsonl")
	if err != nil {
		return err
	}
	for _, message := range m.sent {
		out.Append(message)
	}
	return out.Close()
}

// send sends one message after the other until sending is done. The last one is tried
// until trying is done.
func (m *mailbox) send(sending, trying context.Context, sender int) {
	for i := 0; pause.For(sending, mailEvery); i++ {
		message := &history.Message{Ref: fmt.Sprintf("%sm%d-%d", m.r.prefix, sender, i), User: m.r.users[(sender+i)%activeUsers].ID, T: history.Now()}
		m.mu.Lock()
		m.sent[message.Ref] = message
		m.mu.Unlock()
		id := m.try(trying, message)
		if id == 0 || rand.N(8) > 0 {
			continue
		}
		message.Again = true // as if the answer were lost
		again := *message
		if other := m.try(trying, &again); other != id && trying.Err() == nil {
			message.Differs = fmt.Sprintf("the id %d %s, and before with %d", other, again.Refused, id)
		}
	}
}

// try sends a message until it is answered, and returns its id, 0 where it has none.
func (m *mailbox) try(ctx context.Context, message *history.Message) (id int64) {
	for ctx.Err() == nil {
		message.Tries++
		status, answer, err := m.post(ctx, message)
		switch {
		case err != nil || status == http.StatusTooManyRequests || status >= 500:
			pause.For(ctx, 50*time.Millisecond+rand.N(100*time.Millisecond))
		case status == http.StatusOK:
			message.Acked = history.Now()
			return answer.ID
		default:
			message.Refused = answer.Code
			return 0
		}
	}
	return 0
}

type mailAnswer struct {
	ID   int64  `json:"id"`
	Code string `json:"code"`
}

// post sends a message to a server, through its proxy.
func (m *mailbox) post(ctx context.Context, message *history.Message) (status int, answer mailAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	token, err := auth.Issue(auth.Config{Secret: []byte(m.r.secret)}, message.User, "", time.Minute)
	if err != nil {
		return 0, answer, err
	}
	body, err := json.Marshal(map[string]any{"ref": message.Ref, "topic": inboxTopic, "data": map[string]string{"op": message.Ref}})
	if err != nil {
		return 0, answer, err
	}
	s := m.r.servers[rand.N(len(m.r.servers))]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.net.Addr()+"/v1/me/messages", bytes.NewReader(body))
	if err != nil {
		return 0, answer, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return 0, answer, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode < 500 {
		err = json.Unmarshal(text, &answer) // an answer that was cut off is none
	}
	return res.StatusCode, answer, err
}

// receive receives messages until ctx is done.
func (m *mailbox) receive(ctx context.Context) {
	for ctx.Err() == nil {
		m.receiveOver(ctx) // until the connection fails
		pause.For(ctx, 200*time.Millisecond)
	}
}

func (m *mailbox) receiveOver(ctx context.Context) {
	conn, err := dial.Connect(ctx, dial.Config{URL: m.r.writersURL, Name: "taskfeed-lab mailbox"}, nil)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for ctx.Err() == nil {
		n, err := receiveSome(ctx, conn)
		if err != nil {
			return
		}
		if n == 0 {
			pause.For(ctx, 50*time.Millisecond)
		}
	}
}

const sqlReceive = `
INSERT INTO ` + receivedTable + ` (ref)
SELECT data->>'op'
FROM taskfeed.receive($1, $2)`

// receiveSome receives some messages in one transaction, and rolls back one in four.
func receiveSome(ctx context.Context, conn *pgx.Conn) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, sqlReceive, inboxTopic, 1+rand.N(20))
	if err != nil {
		return 0, err
	}
	if tag.RowsAffected() > 0 && rand.N(4) == 0 {
		return tag.RowsAffected(), tx.Rollback(ctx)
	}
	return tag.RowsAffected(), tx.Commit(ctx)
}

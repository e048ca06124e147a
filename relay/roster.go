package relay

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// Cores ask all servers about their connections. Nobody knows how many servers there are,
// so a core waits a little for all, and longer for those that it has heard from before.

const (
	gatherLeast = 100 * time.Millisecond // for servers that are not known yet
	gatherMost  = time.Second            // for those that have answered before
	maxReplies  = 1000                   // servers that are heard
	maxInquiry  = 16 << 10               // bytes of a question
	maxAttended = 4                      // questions that a server answers at once; it ignores more
)

// inquiry is a question to all servers of a log.
type inquiry struct {
	log  [16]byte // of whom it is asked
	to   string   // one server; empty: all
	body []byte
}

func (q *inquiry) encode() []byte {
	e := newEncoder(kindInquiry)
	e.b = append(e.b, q.log[:]...)
	e.text(q.to)
	e.bytes(q.body)
	return e.b
}

func decodeInquiry(message []byte) (q inquiry, err error) {
	k, d, err := open(message)
	if err != nil {
		return q, err
	}
	if k != kindInquiry || len(message) > maxInquiry {
		return q, errMalformed
	}
	copy(q.log[:], d.take(int64(len(q.log))))
	q.to, q.body = d.text(), d.bytes()
	return q, d.end()
}

// Reply is what a server answers to an inquiry.
type Reply struct {
	Server string            // its id
	Says   json.RawMessage   // about itself
	Items  []json.RawMessage // that were asked for
	More   bool              // there are more items
}

// encode returns a message of at most about limit bytes: it leaves out items that do not
// fit.
func (r Reply) encode(limit int) []byte {
	size := len(r.Says)
	for i, item := range r.Items {
		if size += len(item) + frameOverhead; size > limit {
			r.Items, r.More = r.Items[:i], true
			break
		}
	}
	var body encoder
	body.text(r.Server)
	body.bytes(r.Says)
	body.bool(r.More)
	body.uint(uint64(len(r.Items)))
	for _, item := range r.Items {
		body.bytes(item)
	}
	return newEncoder(kindReply).body(body.b, true)
}

func decodeReply(message []byte) (r Reply, err error) {
	k, d, err := open(message)
	if err != nil {
		return r, err
	}
	if k != kindReply {
		return r, errMalformed
	}
	d.body()
	r.Server, r.Says, r.More = d.text(), d.bytes(), d.bool()
	for n := d.upTo(maxLimit); n > 0 && !d.failed; n-- {
		r.Items = append(r.Items, d.bytes())
	}
	return r, d.end()
}

// Attendant answers inquiries on a server.
type Attendant struct {
	// Server is its id.
	Server string
	// Log returns the log that the server serves; ok is false while it does not know.
	Log func() (id [16]byte, ok bool)
	// Answer answers a question. It is called concurrently.
	Answer func(question []byte) (Reply, error)
}

// Attend answers inquiries of cores until ctx is done, and returns nil then.
func Attend(ctx context.Context, t Assembly, prefix string, a Attendant) error {
	slots := make(chan struct{}, maxAttended)
	stop, err := t.Attend(prefixOf(prefix)+subjectGateways, func(_ context.Context, message []byte) []byte {
		q, err := decodeInquiry(message)
		if err != nil || q.to != "" && q.to != a.Server {
			return nil
		}
		if log, ok := a.Log(); !ok || log != q.log {
			return nil // another deployment must not learn who is connected
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			return nil
		}
		r, err := a.Answer(q.body)
		if err != nil {
			return nil
		}
		r.Server = a.Server
		return r.encode(messageBytes(t.MaxPayload()))
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	stop()
	return nil
}

// Roster asks all servers. Its methods are safe for concurrent use.
type Roster struct {
	transport Assembly
	subject   string
	log       [16]byte

	mu    sync.Mutex
	known map[string]bool // who answered the last inquiry
}

// NewRoster returns a roster of the servers of a log.
func NewRoster(t Assembly, prefix string, log [16]byte) *Roster {
	return &Roster{transport: t, subject: prefixOf(prefix) + subjectGateways, log: log}
}

// Ask returns the replies of all servers that answer within about a second.
func (r *Roster) Ask(ctx context.Context, question []byte) []Reply {
	ctx, cancel := context.WithTimeout(ctx, gatherMost)
	defer cancel()
	r.mu.Lock()
	waiting := len(r.known)
	known := r.known
	r.mu.Unlock()
	heard := make(map[string]bool)
	var replies []Reply
	var mu sync.Mutex // guards waiting and early
	early := true     // others may answer yet
	timer := time.AfterFunc(gatherLeast, func() {
		mu.Lock()
		defer mu.Unlock()
		if early = false; waiting == 0 {
			cancel()
		}
	})
	defer timer.Stop()
	q := inquiry{log: r.log, body: question}
	_ = r.transport.Gather(ctx, r.subject, q.encode(), func(message []byte) bool { // without it nobody answers
		reply, err := decodeReply(message)
		if err != nil || reply.Server == "" || heard[reply.Server] {
			return true
		}
		heard[reply.Server] = true
		replies = append(replies, reply)
		mu.Lock()
		defer mu.Unlock()
		if known[reply.Server] {
			waiting--
		}
		return (early || waiting > 0) && len(replies) < maxReplies
	})
	r.mu.Lock()
	r.known = heard
	r.mu.Unlock()
	return replies
}

var errNoReply = unavailable("the server does not answer")

// AskOne returns the reply of one server.
func (r *Roster) AskOne(ctx context.Context, server string, question []byte) (reply Reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, gatherMost)
	defer cancel()
	found := false
	q := inquiry{log: r.log, to: server, body: question}
	err = r.transport.Gather(ctx, r.subject, q.encode(), func(message []byte) bool {
		reply, err = decodeReply(message)
		found = err == nil && reply.Server == server
		return !found
	})
	if !found {
		return Reply{}, errNoReply
	}
	return reply, nil
}

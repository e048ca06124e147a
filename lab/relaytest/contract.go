package relaytest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/relay"
)

// Engine is what a contract is checked against.
type Engine struct {
	// Connect returns a transport of a server of its own.
	Connect func(t *testing.T) relay.Transport
	// Break has every transport lose its connection, with what is under way, and get it
	// back some time later.
	Break func(t *testing.T)
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// Contract checks what package relay relies on, and that a gateway gets the whole log.
func Contract(t *testing.T, e Engine) {
	t.Run("messages arrive in order at each subscriber", e.ordered)
	t.Run("a question has one answer", e.answered)
	t.Run("a question to nobody fails", e.unanswered)
	t.Run("a question to all is answered by each", e.gathered)
	t.Run("the largest message arrives", e.large)
	t.Run("a lost connection fails one flush", e.flushed)
	t.Run("a gateway gets the whole log", e.whole)
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// box collects messages.
type box struct {
	mu  sync.Mutex
	all [][]byte
}

func (b *box) put(message []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, message)
}

func (b *box) taken() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

func subscribe(t *testing.T, tr relay.Transport, subject string) *box {
	t.Helper()
	b := new(box)
	stop, err := tr.Subscribe(subject, b.put)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	t.Cleanup(stop)
	flush(t, tr) // the engine knows of it
	return b
}

func flush(t *testing.T, tr relay.Transport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := tr.Flush(ctx); err != nil {
		t.Fatalf("Flush: %v", err)
	}
}

func (e Engine) ordered(t *testing.T) {
	a, b := e.Connect(t), e.Connect(t)
	boxes := []*box{subscribe(t, a, "t.ordered"), subscribe(t, b, "t.ordered")}
	others := subscribe(t, b, "t.other")
	var want [][]byte
	// In a cluster a subscription reaches the other servers a moment later.
	await(t, "a first message", func() bool {
		if err := a.Publish("t.ordered", []byte("first")); err != nil {
			t.Fatalf("Publish: %v", err)
		}
		flush(t, a)
		return len(boxes[0].taken()) > 0 && len(boxes[1].taken()) > 0
	})
	for i := range 500 {
		want = append(want, fmt.Append(nil, i))
		if err := a.Publish("t.ordered", want[i]); err != nil {
			t.Fatalf("Publish: %v", err)
		}
	}
	flush(t, a)
	for i, b := range boxes {
		await(t, "the last message", func() bool {
			all := b.taken()
			return bytes.Equal(all[len(all)-1], want[len(want)-1])
		})
		all := b.taken()
		if got := all[len(all)-len(want):]; !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("subscriber %d: got %q, want them in order", i, got)
		}
	}
	if got := others.taken(); len(got) > 0 {
		t.Errorf("another subject got %q", got)
	}
}

func (e Engine) answered(t *testing.T) {
	var served sync.Map
	for i := range 2 {
		stop, err := e.Connect(t).Answer("t.ask", func(_ context.Context, q []byte) []byte {
			if _, twice := served.LoadOrStore(string(q), i); twice {
				t.Errorf("question %q is answered twice", q)
			}
			return append([]byte("re: "), q...)
		})
		if err != nil {
			t.Fatalf("Answer: %v", err)
		}
		t.Cleanup(stop)
	}
	asker := e.Connect(t)
	ask := func(q string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return asker.Request(ctx, "t.ask", []byte(q))
	}
	n := 0
	await(t, "somebody answers", func() bool { n++; _, err := ask(fmt.Sprint("probe ", n)); return err == nil })
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if got, err := ask(fmt.Sprint(i)); err != nil || string(got) != fmt.Sprint("re: ", i) {
				t.Errorf("question %d: got %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

func (e Engine) unanswered(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if got, err := e.Connect(t).Request(ctx, "t.nobody", []byte("hello")); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}

func (e Engine) gathered(t *testing.T) {
	for i := range 3 {
		stop, err := e.assembly(t).Attend("t.all", func(_ context.Context, q []byte) []byte {
			if i == 2 {
				return nil // it has nothing to say
			}
			return fmt.Appendf(nil, "%s %d", q, i)
		})
		if err != nil {
			t.Fatalf("Attend: %v", err)
		}
		t.Cleanup(stop)
	}
	asker := e.assembly(t)
	gather := func(q string, most int, d time.Duration) (got []string) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		err := asker.Gather(ctx, "t.all", []byte(q), func(answer []byte) bool {
			got = append(got, string(answer))
			return len(got) < most
		})
		if err != nil {
			t.Errorf("Gather: %v", err)
		}
		slices.Sort(got)
		return got
	}
	await(t, "both answer", func() bool { return len(gather("probe", 2, time.Second)) == 2 })
	if got, want := gather("q", 3, time.Second), []string{"q 0", "q 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := gather("q", 1, patience); len(got) != 1 {
		t.Errorf("got %q, want to stop after the first", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := asker.Gather(ctx, "t.no", []byte("q"), func([]byte) bool { t.Error("nobody attends, and there is an answer"); return true }); err != nil {
		t.Errorf("Gather of nobody: %v, want no error", err)
	}
}

// assembly connects to an engine on which all can be asked.
func (e Engine) assembly(t *testing.T) relay.Assembly {
	t.Helper()
	a, ok := e.Connect(t).(relay.Assembly)
	if !ok {
		t.Fatal("the transport is no relay.Assembly")
	}
	return a
}

func (e Engine) large(t *testing.T) {
	tr := e.Connect(t)
	b := subscribe(t, tr, "t.large")
	want := bytes.Repeat([]byte("x"), tr.MaxPayload())
	if err := tr.Publish("t.large", want); err != nil {
		t.Fatalf("Publish: %v", err)
	}
	await(t, "the message", func() bool { return len(b.taken()) == 1 })
	if got := b.taken()[0]; !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
	if err := tr.Publish("t.large", append(want, 'x')); err == nil {
		t.Error("a larger message is accepted, want an error")
	}
}

func (e Engine) flushed(t *testing.T) {
	tr := e.Connect(t)
	flush(t, tr)
	e.Break(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if tr.Flush(ctx) == nil {
		t.Error("the flush after a lost connection succeeds, want an error: something may be lost")
	}
	await(t, "a flush succeeds again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return tr.Flush(ctx) == nil
	})
}

// whole has a core publish while the engine breaks, and a gateway receive.
func (e Engine) whole(t *testing.T) {
	lineage := relay.Lineage{ID: [16]byte{1}, Epoch: 1}
	log := NewLog(lineage)
	log.Commit(1)
	h := newHub(t, log)
	h.SetHead(log.Last())
	core := e.Connect(t)
	publisher, err := relay.NewPublisher(core, h, relay.PublisherConfig{Server: "core"})
	if err != nil {
		t.Fatalf("NewPublisher: %v", err)
	}
	client := relay.NewClient(e.Connect(t), relay.ClientConfig{Timeout: 2 * time.Second})
	edge := newHub(t, client)
	receiver := relay.NewReceiver(client, edge, relay.ReceiverConfig{})
	answerer := relay.NewAnswerer(core, log, relay.AnswererConfig{Recent: h.RecentFloor})

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	run := func(part func(context.Context) error) {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				t.Errorf("a part ended: %v", err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	run(answerer.Run)
	run(receiver.Run)
	run(func(ctx context.Context) error { return publisher.Lead(ctx, lineage) })
	await(t, "the gateway is ready", func() bool { return receiver.Ready() == nil })

	start := edge.Stats().Head
	sub, err := edge.Subscribe(hub.SubscribeOptions{Filter: taskfeed.Filter{UserID: "alice"}, After: &start, Wake: func() {}})
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	t.Cleanup(sub.Close)
	for round := range 40 {
		h.Publish(log.Commit(5))
		if round == 15 || round == 30 {
			e.Break(t)
		}
	}
	var got []taskfeed.Cursor
	await(t, "the last event", func() bool {
		frames, err := sub.Next(ctx)
		for _, f := range frames {
			got = append(got, f.ID)
		}
		return err == nil && sub.Cursor() >= log.Last()
	})
	if want := log.IDs("alice", start); !slices.Equal(got, want) {
		t.Errorf("alice got %v, want %v", got, want)
	}
	await(t, "the publisher is confirmed", func() bool { return publisher.Counts().Confirmed.Load() == int64(log.Last()) })
	await(t, "a beacon comes", func() bool { return receiver.Fresh() == nil && receiver.Stats().Sender == "core" })
}

func newHub(t *testing.T, log hub.Log) *hub.Hub {
	t.Helper()
	h, err := hub.New(log, hub.Config{RecentLogBytes: 1 << 20})
	if err != nil {
		t.Fatalf("hub.New: %v", err)
	}
	return h
}

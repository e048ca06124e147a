package relay

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

var modelSteps = flag.Int("relay.steps", 10_000, "steps of TestRelayAgainstAModelAtLength")

// TestRelayAgainstAModel takes two cores, two gateways and clients through random steps
// over a network that drops, repeats, reorders and cuts. The log forks, retention drops
// events, cores stop and wake up, questions fail. The model is the log: each client gets
// its events after its cursor, or a reset with a reason. In the end everybody has
// everything.
func TestRelayAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }, "")
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			w.step()
		}
		w.finish()
		if w.fault != "" {
			t.Fatal(w.fault)
		}
	})
}

// TestRelayAgainstAModelAtLength is the same with more steps and without shrinking. It
// must also have met what it is about.
func TestRelayAgainstAModelAtLength(t *testing.T) {
	t.Parallel()
	met := make(map[string]uint64)
	for seed, steps := uint64(1), 0; steps < *modelSteps; seed++ {
		w, n := runWorld(seed, "")
		if steps += n; w.fault != "" {
			t.Fatalf("seed %d: %s", seed, w.fault)
		}
		for what, n := range w.met {
			met[what] += n
		}
	}
	for _, what := range []string{"applied", "early", "gaps", "old", "stale epochs", "forks", "jumps", "republished", "resets", "moves", "fresh starts", "failed questions", "late answers"} {
		if met[what] == 0 {
			t.Errorf("never met: %s; met %v", what, met)
		}
	}
	t.Logf("met %v", met)
}

// Each of these mistakes must be found.
func TestTheModelFindsMistakes(t *testing.T) {
	t.Parallel()
	for _, mistake := range []string{"skip a gap", "no beacon", "believe old epochs", "keep the ring after a fork", "believe answers that are behind",
		"publish early", "cut of another user", "skip one in the answer", "one too far"} {
		t.Run(mistake, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 400; seed++ {
				if w, _ := runWorld(seed, mistake); w.fault != "" {
					t.Logf("seed %d: %s", seed, w.fault)
					return
				}
			}
			t.Error("not found, want a fault")
		})
	}
}

func runWorld(seed uint64, mistake string) (*world, int) {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(r.IntN, mistake)
	const steps = 1000
	for n := range steps {
		if w.step(); w.fault != "" {
			return w, n
		}
	}
	w.finish()
	return w, steps
}

// world is everything: the database, cores, the network, gateways, clients.
type world struct {
	pick    func(n int) int // a random number below n
	mistake string
	fault   string // what went wrong first
	now     time.Time
	quiet   bool // nothing fails any more
	met     map[string]uint64

	db       *database // the newest
	left     []*database
	cores    []*core
	gateways []*gateway
	clients  []*client
	inside   int
}

// database is a log, or a branch of it that was left behind by a fork.
type database struct {
	lineage   Lineage
	events    []taskfeed.Event
	seq       taskfeed.Cursor
	epochFrom taskfeed.Cursor // where ids jumped to
	lost      taskfeed.Cursor // retention has dropped what is at or below
}

func (db *database) last() taskfeed.Cursor {
	last := max(db.epochFrom, db.lost)
	if n := len(db.events); n > 0 {
		last = max(last, db.events[n-1].ID)
	}
	return last
}

func (db *database) has(id taskfeed.Cursor) *taskfeed.Event {
	i, ok := slices.BinarySearchFunc(db.events, id, func(e taskfeed.Event, id taskfeed.Cursor) int { return int(e.ID - id) })
	if !ok {
		return nil
	}
	return &db.events[i]
}

func (db *database) after(f taskfeed.Filter, after taskfeed.Cursor, limit int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	if after > 0 && after < db.lost {
		return nil, 0, false, &taskfeed.Error{Code: taskfeed.CodeGone, Message: "gone"}
	}
	var page []taskfeed.Event
	start, _ := slices.BinarySearchFunc(db.events, max(after, db.lost)+1, func(e taskfeed.Event, id taskfeed.Cursor) int { return int(e.ID - id) })
	for _, e := range db.events[start:] {
		if f.Match(&e) {
			if page = append(page, e); len(page) == limit {
				return page, e.ID, true, nil
			}
		}
	}
	return page, 0, false, nil
}

// core is a server with a database, and its side of the network.
type core struct {
	w         *world
	name      string
	db        *database
	hub       *hub.Hub
	published taskfeed.Cursor
	publisher *Publisher
	answerer  *Answerer
	speaker   *speaker // while it leads, or believes so
	cut       bool     // what it sends is lost, and Flush fails
	lostSome  bool     // since the last Flush
}

func (c *core) After(_ context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) ([]taskfeed.Event, taskfeed.Cursor, bool, error) {
	return c.db.after(f, after, min(limit, 1+c.w.pick(5)))
}

func (c *core) Head(context.Context) (taskfeed.Cursor, error) { return c.db.seq, nil }

func (c *core) State(context.Context) (State, error) {
	return State{Lineage: c.db.lineage, Last: c.db.last(), Head: c.db.seq}, nil
}

func (c *core) Page(ctx context.Context, f taskfeed.Filter, after taskfeed.Cursor, limit int) (State, Page, error) {
	state, _ := c.State(ctx)
	c.w.meanwhile()
	db := c.db
	if !c.w.quiet && c.w.pick(8) == 0 { // a standby that lags behind
		behind := *db // it shows a beginning of what was written, so all that was before its epoch
		late := slices.IndexFunc(db.events, func(e taskfeed.Event) bool { return e.ID > db.epochFrom })
		if late >= 0 {
			behind.events = db.events[:len(db.events)-c.w.pick(min(4, len(db.events)-late+1))]
		}
		state.Last = behind.last()
		if c.w.mistake == "believe answers that are behind" {
			state.Last = taskfeed.Cursor(1 << 40)
		}
		db = &behind
		c.w.met["late answers"]++
	}
	if state.Lineage != db.lineage {
		return State{}, Page{}, errors.New("another lineage meanwhile")
	}
	events, through, more, err := db.after(f, after, min(limit, 1+c.w.pick(6)))
	if c.w.mistake == "skip one in the answer" && len(events) > 1 {
		events = events[1:]
	}
	return state, Page{Events: slices.Clone(events), Through: through, More: more}, err
}

func (c *core) Lineage(ctx context.Context) (Lineage, error) {
	state, err := c.State(ctx)
	return state.Lineage, err
}

func (c *core) CommandsAfter(context.Context, int64) ([]taskfeed.Command, error) { return nil, nil }
func (c *core) LastCommand(context.Context) (int64, error)                       { return 0, nil }
func (c *core) Erasures(context.Context) (int64, error)                          { return 0, nil }

func (c *core) Publish(_ string, message []byte) error {
	if c.cut {
		c.lostSome = true
		if c.w.pick(3) == 0 {
			return errors.New("cut off")
		}
		return nil
	}
	for _, other := range c.w.cores {
		if other != c && c.w.happens(2) {
			other.publisher.hear(message)
		}
	}
	for _, g := range c.w.gateways {
		g.queue = append(g.queue, message)
	}
	return nil
}

func (c *core) Flush(context.Context) error {
	if c.cut || c.lostSome {
		c.lostSome = c.cut
		return errors.New("cut off")
	}
	return nil
}

func (c *core) Subscribe(string, func([]byte)) (func(), error) { return func() {}, nil }
func (c *core) Request(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("no")
}
func (c *core) Answer(string, func(context.Context, []byte) []byte) (func(), error) {
	return func() {}, nil
}
func (c *core) MaxPayload() int { return leastPayload }

// gateway is a server without one.
type gateway struct {
	w      *world
	hub    *hub.Hub
	client *Client
	placer *placer
	began  bool
	busy   bool // its receiver asks
	queue  [][]byte
}

func (g *gateway) Publish(string, []byte) error                   { return nil }
func (g *gateway) Flush(context.Context) error                    { return nil }
func (g *gateway) Subscribe(string, func([]byte)) (func(), error) { return func() {}, nil }
func (g *gateway) Answer(string, func(context.Context, []byte) []byte) (func(), error) {
	return func() {}, nil
}
func (g *gateway) MaxPayload() int { return leastPayload }

// Request asks one of the cores. Much can happen before and after.
func (g *gateway) Request(ctx context.Context, _ string, question []byte) ([]byte, error) {
	g.w.meanwhile()
	if g.w.happens(6) {
		g.w.met["failed questions"]++
		return nil, errors.New("no answer")
	}
	c := g.w.cores[g.w.pick(len(g.w.cores))]
	a := c.answerer.serve(ctx, question)
	g.w.meanwhile()
	return a, nil
}

// client is a user's device: it moves from gateway to gateway with its cursor.
type client struct {
	filter taskfeed.Filter
	pos    taskfeed.Cursor // everything up to it is accounted for
	at     *gateway
	sub    *hub.Subscriber // nil while it is away
	epoch  int64           // of the gateway, when it came
}

func newWorld(pick func(int) int, mistake string) *world {
	w := &world{pick: pick, mistake: mistake, now: time.Unix(1_800_000_000, 0), met: make(map[string]uint64)}
	w.db = &database{lineage: ours}
	for range 3 {
		w.append(w.db)
	}
	for i := range 2 {
		c := &core{w: w, name: fmt.Sprint("core-", i), db: w.db}
		w.cores = append(w.cores, c)
		c.restart()
	}
	for range 2 {
		g := &gateway{w: w}
		w.gateways = append(w.gateways, g)
		g.restart()
	}
	for _, f := range []taskfeed.Filter{{UserID: "alice"}, {UserID: "alice", Feeds: []string{"team"}}, {UserID: "bob"}, {All: true}} {
		w.clients = append(w.clients, &client{filter: f, pos: w.db.last()})
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

// happens reports one time in n that something goes wrong.
func (w *world) happens(n int) bool { return !w.quiet && w.pick(n) == 0 }

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.pick(300)) * time.Millisecond)
	w.outside(w.pick(anything))
	switch w.pick(6) {
	case 0:
		w.ask(w.gateways[w.pick(2)])
	case 1, 2, 3:
		w.next(w.clients[w.pick(len(w.clients))])
	case 4:
		w.move(w.clients[w.pick(len(w.clients))])
	case 5:
		if w.pick(20) == 0 {
			w.gateways[w.pick(2)].restart()
		}
	}
}

// anything is how many things can happen outside.
const anything = 40

// outside is what happens also while somebody waits for an answer.
func (w *world) outside(what int) {
	g, c := w.gateways[w.pick(2)], w.cores[w.pick(2)]
	switch what {
	case 0, 1, 2:
		w.commit(w.db)
	case 3:
		w.commit(c.db) // perhaps on a primary that was left behind
	case 4:
		w.disturb(g)
	case 5:
		c.cut = w.happens(3)
	case 6:
		c.change(w.pick(8))
	case 7:
		if w.pick(8) == 0 {
			w.lose()
		}
	case 8:
		if w.pick(8) == 0 {
			w.fork()
		}
	case 9, 10, 11, 12, 13, 14:
		c.follow()
	case 15, 16, 17, 18, 19, 20:
		c.speak()
	default:
		w.deliver(g)
	}
}

// meanwhile is what happens while somebody waits for an answer.
func (w *world) meanwhile() {
	if w.quiet || w.inside > 1 {
		return
	}
	w.inside++
	defer func() { w.inside-- }()
	for range w.pick(3) {
		w.outside(w.pick(anything))
	}
}

func (w *world) append(db *database) taskfeed.Event {
	db.seq += taskfeed.Cursor(1 + w.pick(2)*w.pick(4))
	user := []string{"alice", "bob", "team", "", "carol"}[w.pick(5)]
	text := make([]byte, w.pick(400))
	for i := range text {
		text[i] = byte('a' + i*i%26)
	}
	e := taskfeed.Event{ID: db.seq, UserID: user, TaskID: "t", Type: taskfeed.TypeTaskProgress, Version: int64(db.seq),
		Data: fmt.Appendf(nil, `{"of":%q,"text":%q}`, user, text), Timestamp: time.Unix(int64(db.seq), 0)}
	db.events = append(db.events, e)
	return e
}

func (w *world) commit(db *database) {
	for range 1 + w.pick(3) {
		w.append(db)
	}
}

// lose has retention drop old events. Clients that are away may be told so.
func (w *world) lose() {
	if n := len(w.db.events); n > 2 {
		i := w.pick(n - 1)
		w.db.lost = max(w.db.lost, w.db.events[i].ID)
	}
}

// fork is a failover that loses the last events. Cores notice later, each by itself.
func (w *world) fork() {
	w.met["forks"]++
	old := w.db
	w.left = append(w.left, old)
	kept := old.events[:len(old.events)-min(w.pick(4), len(old.events)-1)]
	w.db = &database{lineage: Lineage{ours.ID, old.lineage.Epoch + 1}, events: slices.Clone(kept), lost: old.lost, seq: old.seq + 10_000}
	w.db.epochFrom = w.db.seq
}

// restart is a new process.
func (c *core) restart() {
	if c.speaker != nil {
		c.speaker.close()
	}
	c.db, c.speaker, c.lostSome = c.w.db, nil, false
	c.hub, _ = hub.New(c, hub.Config{RecentLogBytes: 4000, LastIDs: 64})
	c.publisher, _ = NewPublisher(c, c.hub, PublisherConfig{Server: c.name, MessageBytes: 1000, Logger: slog.New(slog.DiscardHandler)})
	c.answerer = NewAnswerer(c, c, AnswererConfig{Recent: c.hub.RecentFloor, Logger: slog.New(slog.DiscardHandler)})
	c.published = c.db.last()
	c.hub.SetHead(c.published)
}

// follow publishes some of the log to the core's own hub.
func (c *core) follow() {
	if c.published < c.db.lost {
		c.published = c.db.last()
		c.hub.SetHead(c.published)
		return
	}
	events, _, _, _ := c.db.after(taskfeed.Filter{All: true}, c.published, 1+c.w.pick(4))
	if c.w.mistake == "publish early" && len(events) == 0 && c.w.pick(10) == 0 {
		ghost := taskfeed.Event{ID: c.published + 1, UserID: "alice", Type: "ghost", Data: []byte(`{}`)}
		events = append(events, ghost)
	}
	if len(events) > 0 {
		c.hub.Publish(events)
		c.published = events[len(events)-1].ID
	}
}

// speak publishes to the gateways, if the core leads.
func (c *core) speak() {
	if c.speaker == nil {
		return
	}
	republished := c.publisher.counts.Republished.Load()
	_, _ = c.speaker.work(context.Background(), c.w.now)
	c.w.met["republished"] += c.publisher.counts.Republished.Load() - republished
}

// change is what happens to a core besides.
func (c *core) change(what int) {
	switch {
	case what == 0 && c.w.happens(2):
		c.restart()
	case what < 3: // it finds the newest primary
		if c.db != c.w.db {
			c.db = c.w.db
			c.hub.ForgetLog()
			if c.speaker != nil {
				c.speaker.close()
				c.speaker = nil
			}
		}
	case what < 5 && c.speaker != nil && c.w.happens(2):
		c.speaker.close()
		c.speaker = nil
	case c.speaker == nil: // takes the lead; the other one may not know
		c.catchUp()
		c.speaker = &speaker{Publisher: c.publisher, lineage: c.db.lineage, wake: func() {}}
		_ = c.speaker.start(c.publisher.startOf(c.db.lineage))
	}
}

func (c *core) catchUp() {
	for c.published < c.db.last() {
		before := c.published
		if c.follow(); c.published == before {
			return
		}
	}
}

func (w *world) deliver(g *gateway) {
	if !g.began || g.busy || len(g.queue) == 0 {
		return
	}
	i := 0
	if w.happens(4) {
		i = w.pick(len(g.queue))
	}
	message := g.queue[i]
	if !w.happens(6) { // else it comes again
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	g.hear(message)
}

func (g *gateway) hear(message []byte) {
	k, d, err := open(message)
	if err != nil {
		g.w.fail("open: %v", err)
		return
	}
	switch b, _ := decodeBatchHead(d); {
	case k == kindBeacon && g.w.mistake == "no beacon":
		return
	case k == kindBatch && g.w.mistake == "skip a gap":
		g.placer.head = max(g.placer.head, b.from)
	case g.w.mistake == "believe old epochs":
		g.client.lineage = b.lineage
	case k == kindBatch && g.w.mistake == "cut of another user":
		b, _ := func() (batch, error) {
			_, d, _ := open(message)
			b, n := decodeBatchHead(d)
			return b, b.decodeFrames(d, n, nil)
		}()
		for i := range b.frames {
			if b.frames[i].UserID == "bob" && g.w.pick(10) == 0 {
				b.frames[i].UserID = "alice"
			}
		}
		message = b.encode(false)
	}
	err = g.placer.hear(message, g.w.now)
	if err != nil && !errors.Is(err, errStale) {
		g.w.fail("hear: %v", err)
	}
	if errors.Is(err, errStale) {
		g.w.met["stale epochs"]++
	}
}

// disturb drops part or all of what is under way to a gateway.
func (w *world) disturb(g *gateway) {
	if n := len(g.queue); n > 0 && w.happens(1) {
		i := w.pick(n)
		g.queue = slices.Delete(g.queue, i, min(n, i+1+w.pick(2)*w.pick(10)))
	}
}

// ask is the receiver's questions.
func (w *world) ask(g *gateway) {
	if g.busy {
		return
	}
	g.busy = true
	defer func() { g.busy = false }()
	ctx := context.Background()
	switch {
	case !g.began:
		g.began = g.placer.begin(ctx, w.pick(2) == 0) == nil
		w.met["fresh starts"]++
	case g.placer.lacks():
		_ = g.placer.fill(ctx)
	case w.pick(10) == 0 && w.mistake != "no beacon":
		_, _ = g.placer.look(ctx)
	}
	if w.mistake == "one too far" && w.pick(10) == 0 {
		g.placer.place(nil, g.placer.head+1)
	}
}

// restart is a new process; clients lose their connections.
func (g *gateway) restart() {
	if g.busy {
		return
	}
	for _, c := range g.w.clients {
		if c.at == g {
			g.w.leave(c)
		}
	}
	g.count()
	g.client = NewClient(g, ClientConfig{})
	g.hub, _ = hub.New(g.client, hub.Config{RecentLogBytes: 4000, LastIDs: 64, ReplayPage: 5})
	g.placer = &placer{feed: g.hub, client: g.client}
	if g.w.mistake != "keep the ring after a fork" {
		g.client.forked = g.hub.ForgetLog
	}
	g.began, g.queue = false, nil
}

func (g *gateway) count() {
	if g.client == nil {
		return
	}
	c := g.client.counts
	g.w.met["applied"] += c.Applied.Load()
	g.w.met["early"] += c.Early.Load()
	g.w.met["old"] += c.Old.Load()
	g.w.met["gaps"] += c.Gaps.Load()
	g.w.met["jumps"] += c.Jumps.Load()
}

func (w *world) leave(c *client) {
	if c.sub != nil {
		c.sub.Close()
		c.sub, c.at = nil, nil
	}
}

// move has a client leave, or come back.
func (w *world) move(c *client) {
	if c.sub != nil {
		if w.pick(3) == 0 {
			w.leave(c)
		}
		return
	}
	g := w.gateways[w.pick(2)]
	if !g.began {
		return
	}
	sub, err := g.hub.Subscribe(hub.SubscribeOptions{Filter: c.filter, After: new(c.pos), Wake: func() {}})
	if err != nil {
		w.fail("subscribe: %v", err)
		return
	}
	c.sub, c.at, c.epoch = sub, g, g.client.Lineage().Epoch
	w.met["moves"]++
}

// next reads on and checks what comes.
func (w *world) next(c *client) {
	if c.sub == nil {
		w.move(c)
		return
	}
	seq := w.db.seq
	frames, err := c.sub.Next(context.Background())
	if err != nil {
		if taskfeed.CodeOf(err) != taskfeed.CodeUnavailable && w.quiet {
			w.fail("next: %v", err)
		}
		return
	}
	if len(frames) == 0 {
		w.account(c, c.sub.Cursor(), "parked")
		return
	}
	for _, f := range frames {
		if f.Type == taskfeed.TypeFeedReset {
			w.reset(c, f, seq)
			continue
		}
		w.accept(c, f)
	}
}

// reset checks that a reset has a reason: events were dropped, or the client is ahead of
// the gateway's branch of the log.
func (w *world) reset(c *client, f *hub.Frame, seq taskfeed.Cursor) {
	old := c.at.client.Lineage().Epoch < w.db.lineage.Epoch
	if c.pos >= w.db.lost && c.pos <= seq && !old {
		w.fail("reset to %d at %d: dropped up to %d", f.ID, c.pos, w.db.lost)
	}
	c.pos = f.ID
	w.met["resets"]++
}

func (w *world) accept(c *client, f *hub.Frame) {
	if f.ID <= c.pos {
		w.fail("event %d came at %d", f.ID, c.pos)
	}
	want := w.db.has(f.ID)
	if want == nil {
		// It was lost by a fork. Who came after the gateway knew of the fork must not
		// see it.
		want = w.elsewhere(f.ID)
		if want == nil || c.epoch >= w.db.lineage.Epoch {
			w.fail("event %d is not in the log (client of epoch %d, log of epoch %d)", f.ID, c.epoch, w.db.lineage.Epoch)
			return
		}
	}
	if !c.filter.Match(want) || f.UserID != want.UserID || string(f.Bytes) != string(taskfeed.AppendFrame(nil, want)) {
		w.fail("event %d is %s of %q, want %s of %q", f.ID, f.Bytes, f.UserID, want.Data, want.UserID)
	}
	w.account(c, f.ID-1, "next event")
	c.pos = f.ID
}

// elsewhere finds an event on a branch that was left behind.
func (w *world) elsewhere(id taskfeed.Cursor) *taskfeed.Event {
	for _, db := range w.left {
		if e := db.has(id); e != nil {
			return e
		}
	}
	return nil
}

// account moves the position of a client and fails if that skips an event.
func (w *world) account(c *client, to taskfeed.Cursor, what string) {
	i, _ := slices.BinarySearchFunc(w.db.events, c.pos+1, func(e taskfeed.Event, id taskfeed.Cursor) int { return int(e.ID - id) })
	for ; i < len(w.db.events) && w.db.events[i].ID <= to; i++ {
		if c.filter.Match(&w.db.events[i]) {
			w.fail("%s: event %d of %q is missing between %d and %d", what, w.db.events[i].ID, w.db.events[i].UserID, c.pos, to)
		}
	}
	c.pos = max(c.pos, to)
}

// settled reports whether all have reached the end of the log.
func (w *world) settled() bool {
	last := w.db.last()
	return !slices.ContainsFunc(w.gateways, func(g *gateway) bool { return g.placer.head < last }) &&
		!slices.ContainsFunc(w.clients, func(c *client) bool { return c.pos < last })
}

// finish lets everything work and checks that everybody has everything.
func (w *world) finish() {
	w.quiet = true
	for _, c := range w.cores {
		c.cut = false
		c.change(1)
	}
	w.cores[0].change(7)
	for range 400 {
		if w.settled() {
			break
		}
		w.now = w.now.Add(beaconInterval)
		for _, c := range w.cores {
			c.catchUp()
			c.speak()
		}
		for _, g := range w.gateways {
			for len(g.queue) > 0 && g.began {
				w.deliver(g)
			}
			w.ask(g)
		}
		for _, c := range w.clients {
			w.next(c)
		}
		if w.fault != "" {
			return
		}
	}
	for _, g := range w.gateways {
		g.count()
		if g.placer.head < w.db.last() {
			w.fail("in the end a gateway is at %d and the log at %d", g.placer.head, w.db.last())
		}
	}
	for _, c := range w.clients {
		if c.pos < w.db.last() {
			w.fail("in the end a client of %+v is at %d and the log at %d", c.filter, c.pos, w.db.last())
		}
	}
}

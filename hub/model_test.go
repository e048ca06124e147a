package hub

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskfeed/taskfeed"
)

// TestHubAgainstAModel runs the hub through random publishing, lag, retention,
// jumps of the head, subscribers and interleavings with reads of the log. The model
// is the log and, for each subscriber, the id up to which every event was either
// delivered or skipped by a feed_reset.
func TestHubAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"":          m.check,
			"commit":    m.commit,
			"publish":   m.publish,
			"jump":      m.jump,
			"lose":      m.lose,
			"forget":    m.forget,
			"subscribe": m.subscribe,
			"next":      m.next,
			"drain":     m.drain,
			"renew":     m.renew,
			"rouse":     m.rouse,
			"close":     m.close,
		})
		m.finish(t)
	})
}

type model struct {
	*rig
	nextID    taskfeed.Cursor
	published int // how many events of the log the hub has been told of, or has jumped over
	subs      []*modelSub
	depth     int // of calls of Next within each other
}

// modelSub is what the model knows of a subscriber.
type modelSub struct {
	*tap
	opts      SubscribeOptions
	pos       taskfeed.Cursor   // everything up to it is accounted for
	forgiven  taskfeed.Cursor   // so is everything up to it: it was lost before s came
	told      bool              // a frame has come
	live      bool              // feed_live has come
	dozes     int               // calls of Doze
	page      []taskfeed.Cursor // what Next is returning
	parked    bool              // the last Next returned nothing
	jumped    bool              // the head has jumped since, or the feeds were replaced
	wakesThen int               // wakes at that time
	dozesThen int               // dozes at that time
	busy      bool              // Next runs
	reads     []taskfeed.Filter // the filters it has had since it began
	closed    bool
}

func newModel(t *rapid.T) *model {
	log := &memLog{page: rapid.IntRange(1, 4).Draw(t, "page"), scan: rapid.IntRange(0, 3).Draw(t, "scan")}
	h, err := New(log, Config{
		FeedBytes:   rapid.SampledFrom([]int{1, 400, 2000, 0}).Draw(t, "FeedBytes"),
		RecentBytes: rapid.SampledFrom([]int{1, 700, 3000, 0}).Draw(t, "RecentBytes"),
		// The default takes a megabyte for its index at once.
		RecentLogBytes: rapid.SampledFrom([]int{-1, 700, 2000, 4000, 100_000}).Draw(t, "RecentLogBytes"),
		LastIDs:        rapid.SampledFrom([]int{-1, 1, 2, 100}).Draw(t, "LastIDs"),
		ReplayBytes:    1 << 30, // reads within reads must not wait for each other
		MaxReplays:     100,
	})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	m := &model{rig: &rig{h, log}, nextID: 1}
	m.commit(t)
	m.published = len(log.events)
	h.SetHead(log.last())
	return m
}

func (m *model) commit(t *rapid.T) {
	users := rapid.SliceOfN(rapid.SampledFrom([]string{"alice", "bob", "carol", "team", "org", ""}), 1, 5).Draw(t, "users")
	for _, user := range users {
		e := broadcast(m.nextID)
		if user != "" {
			e = progress(m.nextID, user)
			e.TaskID = rapid.SampledFrom([]string{"t1", "t2"}).Draw(t, "task")
			e.Type = rapid.SampledFrom([]taskfeed.Type{taskfeed.TypeTaskProgress, taskfeed.TypeTaskProgress, taskfeed.TypeTaskCompleted, taskfeed.TypeTaskStalled}).Draw(t, "type")
		}
		m.log.commit(e)
		m.nextID += rapid.SampledFrom([]taskfeed.Cursor{1, 1, 1, 5}).Draw(t, "gap")
	}
}

func (m *model) publish(t *rapid.T) {
	rest := m.log.events[m.published:]
	n := rapid.IntRange(0, len(rest)).Draw(t, "n")
	again := rapid.IntRange(0, min(2, m.published)).Draw(t, "again") // a publisher that repeats itself
	events := m.log.events[m.published-again : m.published+n]
	m.published += n
	if rapid.Bool().Draw(t, "as frames") {
		m.publishFrames(t, events)
		return
	}
	m.Publish(events)
}

// publishFrames publishes up to an id before that of the next event, and uses the memory
// of the frames again.
func (m *model) publishFrames(t *rapid.T, events []taskfeed.Event) {
	last, next := m.Stats().Head, m.nextID
	frames := make([]Frame, len(events))
	for i := range events {
		frames[i] = *newFrame(&events[i])
		last = max(last, frames[i].ID)
	}
	if m.published < len(m.log.events) {
		next = m.log.events[m.published].ID
	}
	m.PublishFrames(frames, rapid.Custom(func(t *rapid.T) taskfeed.Cursor {
		return taskfeed.Cursor(rapid.Int64Range(int64(min(last, next-1)), int64(next-1)).Draw(t, "id"))
	}).Draw(t, "through"))
	for i := range frames {
		clear(frames[i].Bytes)
	}
}

// jump moves the head beyond every committed event.
func (m *model) jump(t *rapid.T) {
	head := m.log.last() + rapid.SampledFrom([]taskfeed.Cursor{0, 3, 100}).Draw(t, "by")
	m.nextID = max(m.nextID, head+1)
	m.log.head = max(m.log.head, head)
	m.published = len(m.log.events)
	for _, s := range m.subs {
		s.jumped = true
	}
	m.SetHead(head)
}

func (m *model) lose(t *rapid.T) {
	m.log.lose(m.pickID(t, "lose"))
}

func (m *model) forget(t *rapid.T) {
	rapid.SampledFrom([]func(){m.ForgetFrames, m.ForgetLog}).Draw(t, "forget")()
}

func (m *model) pickID(t *rapid.T, label string) taskfeed.Cursor {
	return m.log.events[rapid.IntRange(0, len(m.log.events)-1).Draw(t, label)].ID
}

func (m *model) subscribe(t *rapid.T) {
	if len(m.subs) > 12 {
		return
	}
	opts := SubscribeOptions{
		Filter: taskfeed.Filter{
			UserID: rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "user"),
			Feeds:  drawFeeds(t),
			All:    rapid.IntRange(0, 4).Draw(t, "all") == 0,
			TaskID: rapid.SampledFrom([]string{"", "", "t1"}).Draw(t, "task"),

			Compact: rapid.IntRange(0, 2).Draw(t, "compact") == 0,
		},
		WantLive: rapid.Bool().Draw(t, "live"),
	}
	head := m.Stats().Head
	switch rapid.IntRange(0, 4).Draw(t, "after") {
	case 0: // live only
	case 1:
		opts.After = from(0)
	case 2:
		opts.After = from(m.pickID(t, "after id"))
	case 3:
		opts.After = from(head)
	case 4:
		opts.After = from(m.log.last() + 50)
	}
	s := &modelSub{opts: opts, pos: head, tap: &tap{}}
	if opts.After != nil {
		s.pos = *opts.After
	}
	opts.Wake = func() { s.wakes++ }
	if rapid.IntRange(0, 2).Draw(t, "dozes") == 0 {
		opts.Doze = func() { s.dozes++ }
		s.opts.Doze = opts.Doze
	}
	var err error
	if s.Subscriber, err = m.Subscribe(opts); err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	m.subs = append(m.subs, s)
}

// pick returns a subscriber that is in no call of Next, or nil. It is none with the
// filter of one that is: it would wait for that one's read, which waits for this.
func (m *model) pick(t *rapid.T) *modelSub {
	var free []*modelSub
	for _, s := range m.subs {
		if !s.busy && !m.isRead(s.opts.Filter) {
			free = append(free, s)
		}
	}
	if len(free) == 0 {
		return nil
	}
	return rapid.SampledFrom(free).Draw(t, "subscriber")
}

// isRead reports whether a call of Next may be reading with the filter.
func (m *model) isRead(f taskfeed.Filter) bool {
	return slices.ContainsFunc(m.subs, func(x *modelSub) bool {
		return x.busy && slices.ContainsFunc(x.reads, func(read taskfeed.Filter) bool { return reflect.DeepEqual(f, read) })
	})
}

// drawFeeds draws the further feeds of a connection. One can be the own feed of others.
func drawFeeds(t *rapid.T) []string {
	return rapid.SampledFrom([][]string{nil, nil, {"team"}, {"org", "team"}, {"carol"}}).Draw(t, "feeds")
}

// renew replaces the feeds of a subscriber, perhaps while it reads.
func (m *model) renew(t *rapid.T) {
	if len(m.subs) == 0 {
		return
	}
	m.renewOne(t, rapid.SampledFrom(m.subs).Draw(t, "renewed"))
}

func (m *model) renewOne(t *rapid.T, s *modelSub) {
	filter := s.opts.Filter
	filter.Feeds = drawFeeds(t)
	if filter.All || m.isRead(filter) { // see pick
		return
	}
	if s.busy {
		s.pos = max(s.pos, s.Cursor()) // Next has passed empty pages; what it forgives is known once it returns
	} else {
		m.account(t, s, s.Cursor(), "renewal")
	}
	s.SetFeeds(filter.UserID, filter.Feeds)
	s.jumped = true
	s.opts.Filter = filter
	s.reads = append(s.reads, filter)
}

// rouse has a subscriber woken, perhaps one that does not doze.
func (m *model) rouse(t *rapid.T) {
	if len(m.subs) == 0 {
		return
	}
	s := rapid.SampledFrom(m.subs).Draw(t, "roused")
	wakes, due := s.wakes, s.parked && s.dozes > s.dozesThen && s.wakes == s.wakesThen
	if s.Rouse(); due && s.wakes != wakes+1 || !due && s.wakes != wakes {
		t.Fatalf("woken %d times when roused; dozing: %t", s.wakes-wakes, due)
	}
}

func (m *model) close(t *rapid.T) {
	if s := m.pick(t); s != nil {
		m.closeOne(s)
	}
}

func (m *model) closeOne(s *modelSub) {
	s.Close()
	s.closed = true
	m.subs = slices.DeleteFunc(m.subs, func(x *modelSub) bool { return x == s })
}

func (m *model) next(t *rapid.T) {
	if s := m.pick(t); s != nil {
		m.step(t, s)
	}
}

func (m *model) drain(t *rapid.T) {
	if s := m.pick(t); s != nil {
		m.drainOne(t, s)
	}
}

func (m *model) drainOne(t *rapid.T, s *modelSub) {
	for range 10_000 {
		if s.closed || m.step(t, s) {
			return
		}
	}
	t.Fatalf("a subscriber at %d never reaches the head %d", s.pos, m.Stats().Head)
}

// step calls Next, checks what it returns, and reports whether s parked.
func (m *model) step(t *rapid.T, s *modelSub) bool {
	asked, answered, said := m.log.asked, m.log.answered, m.log.said
	m.log.asked = func(context.Context) error { return m.meanwhile(t, s) }
	m.log.answered, m.log.said = m.log.asked, answers{}
	m.depth++
	wakes := s.wakes
	s.busy, s.parked, s.reads = true, false, []taskfeed.Filter{s.opts.Filter}
	frames, err := m.ask(t, s)
	s.busy = false
	m.depth--
	if s.pos == 0 {
		s.forgiven = max(s.forgiven, m.log.said.lost) // "all that is kept" was asked for, and no more
	}
	m.accept(t, s, frames, err)
	if s.wakes != wakes {
		t.Fatalf("woken while Next runs")
	}
	m.log.asked, m.log.answered, m.log.said = asked, answered, said
	return s.parked
}

// ask calls Next, or TryNext before it as the owner of many subscribers does.
func (m *model) ask(t *rapid.T, s *modelSub) ([]*Frame, error) {
	if rapid.Bool().Draw(t, "tries first") {
		asked := m.log.asked
		m.log.asked = func(context.Context) error {
			t.Fatal("TryNext reads the log")
			return nil
		}
		frames, ok, err := s.TryNext()
		m.log.asked = asked
		if ok || err != nil {
			return frames, err
		}
	}
	return s.Next(t.Context())
}

var errInjected = errors.New("injected")

// meanwhile is what happens while the log is read for s.
func (m *model) meanwhile(t *rapid.T, s *modelSub) error {
	audit(t, m.Hub) // needs the mutex
	actions := []func(*rapid.T){m.commit, m.publish, m.publish, m.lose, m.forget, m.subscribe, m.jump, m.renew,
		func(t *rapid.T) { m.renewOne(t, s) },
		func(*rapid.T) { m.closeOne(s) }}
	if m.depth < 2 {
		actions = append(actions, m.next, m.drain, m.close)
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "meanwhile") {
		if !s.closed {
			rapid.SampledFrom(actions).Draw(t, "action")(t)
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "fails") == 9 {
		return errInjected
	}
	return nil
}

// accept checks what Next returned to s.
func (m *model) accept(t *rapid.T, s *modelSub, frames []*Frame, err error) {
	switch {
	case s.closed:
		if err == nil || len(frames) > 0 {
			t.Fatalf("Next after Close: %d frames, %v", len(frames), err)
		}
		return
	case err != nil:
		if !errors.Is(err, errInjected) || len(frames) > 0 {
			t.Fatalf("Next: %d frames, %v", len(frames), err)
		}
		return
	case len(frames) == 0:
		m.account(t, s, m.Stats().Head, "parked")
		s.parked, s.jumped, s.wakesThen, s.dozesThen = true, false, s.wakes, s.dozes
	}
	s.page = s.page[:0]
	for _, f := range frames {
		s.page = append(s.page, f.ID)
	}
	if s.opts.Filter.Compact {
		checkCompact(t, frames)
	}
	for _, f := range frames {
		parsed, err := taskfeed.ParseFrame(f.Bytes)
		if err != nil {
			t.Fatalf("frame %s: %v", f.Bytes, err)
		}
		switch f.Type {
		case taskfeed.TypeFeedLive:
			m.acceptLive(t, s, parsed.Cursor)
		case taskfeed.TypeFeedReset:
			m.acceptReset(t, s, parsed)
		default:
			m.acceptEvent(t, s, &parsed.Event)
		}
		s.told = true
	}
}

func (m *model) acceptEvent(t *rapid.T, s *modelSub, got *taskfeed.Event) {
	if got.ID <= s.pos {
		t.Fatalf("event %d came at %d", got.ID, s.pos)
	}
	i := slices.IndexFunc(m.log.events, func(e taskfeed.Event) bool { return e.ID == got.ID })
	if i < 0 {
		t.Fatalf("event %d is not in the log", got.ID)
	}
	want := &m.log.events[i]
	if !s.opts.Filter.Match(want) || got.TaskID != want.TaskID || got.Type != want.Type {
		t.Fatalf("event %d is %+v, of %q; it came to %+v", got.ID, got, want.UserID, s.opts.Filter)
	}
	m.account(t, s, got.ID-1, "next event")
	s.pos = got.ID
}

func (m *model) acceptLive(t *rapid.T, s *modelSub, cursor taskfeed.Cursor) {
	head := m.Stats().Head
	if !s.opts.WantLive || s.live || cursor != max(head, s.pos) {
		t.Fatalf("feed_live at %d, asked for %t, given before %t, head %d, position %d",
			cursor, s.opts.WantLive, s.live, head, s.pos)
	}
	m.account(t, s, cursor, "feed_live")
	s.live = true
}

func (m *model) acceptReset(t *rapid.T, s *modelSub, f taskfeed.Frame) {
	head, said := m.Stats().Head, m.log.said
	justified := said.gone > 0 && said.gone >= s.pos
	if f.Reason == taskfeed.ResetAhead {
		justified = !s.told && s.opts.After != nil && said.head > 0 && *s.opts.After > said.head
	}
	if !justified || f.Cursor != head {
		t.Fatalf("reset %s to %d: position %d, head %d, the log said %+v", f.Reason, f.Cursor, s.pos, head, said)
	}
	s.pos = f.Cursor
}

// account moves the position of s and fails if that skips an event it should get.
func (m *model) account(t *rapid.T, s *modelSub, to taskfeed.Cursor, what string) {
	for i := range m.log.events {
		if e := &m.log.events[i]; e.ID > max(s.pos, s.forgiven) && e.ID <= to && s.opts.Filter.Match(e) && !m.thinned(s, e) && !m.needless(s, e) {
			t.Fatalf("%s: %d is missing between %d and %d for %+v", what, e.ID, s.pos, to, s.opts.Filter)
		}
	}
	s.pos = max(s.pos, to)
}

// thinned reports whether s may be spared an event: it is progress of a task that comes
// further in the page that Next is returning.
func (m *model) thinned(s *modelSub, e *taskfeed.Event) bool {
	replay := s.opts.WantLive && !s.live // has all
	return s.opts.Doze != nil && !replay && e.Type == taskfeed.TypeTaskProgress && slices.ContainsFunc(m.log.events, func(later taskfeed.Event) bool {
		return later.ID > e.ID && slices.Contains(s.page, later.ID) &&
			later.UserID == e.UserID && later.TaskID == e.TaskID && later.Type == e.Type
	})
}

func (m *model) check(t *rapid.T) {
	audit(t, m.Hub)
	auditLog(t, m.Hub, m.log.events)
	auditRing(t, m.ring, m.log.events)
	auditLastIDs(t, m.Hub, m.log.events)
	for _, s := range m.subs {
		m.checkOne(t, s)
	}
}

func (m *model) checkOne(t *rapid.T, s *modelSub) {
	cursor, head := s.Cursor(), m.Stats().Head
	if cursor < s.pos {
		t.Fatalf("cursor %d goes back from %d", cursor, s.pos)
	}
	m.account(t, s, cursor, "cursor")
	if at, parked := s.Parked(); parked && !s.parked {
		t.Fatalf("counts as parked at %d although the last Next returned something", at)
	} else if parked {
		m.account(t, s, at, "counts as parked")
	}
	if !s.parked {
		return
	}
	wants := func(e taskfeed.Event) bool { return e.ID > s.pos && e.ID <= head && s.opts.Filter.Match(&e) }
	switch woken, dozed := s.wakes-s.wakesThen, s.dozes-s.dozesThen; {
	case woken > 1 || dozed > 1:
		t.Fatalf("woken %d times since it parked, and told to doze %d times", woken, dozed)
	case woken == 0 && dozed > 0 && !s.jumped && slices.ContainsFunc(m.log.events, func(e taskfeed.Event) bool {
		return wants(e) && e.Type != taskfeed.TypeTaskProgress
	}):
		t.Fatalf("dozes at %d with head %d although there is more than progress", s.pos, head)
	case woken+dozed == 0:
		m.account(t, s, head, "still parked")
	case !s.jumped && !slices.ContainsFunc(m.log.events, wants):
		t.Fatalf("woken at %d with head %d for nothing", s.pos, head)
	}
}

// finish lets everybody catch up and leave.
func (m *model) finish(t *rapid.T) {
	m.Publish(m.log.events[m.published:])
	for len(m.subs) > 0 {
		s := m.subs[0]
		m.drainOne(t, s)
		m.check(t)
		if !s.closed {
			m.closeOne(s)
		}
	}
	m.check(t)
	if got := m.Stats(); got.Users+got.Subscribers+got.RecentBytes+got.Replaying+int(m.pages.Used()) != 0 || len(m.users) != 0 {
		t.Fatalf("at the end %+v and %d users, want none", got, len(m.users))
	}
}

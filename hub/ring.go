package hub

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
)

// ring keeps the latest frames of all users, connected or not, so that a client that
// was away for a short time gets what it missed without a read of the log.
//
// It holds every event of the log with floor < id <= head, and answers for cursors in
// that interval only. A jump of the head empties it. It has no pointer per frame:
// records lie in slabs, and each knows the one before it of the same bucket of users,
// or of the broadcasts. When the slabs are full, the oldest is emptied and used again.
//
// Events are added before the hub's head moves onto them, so the ring is never behind
// the hub. It may be ahead, as the log may.
type ring struct {
	seed maphash.Seed

	scratch []byte // the publisher alone uses it

	mu      sync.RWMutex // taken while the hub's mutex is held, never the other way round
	floor   taskfeed.Cursor
	head    taskfeed.Cursor
	slabs   []*slab
	first   uint64 // number of the oldest slab that may have records; slab n is slabs[n%len]
	last    uint64 // number of the slab that is being filled
	size    int    // bytes of one slab
	newest  []place
	newCast place // of the broadcasts
}

// place is where a record is: 1 + the number of its slab << 32 + its index there. Zero
// is nowhere.
type place uint64

func placeAt(slab uint64, index int) place { return place(slab<<32+uint64(index)) + 1 }

func (p place) slab() uint64 { return uint64(p-1) >> 32 }

func (p place) index() int { return int(uint32(p - 1)) }

// slab holds records in the order of their ids.
type slab struct {
	records []record
	bytes   []byte // user, type, task and frame of each record, one after the other
}

// record describes one frame.
type record struct {
	id               taskfeed.Cursor
	at               int64 // Unix microseconds of the event
	before           place // the record before it in the same bucket, or of the broadcasts
	start, end       uint32
	user, kind, task uint16 // lengths
}

func (r *record) size() int { return int(r.end - r.start) }

const (
	recordBytes = 48      // memory of a record besides its bytes
	maxSlab     = 1 << 20 // holds the largest frame, of about 300,000 bytes
	minSlabs    = 4
	bucketBytes = 512 // of the ring, for each bucket of users

	// maxWalk is how many records one read passes; one that would pass more is left to
	// the log.
	maxWalk = 20_000
)

// newRing returns a ring of about this many bytes. One of 0 bytes holds nothing.
func newRing(bytes int) *ring {
	r := &ring{seed: maphash.MakeSeed()}
	if bytes <= 0 {
		return r
	}
	r.size = min(maxSlab, max(1, bytes/minSlabs))
	r.slabs = make([]*slab, max(minSlabs, bytes/r.size))
	for i := range r.slabs {
		r.slabs[i] = new(slab)
	}
	buckets := 1
	for buckets*bucketBytes < bytes {
		buckets *= 2
	}
	r.newest = make([]place, buckets)
	return r
}

func (r *ring) on() bool { return len(r.slabs) > 0 }

// add appends the log's next event. frame is nil when nobody has encoded the event yet.
// It takes one caller at a time, and skips events up to the head.
func (r *ring) add(e *taskfeed.Event, frame *Frame) {
	if !r.on() || e.ID <= r.head { // only the publisher changes the head
		return
	}
	body := r.scratch[:0]
	if frame != nil {
		body = frame.Bytes
	} else {
		body = taskfeed.AppendFrame(body, e)
		if cap(body) <= maxSlab/16 {
			r.scratch = body
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = e.ID
	n := len(e.UserID) + len(e.Type) + len(e.TaskID) + len(body)
	s := r.slabs[r.last%uint64(len(r.slabs))]
	if len(s.records) > 0 && s.used()+n+recordBytes > r.size {
		s = r.turn()
	}
	if n+recordBytes > r.size {
		r.clear(e.ID)
		return
	}
	p := placeAt(r.last, len(s.records))
	before := r.chain(e.UserID)
	if s.bytes == nil {
		s.bytes = make([]byte, 0, r.size)
	}
	start := len(s.bytes)
	s.bytes = append(s.bytes, e.UserID...)
	s.bytes = append(s.bytes, e.Type...)
	s.bytes = append(s.bytes, e.TaskID...)
	s.bytes = append(s.bytes, body...)
	s.records = append(s.records, record{
		id: e.ID, at: e.Timestamp.UnixMicro(), before: *before,
		start: uint32(start), end: uint32(len(s.bytes)),
		user: uint16(len(e.UserID)), kind: uint16(len(e.Type)), task: uint16(len(e.TaskID)),
	})
	*before = p
}

func (s *slab) used() int { return len(s.bytes) + len(s.records)*recordBytes }

// turn begins the next slab. If it has records, they are the oldest, and are dropped.
func (r *ring) turn() *slab {
	r.last++
	s := r.slabs[r.last%uint64(len(r.slabs))]
	if n := len(s.records); n > 0 {
		r.floor = s.records[n-1].id
		r.first++
	}
	s.records, s.bytes = s.records[:0], s.bytes[:0]
	return s
}

// chain returns the variable that holds the newest place of the user's bucket, or of
// the broadcasts.
func (r *ring) chain(userID string) *place {
	if userID == "" {
		return &r.newCast
	}
	return &r.newest[maphash.String(r.seed, userID)%uint64(len(r.newest))]
}

// jump tells the ring that the log may have events up to head that were not added.
func (r *ring) jump(head taskfeed.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if head > r.head {
		r.clear(head)
	}
}

// advance tells the ring that the log has no more events up to head.
func (r *ring) advance(head taskfeed.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = max(r.head, head)
}

// forget drops all frames.
func (r *ring) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear(r.head)
}

// clear drops all frames and goes on from the head.
func (r *ring) clear(head taskfeed.Cursor) {
	r.floor, r.head = head, head
	if !r.on() {
		return
	}
	for _, s := range r.slabs {
		s.records, s.bytes = s.records[:0], nil
	}
	r.last++ // all earlier places become invalid
	r.first = r.last
}

// covers reports whether the ring has all events after the cursor.
func (r *ring) covers(after taskfeed.Cursor) bool {
	if !r.on() {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.complete(after)
}

// complete is covers for a caller that holds mu. Cursor 0 stands for everything that is
// kept, which only the log knows.
func (r *ring) complete(after taskfeed.Cursor) bool {
	return after > 0 && after >= r.floor && after <= r.head
}

// after returns the first frames after the cursor that match the filter, oldest first.
// They are complete up to through. If ok is false, the log must be read.
func (r *ring) after(f *taskfeed.Filter, after taskfeed.Cursor) (page []*Frame, through taskfeed.Cursor, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if !r.complete(after) {
		return nil, 0, false
	}
	var places []place
	var more bool
	if f.All {
		places, more = r.following(after)
	} else if places, more, ok = r.walk(f, after); !ok {
		return nil, 0, false
	}
	taken, through := r.cut(places)
	if !more && taken == len(places) {
		through = r.head
	}
	return r.frames(places[:taken], f), through, true
}

// cut returns how many of the places make a page, and the id of the last one.
func (r *ring) cut(places []place) (taken int, through taskfeed.Cursor) {
	for size := 0; taken < len(places) && size < pageBytes; taken++ {
		rec := r.record(places[taken])
		size += rec.size()
		through = rec.id
	}
	return taken, through
}

// record returns the record at a place, nil when it is nowhere or gone.
func (r *ring) record(p place) *record {
	if p == 0 || p.slab() < r.first {
		return nil
	}
	return &r.slabs[p.slab()%uint64(len(r.slabs))].records[p.index()]
}

// strand is the records of one user or group, or the broadcasts, from the newest on.
type strand struct {
	user string
	at   place
	rec  *record // at that place; nil at the end
}

// walk finds the first pageFrames places after the cursor of the filter's feeds and of
// the broadcasts, in the order of their ids. It goes from the newest back to the cursor.
func (r *ring) walk(f *taskfeed.Filter, after taskfeed.Cursor) (places []place, more, ok bool) {
	var memory [4]strand
	strands := append(memory[:0], strand{user: f.UserID}, strand{}) // the second for the broadcasts
	for _, id := range f.Feeds {
		strands = append(strands, strand{user: id})
	}
	step := func(s *strand, to place) {
		if s.at, s.rec = to, r.record(to); s.rec != nil && s.rec.id <= after {
			s.rec = nil
		}
	}
	for i := range strands {
		step(&strands[i], *r.chain(strands[i].user))
	}
	var seen compaction
	if f.Compact {
		seen = make(compaction)
	}
	for steps := 0; ; steps++ {
		s := newest(strands)
		if s == nil {
			break
		}
		if steps == maxWalk {
			return nil, false, false
		}
		if r.isOf(s.at, s.rec, s.user) && (!f.Compact || r.matters(s, f, seen)) { // users share buckets
			places = append(places, s.at)
		}
		step(s, s.rec.before)
	}
	if more = len(places) > pageFrames; more {
		places = places[len(places)-pageFrames:]
	}
	slices.Reverse(places)
	return places, more, true
}

// newest returns the strand that has come the least way back, nil when all have ended.
func newest(strands []strand) (latest *strand) {
	for i := range strands {
		if s := &strands[i]; s.rec != nil && (latest == nil || s.rec.id > latest.rec.id) {
			latest = s
		}
	}
	return latest
}

// matters reports whether a record belongs to a page that holds no more than is needed.
func (r *ring) matters(s *strand, f *taskfeed.Filter, seen compaction) bool {
	var frame Frame
	r.describe(s.at, &frame, &Frame{UserID: s.user})
	return f.Match(&taskfeed.Event{UserID: s.user, TaskID: frame.TaskID, Type: frame.Type}) && seen.matters(s.user, frame.TaskID, frame.Type)
}

func (r *ring) isOf(p place, rec *record, userID string) bool {
	b := r.slabs[p.slab()%uint64(len(r.slabs))].bytes
	return string(b[rec.start:rec.start+uint32(rec.user)]) == userID
}

// following returns the first pageFrames places after the cursor.
func (r *ring) following(after taskfeed.Cursor) (places []place, more bool) {
	for n := r.first; n <= r.last; n++ {
		records := r.slabs[n%uint64(len(r.slabs))].records
		i, _ := slices.BinarySearchFunc(records, after+1, func(rec record, id taskfeed.Cursor) int { return cmp.Compare(rec.id, id) })
		for ; i < len(records); i++ {
			if len(places) == pageFrames {
				return places, true
			}
			places = append(places, placeAt(n, i))
		}
	}
	return places, false
}

// frames copies the frames at these places that the filter selects.
func (r *ring) frames(places []place, f *taskfeed.Filter) []*Frame {
	size := 0
	for _, p := range places {
		size += r.record(p).size()
	}
	memory := make([]Frame, len(places)+1)
	memory[0].UserID = f.UserID // likely the first frame's too
	bytes := make([]byte, 0, size)
	page := make([]*Frame, 0, len(places))
	for i, p := range places {
		frame, previous := &memory[i+1], &memory[i]
		body := r.describe(p, frame, previous)
		if f.Match(&taskfeed.Event{UserID: frame.UserID, TaskID: frame.TaskID, Type: frame.Type}) {
			from := len(bytes)
			bytes = append(bytes, body...)
			frame.Bytes = bytes[from:len(bytes):len(bytes)]
			page = append(page, frame)
		}
	}
	return page
}

// describe fills in the frame at a place, except its bytes, which it returns. Strings
// that the previous frame has too are shared.
func (r *ring) describe(p place, frame, previous *Frame) (body []byte) {
	s, rec := r.slabs[p.slab()%uint64(len(r.slabs))], r.record(p)
	body = s.bytes[rec.start:rec.end]
	text := func(n uint16, like string) string {
		b := body[:n]
		body = body[n:]
		if string(b) == like {
			return like
		}
		return string(b)
	}
	frame.ID, frame.Timestamp, frame.Replayed = rec.id, time.UnixMicro(rec.at), true
	frame.UserID = text(rec.user, previous.UserID)
	frame.Type = taskfeed.Type(text(rec.kind, string(previous.Type)))
	frame.TaskID = text(rec.task, previous.TaskID)
	return body
}

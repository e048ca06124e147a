package feeds

import "sync"

// turns runs the short work of many sockets, such as the writes of an event that all of
// them get, one after the other on a few goroutines. A goroutine for each piece of work
// would grow its stack each time, which costs a quarter of what the write costs. Work that
// has to wait yields: it keeps its goroutine, and the others go on in another one.
type turns struct {
	most int // goroutines that have not yielded

	mu      sync.Mutex
	queue   []func(*turn)
	first   int // index in queue of the work to do next
	working int // goroutines that have not yielded
}

// keepQueue is the longest queue whose memory is kept for the next one.
const keepQueue = 1024

// start has the work done soon. It does not block.
func (t *turns) start(work func(*turn)) {
	t.mu.Lock()
	t.queue = append(t.queue, work)
	free := t.working < t.most
	if free {
		t.working++
	}
	t.mu.Unlock()
	if free {
		go t.run()
	}
}

func (t *turns) run() {
	current := turn{turns: t}
	for work := t.next(); work != nil; work = t.next() {
		work(&current)
		if current.yielded {
			return
		}
	}
}

// next takes work from the queue. If there is none, it returns nil and the caller's
// goroutine ends.
func (t *turns) next() (work func(*turn)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first < len(t.queue) {
		work, t.queue[t.first] = t.queue[t.first], nil
		t.first++
		if t.first > keepQueue && t.first > len(t.queue)/2 { // it may never become empty
			rest := copy(t.queue, t.queue[t.first:])
			clear(t.queue[rest:])
			t.queue, t.first = t.queue[:rest], 0
		}
		return work
	}
	t.working--
	t.queue, t.first = t.queue[:0], 0
	if cap(t.queue) > keepQueue {
		t.queue = nil
	}
	return nil
}

// turn is a goroutine's part in turns. A nil turn is one of a goroutine that may wait.
type turn struct {
	turns   *turns
	yielded bool
}

// yield is called before the work may wait. Further calls do nothing.
func (t *turn) yield() {
	if t != nil && !t.yielded {
		t.yielded = true
		go t.turns.run()
	}
}

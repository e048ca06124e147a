package client

import (
	"fmt"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
)

// markEvery is the least time between two read marks that are sent.
const markEvery = time.Second

// MarkRead says that the user has read everything up to an event. It does not wait: the
// mark is sent over Run's connection, at most once a second, and again over the next one.
// The server moves a mark forward only. It may be called from the handler and
// concurrently.
//
// Config.Unread asks how much is unread. Config.OnFrame hears of marks that other
// connections of the user have moved (feed_read), and of refusals (feed_read_refused).
func (f *Feed) MarkRead(through taskfeed.Cursor) {
	f.reading.move(through)
	f.outbox.wake()
}

// reading is how far the user has read, as the program says.
type reading struct {
	mu   sync.Mutex
	mark taskfeed.Cursor
	sent taskfeed.Cursor // over the connection on
	on   *session
	at   time.Time // when it was sent last
}

func (r *reading) move(through taskfeed.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mark = max(r.mark, through)
}

// next returns the mark to send over the connection now, or else how long until one may
// be sent, 0 when there is none.
func (r *reading) next(s *session) (text []byte, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on != s {
		r.on, r.sent, r.at = s, 0, time.Time{}
	}
	if r.mark == r.sent {
		return nil, 0
	}
	if left := markEvery - time.Since(r.at); left > 0 {
		return nil, left
	}
	r.sent, r.at = r.mark, time.Now()
	return fmt.Appendf(nil, `{"type":"read","through":%d}`, r.mark), 0
}

// sooner returns the shorter of two waits; 0 is for ever.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

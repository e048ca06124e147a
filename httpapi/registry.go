package httpapi

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
)

// Connection describes one open connection.
type Connection struct {
	ID         string          `json:"id"` // unique among all servers
	UserID     string          `json:"user_id"`
	Transport  string          `json:"transport"` // websocket or sse
	Since      time.Time       `json:"since"`
	RemoteAddr string          `json:"remote_addr"` // of the client; see Config.TrustedProxies
	Cursor     taskfeed.Cursor `json:"cursor"`      // the last event handed to the connection
	BytesSent  int64           `json:"bytes_sent"`
}

// member is an open connection as the registry sees it.
type member interface {
	// user is whose connection it is. It does not block.
	user() string
	// describe returns all but the ID.
	describe() Connection
	// end closes the connection with a code and a reason. It does not block.
	end(code int, reason string)
	// due is when tick wants to be called, on the server's clock. It does not block.
	due() time.Duration
	// tick does what is due. It does not block.
	tick(now time.Duration)
}

// registry knows the open connections, and counts those that still have a
// goroutine, which also the closing and the refused ones have. It is safe for
// concurrent use; of a member it calls only user and due while it holds its mutex.
type registry struct {
	prefix string // of connection ids: this server's own

	mu      sync.Mutex
	members map[uint64]member
	lastID  uint64
	running int
	closed  bool          // no more may enter
	idle    chan struct{} // closed when closed and nothing is running
}

func newRegistry(prefix string) *registry {
	return &registry{prefix: prefix, members: make(map[uint64]member), idle: make(chan struct{})}
}

// enter counts a connection that is about to have goroutines and numbers it,
// unless the registry is closed. leave undoes it.
func (r *registry) enter() (id uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, false
	}
	r.running++
	r.lastID++
	return r.lastID, true
}

// leave says that a connection that entered has no goroutine any more.
func (r *registry) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	r.signalIdle()
}

func (r *registry) signalIdle() {
	if r.closed && r.running == 0 {
		close(r.idle)
	}
}

// close lets nobody enter any more and returns those that are open. It is
// called once.
func (r *registry) close() []member {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.signalIdle()
	open := make([]member, 0, len(r.members))
	for _, m := range r.members {
		open = append(open, m)
	}
	return open
}

// isClosed reports whether close was called.
func (r *registry) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// add lists an open connection that has entered. It reports false when the
// registry was closed in between.
func (r *registry) add(id uint64, m member) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.members[id] = m
	return true
}

// remove takes a connection from the list; it may have gone before.
func (r *registry) remove(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, id)
}

// name is a connection's number as outsiders see it.
func (r *registry) name(id uint64) string {
	return fmt.Sprintf("%s-%d", r.prefix, id)
}

// number undoes name. It reports false for what is no name of this server's.
func (r *registry) number(name string) (id uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, r.prefix+"-")
	id, err := strconv.ParseUint(digits, 10, 64)
	return id, ok && err == nil
}

// find returns the connection with this name, or nil.
func (r *registry) find(name string) member {
	id, ok := r.number(name)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[id]
}

// ofUser returns the connections of a user.
func (r *registry) ofUser(userID string) []member {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []member
	for _, m := range r.members {
		if m.user() == userID {
			found = append(found, m)
		}
	}
	return found
}

// dueBy returns the connections that have something to do by now.
func (r *registry) dueBy(now time.Duration) []member {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []member
	for _, m := range r.members {
		if m.due() <= now {
			found = append(found, m)
		}
	}
	return found
}

// list describes the open connections, in no order.
func (r *registry) list() []Connection {
	r.mu.Lock()
	open := make(map[uint64]member, len(r.members))
	for id, m := range r.members {
		open[id] = m
	}
	r.mu.Unlock()
	list := make([]Connection, 0, len(open))
	for id, m := range open {
		c := m.describe()
		c.ID = r.name(id)
		list = append(list, c)
	}
	return list
}

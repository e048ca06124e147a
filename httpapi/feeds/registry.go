package feeds

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
)

// Connection describes one connection.
type Connection struct {
	ID         string          `json:"id"`                    // unique among all servers
	UserID     string          `json:"user_id"`               // of the token
	Watches    string          `json:"watches,omitempty"`     // whose feed it is, where an admin watches another's
	WatchesAll bool            `json:"watches_all,omitempty"` // an admin watches everybody
	Feeds      []string        `json:"feeds,omitempty"`       // of groups
	Client     string          `json:"client,omitempty"`      // its name
	Transport  string          `json:"transport"`             // websocket or sse
	Since      time.Time       `json:"since"`
	Until      time.Time       `json:"until,omitzero"` // zero while it is open
	RemoteAddr string          `json:"remote_addr"`    // of the client; see Config.TrustedProxies
	Cursor     taskfeed.Cursor `json:"cursor"`         // the last event handed to the connection
	BytesSent  int64           `json:"bytes_sent"`
	ServerName string          `json:"server_name,omitempty"` // of the server that it is on
}

// member is an open connection as the registry sees it.
type member interface {
	// user is whose connection it is. It does not block.
	user() string
	// ownFeed returns the subscriber, nil where the feed is not the user's own. It does not
	// block.
	ownFeed() *hub.Subscriber
	// describe returns all but ID and Until.
	describe() Connection
	// end closes the connection with a code and a reason. It does not block.
	end(code int, reason string)
	// due is when tick wants to be called, on the clock of connections. It does not block.
	due() time.Duration
	// tick does what is due. It does not block.
	tick(now time.Duration)
}

// keepEnded is how many of the connections that ended a server remembers.
const keepEnded = 1000

// pastConnection is a connection that ended, and its number.
type pastConnection struct {
	id uint64
	Connection
}

// registry knows the open connections and the last ones that ended. It also counts the
// connections that have a goroutine, closing and refused ones included. It is safe for
// concurrent use. While it holds its mutex it calls only user and due of a member.
type registry struct {
	prefix string // of connection ids: this server's own

	mu      sync.Mutex
	members map[uint64]member
	ended   []pastConnection // at most keepEnded, in no order
	oldest  int              // index in ended of the one to forget first, once it is full
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

// close refuses new connections and returns how many connections are open. It is
// called once.
func (r *registry) close() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.signalIdle()
	return len(r.members)
}

// all returns the open connections.
func (r *registry) all() []member {
	r.mu.Lock()
	defer r.mu.Unlock()
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

// remove takes a connection from the list, and remembers it for a while; it may
// have gone before.
func (r *registry) remove(id uint64) {
	r.mu.Lock()
	m := r.members[id]
	delete(r.members, id)
	r.mu.Unlock()
	if m == nil {
		return
	}
	past := pastConnection{id, r.describe(id, m)}
	past.Until = time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ended) < keepEnded {
		r.ended = append(r.ended, past)
		return
	}
	r.ended[r.oldest] = past
	r.oldest = (r.oldest + 1) % keepEnded
}

// describe returns the description of an open connection.
func (r *registry) describe(id uint64, m member) Connection {
	c := m.describe()
	c.ID, c.Since = r.name(id), c.Since.UTC()
	return c
}

// name is a connection's number as outsiders see it.
func (r *registry) name(id uint64) string {
	return fmt.Sprintf("%s-%d", r.prefix, id)
}

// number is the inverse of name. It reports false for a name that this server does not
// give.
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

// count returns how many connections page has in all.
func (r *registry) count(userID string, ended bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		if userID == "" || m.user() == userID {
			n++
		}
	}
	for _, past := range r.ended {
		if ended && (userID == "" || past.UserID == userID) {
			n++
		}
	}
	return n
}

// page describes at most limit connections after the one with a number, of one
// user where there is an id, by ascending number, and says whether there are
// more. Those that ended are among them if ended is true.
func (r *registry) page(userID string, ended bool, after uint64, limit int) (page []Connection, more bool) {
	type numbered struct {
		pastConnection
		open member // nil: it ended
	}
	var found []numbered
	r.mu.Lock()
	for id, m := range r.members {
		if id > after && (userID == "" || m.user() == userID) {
			found = append(found, numbered{pastConnection{id: id}, m})
		}
	}
	for _, past := range r.ended {
		if ended && past.id > after && (userID == "" || past.UserID == userID) {
			found = append(found, numbered{past, nil})
		}
	}
	r.mu.Unlock()
	slices.SortFunc(found, func(a, b numbered) int { return cmp.Compare(a.id, b.id) })
	more = len(found) > limit
	page = request.Map(found[:min(len(found), limit)], func(n numbered) Connection {
		if n.open == nil {
			return n.Connection
		}
		return r.describe(n.id, n.open)
	})
	return page, more
}

// connectionIDForm matches the ids that servers give to connections.
var connectionIDForm = regexp.MustCompile(`^[a-z2-7]{8}-[1-9][0-9]{0,18}$`)

// IsConnectionID reports whether some server may have given a connection this id.
func IsConnectionID(id string) bool { return connectionIDForm.MatchString(id) }

package feeds

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Clients is where the cursors of named clients are kept; *store.Store provides it. All of
// it returns CodeUnavailable while the database is away.
type Clients interface {
	// TakeClient gives a connection the right to move a client's cursor, which it takes
	// from the client's other connections, and returns where the cursor is: at after, if
	// given; else where it was, and at head for a new client. It returns
	// CodeTooManyClients where the user has no room for a new one.
	TakeClient(ctx context.Context, userID, name string, after *taskfeed.Cursor, head taskfeed.Cursor) (through taskfeed.Cursor, turn int64, err error)
	// MoveClients moves cursors forward. It names no client twice.
	MoveClients(ctx context.Context, marks []taskfeed.ClientMark) error
	// Clients returns the named clients of a user.
	Clients(ctx context.Context, userID string) ([]taskfeed.NamedClient, error)
}

const (
	// clientInterval is the least time between two writes of marks of clients.
	clientInterval = time.Second
	// clientBatch is how many marks one write has; the rest waits for the next one.
	clientBatch = 10_000
)

// clientMarks are the marks of named clients that wait to be written, one for each client.
// It is safe for concurrent use.
type clientMarks struct {
	mu      sync.Mutex
	waiting map[clientKey]taskfeed.ClientMark
}

type clientKey struct{ user, name string }

func newClientMarks() *clientMarks {
	return &clientMarks{waiting: make(map[clientKey]taskfeed.ClientMark)}
}

// add has a mark written with the next write, unless a later connection has one.
func (m *clientMarks) add(mark taskfeed.ClientMark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := clientKey{mark.UserID, mark.Name}
	waits, ok := m.waiting[key]
	switch {
	case ok && waits.Turn > mark.Turn:
		return
	case ok && waits.Turn == mark.Turn:
		mark.Through = max(mark.Through, waits.Through)
		mark.Gone = mark.Gone || waits.Gone
	}
	m.waiting[key] = mark
}

// take takes the marks of one write.
func (m *clientMarks) take() (marks []taskfeed.ClientMark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) <= clientBatch {
		marks = slices.Collect(maps.Values(m.waiting))
		clear(m.waiting)
		return marks
	}
	for key, mark := range m.waiting {
		if len(marks) == clientBatch {
			break
		}
		marks = append(marks, mark)
		delete(m.waiting, key)
	}
	return marks
}

// KeepClients writes what has arrived at named clients until ctx is done, and then the
// rest.
func (f *Feeds) KeepClients(ctx context.Context) {
	if f.deps.Clients == nil {
		return
	}
	ticker := time.NewTicker(clientInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, stop := context.WithTimeout(context.Background(), flushTime)
			defer stop()
			f.writeClients(last)
			return
		case <-ticker.C:
			f.writeClients(ctx)
		}
	}
}

// writeClients writes the marks that wait. Those that could not be written wait again, if
// that may help: the cursor of a client may be behind, never ahead.
func (f *Feeds) writeClients(ctx context.Context) {
	marks := f.clients.take()
	if len(marks) == 0 {
		return
	}
	err := f.deps.Clients.MoveClients(ctx, marks)
	if err == nil {
		return
	}
	f.log.Warn("cursors of clients not written", "clients", len(marks), "error", err)
	if taskfeed.CodeOf(err) == taskfeed.CodeUnavailable {
		for _, mark := range marks {
			f.clients.add(mark)
		}
	}
}

// clientName reads the parameter client; empty when the client has no name.
func (f *Feeds) clientName(p *request.Params) string {
	name, ok := p.One("client")
	switch {
	case !ok:
	case !taskfeed.ValidClientName(name):
		p.Refuse("client", "must be a letter or digit, then letters, digits and _ . : -, 64 at most")
	case f.deps.Clients == nil:
		p.Refuse("client", "is not known to this server, which keeps no cursors of clients")
	}
	return name
}

// takeClient finds out where a named client goes on, if it does not say so itself, and
// returns the connection's right to move its cursor.
func (f *Feeds) takeClient(ctx context.Context, hs *handshake, principal auth.Principal) (*arrival, error) {
	head, after := f.deps.Hub.Stats().Head, hs.after
	if after != nil {
		after = new(min(*after, head))
	}
	through, turn, err := f.deps.Clients.TakeClient(ctx, principal.UserID, hs.client, after, head)
	if err != nil {
		return nil, err
	}
	if hs.after == nil {
		hs.after = &through
	}
	return newArrival(taskfeed.ClientTurn{UserID: principal.UserID, Name: hs.client, Turn: turn}, f.now()), nil
}

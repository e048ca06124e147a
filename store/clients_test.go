package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

// takeClient connects a client without a cursor of its own.
func takeClient(t *testing.T, s *store.Store, user, name string, head taskfeed.Cursor) (through taskfeed.Cursor, turn int64) {
	t.Helper()
	through, turn, err := s.TakeClient(t.Context(), user, name, nil, head)
	if err != nil {
		t.Fatalf("take %s of %s: %v", name, user, err)
	}
	return through, turn
}

func clientMark(user, name string, turn int64, through taskfeed.Cursor) taskfeed.ClientMark {
	return taskfeed.ClientMark{ClientTurn: taskfeed.ClientTurn{UserID: user, Name: name, Turn: turn}, Through: through}
}

func moveClients(t *testing.T, s *store.Store, marks ...taskfeed.ClientMark) {
	t.Helper()
	if err := s.MoveClients(t.Context(), marks); err != nil {
		t.Fatalf("move %v: %v", marks, err)
	}
}

// clientsOf prints a user's clients: where each is, and its deliveries.
func clientsOf(t *testing.T, s *store.Store, user string) string {
	t.Helper()
	clients, err := s.Clients(t.Context(), user)
	if err != nil {
		t.Fatalf("list clients: %v", err)
	}
	var lines []string
	for _, c := range clients {
		line := fmt.Sprintf("%s %d", c.Name, c.Cursor)
		if c.Connected {
			line += " there"
		}
		for i, d := range c.Deliveries {
			line += fmt.Sprintf(" %d", d.Through)
			if d.At.IsZero() || i > 0 && d.At.Before(c.Deliveries[i-1].At) {
				t.Errorf("deliveries %+v are not in the order of their times", c.Deliveries)
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func wantClients(t *testing.T, s *store.Store, user, want string) {
	t.Helper()
	if got := clientsOf(t, s, user); got != want {
		t.Errorf("clients of %s: got %q, want %q", user, got, want)
	}
}

// A new client begins at the head, and one that comes back where it was. Its cursor moves
// forward only, unless it says itself where it is.
func TestClientsKeepTheirCursor(t *testing.T) {
	t.Parallel()
	f := setup(t)
	through, turn := takeClient(t, f.store, "alice", "web", 7)
	if through != 7 || turn != 1 {
		t.Errorf("a new client: at %d with turn %d, want at the head, 7, with turn 1", through, turn)
	}
	moveClients(t, f.store, clientMark("alice", "web", 1, 9), clientMark("bob", "web", 1, 9))
	moveClients(t, f.store, clientMark("alice", "web", 1, 8))
	wantClients(t, f.store, "alice", "web 9 there 9")
	wantClients(t, f.store, "bob", "") // who has no such client
	gone := clientMark("alice", "web", 1, 12)
	gone.Gone = true
	moveClients(t, f.store, gone)
	wantClients(t, f.store, "alice", "web 12 9 12")
	if through, turn = takeClient(t, f.store, "alice", "web", 20); through != 12 || turn != 2 {
		t.Errorf("it comes back: at %d with turn %d, want at 12 with turn 2", through, turn)
	}
	through, _, err := f.store.TakeClient(t.Context(), "alice", "web", new(taskfeed.Cursor(5)), 20)
	if err != nil || through != 5 {
		t.Errorf("it comes back with a cursor: at %d, %v, want 5", through, err)
	}
	wantClients(t, f.store, "alice", "web 5 there 9 12")
}

// The connection that came last moves the cursor: what an earlier one has got, the last
// one may not have.
func TestLastConnectionMovesTheCursor(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, first := takeClient(t, f.store, "alice", "web", 1)
	_, second := takeClient(t, f.store, "alice", "web", 1)
	gone := clientMark("alice", "web", first, 50)
	gone.Gone = true
	moveClients(t, f.store, clientMark("alice", "web", second, 3))
	moveClients(t, f.store, gone)
	wantClients(t, f.store, "alice", "web 3 there 3")
}

func TestClientsAreBounded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range taskfeed.MaxClients {
		takeClient(t, f.store, "alice", fmt.Sprint("c", i), 1)
	}
	_, _, err := f.store.TakeClient(t.Context(), "alice", "one more", nil, 1)
	wantCode(t, err, taskfeed.CodeTooManyClients)
	takeClient(t, f.store, "alice", "c7", 1)
	takeClient(t, f.store, "bob", "one more", 1)
	_, _, err = f.store.TakeClient(t.Context(), "a\x00", "web", nil, 1)
	wantCode(t, err, taskfeed.CodeBadRequest)
}

// The delivery log of a client that gets something each second is bounded and goes back
// to the beginning, and says when it had an event up to a good part of the time since.
func TestDeliveriesAreThinned(t *testing.T) {
	t.Parallel()
	f := setup(t)
	takeClient(t, f.store, "alice", "web", 0)
	const seconds = 1200
	for i := range seconds {
		exec(t, f.app, `UPDATE taskfeed.clients SET marked_at = ARRAY(SELECT at - interval '1 second' FROM unnest(marked_at) WITH ORDINALITY AS u (at, place) ORDER BY place)`)
		moveClients(t, f.store, clientMark("alice", "web", 1, taskfeed.Cursor(1+i)))
	}
	clients, err := f.store.Clients(t.Context(), "alice")
	if err != nil || len(clients) != 1 {
		t.Fatalf("clients %+v, %v", clients, err)
	}
	kept := clients[0].Deliveries
	if n := len(kept); n > 128 || kept[0].Through != 1 || kept[n-1].Through != seconds {
		t.Errorf("%d deliveries from %d to %d, want at most 128 from 1 to %d", n, kept[0].Through, kept[n-1].Through, seconds)
	}
	for i := range kept[1:] {
		if gap, age := kept[i+1].Through-kept[i].Through, seconds-kept[i].Through; gap > 1+age*2/5 {
			t.Errorf("no delivery between %d and %d of %d seconds", kept[i].Through, kept[i+1].Through, seconds)
		}
	}
}

// A client that is there is seen while nothing comes, and is forgotten when it was away
// for as long as events are kept.
func TestClientsAreForgotten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, name := range []string{"away", "back", "there"} {
		takeClient(t, f.store, "alice", name, 3)
	}
	exec(t, f.app, `UPDATE taskfeed.clients SET seen_at = seen_at - interval '49 hours', seen_hour = seen_hour - interval '49 hours'`)
	wantClients(t, f.store, "alice", "away 3, back 3, there 3")
	takeClient(t, f.store, "alice", "back", 9)
	moveClients(t, f.store, clientMark("alice", "there", 1, 3))
	wantClients(t, f.store, "alice", "away 3, back 3 there, there 3 there")
	maintain(t, f, 0)
	wantClients(t, f.store, "alice", "away 3, back 3 there, there 3 there")
	maintain(t, f, 48*time.Hour)
	wantClients(t, f.store, "alice", "back 3 there, there 3 there")
	if _, err := f.store.Forget(t.Context(), "alice", 10); err != nil {
		t.Fatalf("forget: %v", err)
	}
	moveClients(t, f.store, clientMark("alice", "there", 1, 30)) // it is still connected
	wantClients(t, f.store, "alice", "")
}

// Servers that move the cursors of the same clients at once do not wait for each other in
// a circle.
func TestClientsOfManyServers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 50 {
		takeClient(t, f.store, fmt.Sprint("u", i), "web", 0)
	}
	var wg sync.WaitGroup
	for server := range 4 {
		wg.Go(func() {
			for round := range 25 {
				var marks []taskfeed.ClientMark
				for i := range 50 {
					marks = append(marks, clientMark(fmt.Sprint("u", (i*7+server*13)%50), "web", 1, taskfeed.Cursor(1+round*4+server)))
				}
				if err := f.store.MoveClients(t.Context(), marks); err != nil {
					t.Errorf("move: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, user := range []string{"u0", "u49"} {
		if got := clientsOf(t, f.store, user); !strings.HasPrefix(got, "web 100 there") {
			t.Errorf("client of %s: %s, want it at 100", user, got)
		}
	}
}

package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

// marksOf returns where the marks of users are.
func marksOf(t *testing.T, s *store.Store, users ...string) string {
	t.Helper()
	marks, err := s.Marks(t.Context(), users)
	if err != nil {
		t.Fatalf("read marks: %v", err)
	}
	return printMarks(marks)
}

func printMarks(marks []taskfeed.Mark) string {
	var lines []string
	for _, m := range marks {
		lines = append(lines, fmt.Sprintf("%s %d", m.UserID, m.Through))
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

func TestMarksMoveForwardOnly(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, c := range []struct {
		marks []taskfeed.Mark
		want  string
	}{
		{[]taskfeed.Mark{{UserID: "bob", Through: 7}, {UserID: "alice", Through: 5}}, "alice 5, bob 7"},
		{[]taskfeed.Mark{{UserID: "alice", Through: 3}, {UserID: "bob", Through: 8}}, "alice 5, bob 8"},
		{[]taskfeed.Mark{{UserID: "alice", Through: 5}}, "alice 5"},
		{nil, ""},
	} {
		now, err := f.store.MoveMarks(t.Context(), c.marks, "here")
		if got := printMarks(now); err != nil || got != c.want {
			t.Errorf("move %v: got %s, %v, want %s", c.marks, got, err, c.want)
		}
	}
	if got, want := marksOf(t, f.store, "alice", "bob", "carol"), "alice 5, bob 8"; got != want {
		t.Errorf("marks %s, want %s", got, want)
	}
	if _, err := f.store.MoveMarks(t.Context(), []taskfeed.Mark{{UserID: "a\x00", Through: 1}}, "here"); taskfeed.CodeOf(err) != taskfeed.CodeBadRequest {
		t.Errorf("a bad id: %v, want %s", err, taskfeed.CodeBadRequest)
	}
}

// Servers that move the marks of the same users at once do not wait for each other in a
// circle, and the greatest counts.
func TestMarksOfManyServers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var wg sync.WaitGroup
	for server := range 4 {
		wg.Go(func() {
			for round := range 25 {
				marks := make([]taskfeed.Mark, 0, 50)
				for user := range 50 {
					marks = append(marks, taskfeed.Mark{UserID: fmt.Sprint("u", (user*7+server*13)%50), Through: taskfeed.Cursor(1 + round*4 + server)})
				}
				if _, err := f.store.MoveMarks(t.Context(), marks, "here"); err != nil {
					t.Errorf("move: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got, want := marksOf(t, f.store, "u0", "u49"), "u0 100, u49 100"; got != want {
		t.Errorf("marks %s, want %s", got, want)
	}
}

// A session hears of marks while it waits, tells who watches, and waits on.
func TestMarksAreTold(t *testing.T) {
	t.Parallel()
	f := setup(t)
	exec(t, f.session.Conn(), "LISTEN taskfeed")
	other := openStore(t, store.Config{URL: f.url})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told := make(chan string, 10)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		_ = f.store.WatchMarks(ctx, func(_ context.Context, server string, users []string) {
			if len(users) == 1 {
				told <- server + " " + users[0]
				return
			}
			told <- fmt.Sprintf("%s %d users", server, len(users))
		})
	})
	rang := make(chan string, 1)
	wg.Go(func() {
		rung, err := f.session.Wait(ctx, 30*time.Second)
		rang <- fmt.Sprint(rung, err)
	})
	exec(t, f.app, `SELECT pg_notify('taskfeed_read', 'no JSON')`)
	many := []taskfeed.Mark{}
	for i := range 100 {
		many = append(many, taskfeed.Mark{UserID: strings.Repeat(`"`, 200) + fmt.Sprint(i), Through: 1})
	}
	for _, marks := range [][]taskfeed.Mark{{{UserID: "alice", Through: 1}}, many} {
		if _, err := other.MoveMarks(t.Context(), marks, "there"); err != nil {
			t.Fatalf("move: %v", err)
		}
	}
	if got := <-told; got != "there alice" {
		t.Errorf("told %q, want of alice", got)
	}
	for users := 0; users < len(many); {
		n := 0
		if _, err := fmt.Sscanf(<-told, "there %d users", &n); err != nil || n == 0 {
			t.Fatalf("told of %d users: %v", n, err)
		}
		users += n
	}
	exec(t, f.app, "NOTIFY taskfeed")
	if got := <-rang; got != "true <nil>" {
		t.Errorf("the session waited until %s, want until the doorbell rang", got)
	}
}

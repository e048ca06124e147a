package fair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// take takes n for the user and fails if that has to wait.
func take(t *testing.T, b *Budget, user string, n int64) *Share {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s, err := b.Take(ctx, user, n)
	if err != nil {
		t.Fatalf("%s takes %d of what is free: %v, want no waiting", user, n, err)
	}
	return s
}

// refused fails unless the user has to wait for n.
func refused(t *testing.T, b *Budget, user string, n int64) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if s, err := b.Take(ctx, user, n); err == nil {
		s.Release()
		t.Fatalf("%s takes %d more and need not wait", user, n)
	}
}

// Once, one user could take everything and leave nothing for others.
func TestShares(t *testing.T) {
	t.Parallel()
	b := New(12)
	for range 6 {
		take(t, b, "greedy", 1)
	}
	refused(t, b, "greedy", 1)
	for range 3 {
		take(t, b, "second", 1)
	}
	refused(t, b, "second", 2)
	third := take(t, b, "third", 2)
	refused(t, b, "third", 1)
	if got := b.Held("third"); got != 2 {
		t.Errorf("share of the third user: got %d, want 2", got)
	}
	third.Shrink(5)
	third.Shrink(1)
	third.Release()
	third.Release()
	if got, used := b.Held("third"), b.Used(); got != 0 || used != 9 || b.users["third"] != nil {
		t.Errorf("share of the third user after its release: got %d of %d used, want 0 of 9 and no entry", got, used)
	}
}

func TestMoreThanThereIs(t *testing.T) {
	t.Parallel()
	b := New(3)
	s := take(t, b, "alice", 1000)
	if got := b.Used(); got != 3 {
		t.Errorf("%d used, want all", got)
	}
	refused(t, b, "bob", 1)
	s.Release()
	take(t, b, "bob", 1).Release()
	if len(b.users) != 0 {
		t.Errorf("%d users are remembered, want none", len(b.users))
	}
}

// Once, a user with a hundred claims had a hundred turns before any other user.
func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(1)
		busy := take(t, b, "somebody", 1)
		var order []string
		ask := func(user string) {
			go func() {
				s, err := b.Take(t.Context(), user, 1)
				if err != nil {
					t.Errorf("%s: %v", user, err)
					return
				}
				order = append(order, user) // one at a time, for there is but one turn
				s.Release()
			}()
			synctest.Wait()
		}
		for range 4 {
			ask("greedy")
		}
		ask("alice")
		ask("bob")
		ask("alice")
		busy.Release()
		synctest.Wait()
		if want := []string{"greedy", "alice", "bob", "greedy", "alice", "greedy", "greedy"}; !slices.Equal(order, want) {
			t.Errorf("turns %v, want %v", order, want)
		}
	})
}

// Once, small claims took what was free again and again while a large one waited
// forever.
func TestNobodyIsOvertaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(10)
		first := take(t, b, "first", 5)
		ctx, stop := context.WithCancelCause(t.Context())
		large, small := make(chan error), make(chan error)
		claim := func(user string, n int64, done chan error) {
			go func() {
				s, err := b.Take(ctx, user, n)
				if err == nil {
					s.Release()
				}
				done <- err
			}()
			synctest.Wait()
		}
		claim("large", 8, large)
		claim("small", 1, small)
		select {
		case <-small:
			t.Fatal("small overtakes large")
		default:
		}
		first.Release()
		if err := errors.Join(<-large, <-small); err != nil {
			t.Error(err)
		}
		rest := take(t, b, "rest", 10)
		claim("large", 8, large)
		gone := errors.New("gone")
		stop(gone)
		if err := <-large; !errors.Is(err, gone) {
			t.Errorf("error %v, want the cause", err)
		}
		rest.Release()
		if len(b.users) != 0 || b.ring.Len() != 0 || b.free != 10 {
			t.Errorf("%d users, %d in line, %d free; want none and all", len(b.users), b.ring.Len(), b.free)
		}
	})
}

// TestBudgetAgainstAModel takes and gives back at random: held and free always add up
// to the total, and no claim waits that could be granted.
func TestBudgetAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		total := rapid.Int64Range(1, 20).Draw(rt, "total")
		b := New(total)
		type wish struct {
			u     *user
			n     int64
			share *Share
			done  func() bool
			drop  func()
		}
		var wishes []*wish
		step := func(rt *rapid.T) {
			name := fmt.Sprint("user ", rapid.IntRange(0, 3).Draw(rt, "user"))
			n := rapid.Int64Range(1, total).Draw(rt, "n")
			w := &wish{n: n}
			u, place := b.claim(name, n)
			w.u, w.share = u, &Share{b, u, n}
			w.done = func() bool {
				if place == nil {
					return true
				}
				select {
				case <-place.Value.(*claim).granted:
					return true
				default:
					return false
				}
			}
			w.drop = func() {
				if place == nil || !b.withdraw(u, place) {
					w.share.Release()
				}
			}
			wishes = append(wishes, w)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"take": step,
			"drop": func(rt *rapid.T) {
				if len(wishes) > 0 {
					i := rapid.IntRange(0, len(wishes)-1).Draw(rt, "i")
					wishes[i].drop()
					wishes = slices.Delete(wishes, i, i+1)
				}
			},
			"": func(rt *rapid.T) {
				held := map[string]int64{}
				sum := int64(0)
				for _, w := range wishes {
					if w.done() {
						held[w.u.name] += w.n
						sum += w.n
					}
				}
				if sum != b.Used() || sum > total {
					rt.Fatalf("%d held, %d used of %d", sum, b.Used(), total)
				}
				for name, n := range held {
					if b.Held(name) != n {
						rt.Fatalf("%s holds %d, want %d", name, b.Held(name), n)
					}
				}
				if e := b.ring.Front(); e != nil {
					u := e.Value.(*user)
					if c := u.line.Front().Value.(*claim); b.mayTake(u, c.n) {
						rt.Fatalf("%s waits for %d, holds %d, and %d are free", u.name, c.n, u.held, b.free)
					}
				}
			},
		})
		for _, w := range wishes {
			w.drop()
		}
		if b.free != total || len(b.users) != 0 || b.ring.Len() != 0 {
			rt.Fatalf("at the end %d of %d free, %d users", b.free, total, len(b.users))
		}
	})
}

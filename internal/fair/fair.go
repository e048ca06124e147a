// Package fair shares a limited amount of something, such as memory or turns at the
// database, among users who may ask for any amount.
//
// One rule keeps one user from taking everything: after taking, a user may hold no
// more than was free before. One user alone gets half, two get a third each, and some
// is always free for the next. Claims that must wait are served user by user in turn,
// and each user's in order: a user with a hundred claims is not served sooner than one
// with a single claim.
package fair

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// Budget is the amount to share. Make one with New; it is safe for concurrent use.
type Budget struct {
	total int64

	mu    sync.Mutex
	free  int64
	users map[string]*user // those that hold or wait
	ring  list.List        // of *user: those that wait, the next in turn first
}

type user struct {
	name string
	held int64
	line list.List // of *claim: what the user waits for, oldest first
	turn *list.Element
}

// claim is an amount that a user waits for. granted is closed when the user has it.
type claim struct {
	n       int64
	granted chan struct{}
}

// New returns a budget that is completely free. total must be positive.
func New(total int64) *Budget {
	return &Budget{total: total, free: total, users: make(map[string]*user)}
}

// Share is a part of a budget that a user holds until Release.
type Share struct {
	budget *Budget
	user   *user
	n      int64 // the budget's mutex guards it
}

// Take takes n for the user, or the total if n is more. It waits for its turn until
// ctx is done, and then returns the cause.
func (b *Budget) Take(ctx context.Context, name string, n int64) (*Share, error) {
	n = max(1, min(n, b.total))
	u, place := b.claim(name, n)
	if place == nil {
		return &Share{b, u, n}, nil
	}
	granted := place.Value.(*claim).granted
	select {
	case <-granted:
		return &Share{b, u, n}, nil
	case <-ctx.Done():
	}
	if b.withdraw(u, place) {
		return nil, fmt.Errorf("wait for a turn: %w", context.Cause(ctx))
	}
	return &Share{b, u, n}, nil // granted at the last moment
}

// claim takes n at once, or adds a claim to the line and returns its place.
func (b *Budget) claim(name string, n int64) (*user, *list.Element) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.users[name]
	if u == nil {
		u = &user{name: name}
		b.users[name] = u
	}
	if b.ring.Len() == 0 && b.mayTake(u, n) {
		b.grant(u, n)
		return u, nil
	}
	place := u.line.PushBack(&claim{n, make(chan struct{})})
	if u.turn == nil {
		u.turn = b.ring.PushBack(u)
	}
	b.serve() // it may fit although those before it do not
	return u, place
}

// mayTake is the rule of the package.
func (b *Budget) mayTake(u *user, n int64) bool { return u.held+n <= b.free }

func (b *Budget) grant(u *user, n int64) {
	b.free -= n
	u.held += n
}

// serve grants the claims that can be granted, user by user. It stops at a user who
// holds nothing and cannot be served yet, so that nobody overtakes that user.
func (b *Budget) serve() {
	for e := b.ring.Front(); e != nil && b.free > 0; {
		u, next := e.Value.(*user), e.Next()
		first := u.line.Front()
		c := first.Value.(*claim)
		switch {
		case b.mayTake(u, c.n):
			b.grant(u, c.n)
			close(c.granted)
			u.line.Remove(first)
			b.ring.Remove(e)
			u.turn = nil
			if u.line.Len() > 0 {
				u.turn = b.ring.PushBack(u)
			}
			next = b.ring.Front()
		case u.held == 0:
			return
		}
		e = next
	}
}

// withdraw removes a claim from the line. It reports false when the claim has been
// granted meanwhile.
func (b *Budget) withdraw(u *user, place *list.Element) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-place.Value.(*claim).granted:
		return false
	default:
	}
	u.line.Remove(place)
	if u.line.Len() == 0 {
		b.ring.Remove(u.turn)
		u.turn = nil
	}
	b.settle(u)
	return true
}

// settle serves the line and removes a user who neither holds nor waits.
func (b *Budget) settle(u *user) {
	if u.held == 0 && u.turn == nil && b.users[u.name] == u {
		delete(b.users, u.name)
	}
	b.serve()
}

// Shrink gives back all but n.
func (s *Share) Shrink(n int64) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	back := s.n - max(0, n)
	if back <= 0 {
		return
	}
	s.n -= back
	b.free += back
	s.user.held -= back
	b.settle(s.user)
}

// Release gives the share back. Further calls do nothing.
func (s *Share) Release() { s.Shrink(0) }

// Held returns what the user holds.
func (b *Budget) Held(name string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u := b.users[name]; u != nil {
		return u.held
	}
	return 0
}

// Used returns what all users hold together.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total - b.free
}

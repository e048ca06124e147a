package httpapi

import (
	"net/netip"
	"sync"
	"time"
)

// allowance limits how often something may happen: a burst at once, then as
// fast as it refills (the generic cell rate algorithm). It is a moment: the one
// at which the whole burst is available again. Its zero value is full.
type allowance time.Duration

// take uses one of perMinute and returns 0, or how long to wait until there is one.
// perMinute is also the burst; off means no limit. now never goes back.
func (a *allowance) take(now time.Duration, perMinute int) (wait time.Duration) {
	if perMinute == off {
		return 0
	}
	next := max(time.Duration(*a), now) + time.Minute/time.Duration(perMinute)
	if wait := next - now - time.Minute; wait > 0 {
		return wait
	}
	*a = allowance(next)
	return 0
}

// limiter gives each key an allowance. Memory is bounded by the number of keys seen
// within a minute. It is safe for concurrent use.
type limiter[K comparable] struct {
	perMinute int

	mu      sync.Mutex
	used    map[K]allowance
	sweepAt int // size of used at which the full allowances are dropped
}

const minSweep = 1024

func newLimiter[K comparable](perMinute int) *limiter[K] {
	return &limiter[K]{perMinute: perMinute, used: make(map[K]allowance), sweepAt: minSweep}
}

// take uses one of the key's allowance and returns 0, or how long to wait until
// there is one.
func (l *limiter[K]) take(now time.Duration, key K) (wait time.Duration) {
	if l.perMinute == off {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.used) >= l.sweepAt {
		l.sweep(now)
	}
	a := l.used[key]
	wait = a.take(now, l.perMinute)
	l.used[key] = a
	return wait
}

// sweep forgets the keys whose allowance is full again.
func (l *limiter[K]) sweep(now time.Duration) {
	for key, a := range l.used {
		if time.Duration(a) <= now {
			delete(l.used, key)
		}
	}
	l.sweepAt = max(minSweep, 2*len(l.used))
}

// limitKey is what a client address is limited by: an IPv6 client is its /64, for it
// may use all of it.
func limitKey(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	key, _ := addr.WithZone("").Prefix(bits) // the zero prefix for an address that could not be read
	return key
}

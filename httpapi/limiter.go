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

// take uses one of perMinute and reports whether there was one. perMinute is
// also the burst; off means no limit. now never goes back.
func (a *allowance) take(now time.Duration, perMinute int) bool {
	if perMinute == off {
		return true
	}
	next := max(time.Duration(*a), now) + time.Minute/time.Duration(perMinute)
	if next-now > time.Minute {
		return false
	}
	*a = allowance(next)
	return true
}

// addressLimiter gives each client address an allowance. An IPv6 client is its
// /64, for it may use all of it. Memory is bounded by the number of addresses
// seen within a minute. It is safe for concurrent use.
type addressLimiter struct {
	perMinute int

	mu      sync.Mutex
	used    map[netip.Prefix]allowance
	sweepAt int // size of used at which the full allowances are dropped
}

const minSweep = 1024

func newAddressLimiter(perMinute int) *addressLimiter {
	return &addressLimiter{perMinute: perMinute, used: make(map[netip.Prefix]allowance), sweepAt: minSweep}
}

// take uses one of the address's allowance and reports whether there was one.
func (l *addressLimiter) take(now time.Duration, addr netip.Addr) bool {
	if l.perMinute == off {
		return true
	}
	key := limitKey(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.used) >= l.sweepAt {
		l.sweep(now)
	}
	a := l.used[key]
	ok := a.take(now, l.perMinute)
	l.used[key] = a
	return ok
}

// sweep forgets the addresses whose allowance is full again.
func (l *addressLimiter) sweep(now time.Duration) {
	for key, a := range l.used {
		if time.Duration(a) <= now {
			delete(l.used, key)
		}
	}
	l.sweepAt = max(minSweep, 2*len(l.used))
}

func limitKey(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	key, _ := addr.WithZone("").Prefix(bits) // the zero prefix for an address that could not be read
	return key
}

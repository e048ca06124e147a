package request

import (
	"sync"
	"time"
)

// Allowance limits how often something may happen: a burst at once, then at the rate at
// which it refills (the generic cell rate algorithm). Its value is the time at which
// the whole burst is available again, so the zero value is full.
type Allowance time.Duration

// Take uses one of perMinute and returns 0, or how long to wait until there is one.
// perMinute is also the burst; 0 is no limit. now must not decrease.
func (a *Allowance) Take(now time.Duration, perMinute int) (wait time.Duration) {
	return a.take(now, perMinute, time.Minute)
}

// take uses one of n in a period.
func (a *Allowance) take(now time.Duration, n int, period time.Duration) (wait time.Duration) {
	if n == 0 {
		return 0
	}
	next := max(time.Duration(*a), now) + period/time.Duration(n)
	if wait := next - now - period; wait > 0 {
		return wait
	}
	*a = Allowance(next)
	return 0
}

// Rate limits how often something may happen in a second, whoever does it. It is safe
// for concurrent use.
type Rate struct {
	perSecond int

	mu        sync.Mutex
	allowance Allowance
}

// NewRate returns a limit of perSecond, also all at once; 0 is no limit.
func NewRate(perSecond int) *Rate { return &Rate{perSecond: perSecond} }

// Take uses one and returns 0, or how long to wait until there is one.
func (r *Rate) Take(now time.Duration) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allowance.take(now, r.perSecond, time.Second)
}

// Limiter gives each key an allowance. Memory is bounded by the number of keys seen
// within a minute. It is safe for concurrent use.
type Limiter[K comparable] struct {
	perMinute int

	mu      sync.Mutex
	used    map[K]Allowance
	sweepAt int // size of used at which the full allowances are dropped
}

const minSweep = 1024

func NewLimiter[K comparable](perMinute int) *Limiter[K] {
	return &Limiter[K]{perMinute: perMinute, used: make(map[K]Allowance), sweepAt: minSweep}
}

// Take uses one of the key's allowance and returns 0, or how long to wait until
// there is one.
func (l *Limiter[K]) Take(now time.Duration, key K) (wait time.Duration) {
	if l.perMinute == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.used) >= l.sweepAt {
		l.sweep(now)
	}
	a := l.used[key]
	wait = a.Take(now, l.perMinute)
	l.used[key] = a
	return wait
}

// sweep forgets the keys whose allowance is full again.
func (l *Limiter[K]) sweep(now time.Duration) {
	for key, a := range l.used {
		if time.Duration(a) <= now {
			delete(l.used, key)
		}
	}
	l.sweepAt = max(minSweep, 2*len(l.used))
}

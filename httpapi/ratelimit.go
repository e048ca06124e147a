package httpapi

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/taskfeed/taskfeed"
)

var errTooManyRequests = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
	Message: "too many requests of this user; wait as long as Retry-After says before the next one"}

// requestLimiter holds each principal to a number of requests a minute, which
// they may also make all at once. Memory is bounded by the number of principals
// who asked within a minute. It is safe for concurrent use.
type requestLimiter struct {
	perMinute int

	mu      sync.Mutex
	used    map[string]*rate.Limiter
	sweepAt int // size of used at which the full limiters are dropped
}

func newRequestLimiter(perMinute int) *requestLimiter {
	return &requestLimiter{perMinute: perMinute, used: make(map[string]*rate.Limiter), sweepAt: minSweep}
}

// take uses one request of the user's and returns 0, or how long to wait when
// there is none left.
func (l *requestLimiter) take(now time.Time, userID string) time.Duration {
	if l.perMinute == off {
		return 0
	}
	r := l.of(now, userID).ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

func (l *requestLimiter) of(now time.Time, userID string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.used[userID]
	if limiter == nil {
		if len(l.used) >= l.sweepAt {
			l.sweep(now)
		}
		limiter = rate.NewLimiter(rate.Limit(l.perMinute)/60, l.perMinute)
		l.used[userID] = limiter
	}
	return limiter
}

// sweep forgets who has all their requests again.
func (l *requestLimiter) sweep(now time.Time) {
	for userID, limiter := range l.used {
		if limiter.TokensAt(now) >= float64(l.perMinute) {
			delete(l.used, userID)
		}
	}
	l.sweepAt = max(minSweep, 2*len(l.used))
}

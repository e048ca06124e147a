package client

import "time"

// backoff returns random waits below a ceiling that doubles (full jitter).
type backoff struct {
	Backoff
	ceiling time.Duration // of the next wait; 0 means Min
}

func (b *backoff) next() time.Duration {
	ceiling := max(b.ceiling, b.Min)
	b.ceiling = b.Max
	if ceiling < b.Max/2 {
		b.ceiling = 2 * ceiling
	}
	return time.Duration(b.Rand() * float64(ceiling))
}

func (b *backoff) reset() { b.ceiling = 0 }

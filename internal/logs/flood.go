package logs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	floodInterval = 10 * time.Second
	floodLines    = 10  // of one kind in an interval
	maxKinds      = 256 // any further kinds are counted as one
	otherKinds    = "others"
)

// flood counts lines by kind. It is safe for concurrent use.
type flood struct {
	out slog.Handler

	mu    sync.Mutex
	kinds map[string]*kindCount // of the current intervals
}

// kindCount is the lines of one kind in an interval.
type kindCount struct {
	level         slog.Level // the highest that was left out
	written, left int
}

func newFlood(out slog.Handler) *flood {
	return &flood{out: out, kinds: make(map[string]*kindCount)}
}

// take counts a line of a kind and reports whether it may be written. The first line
// begins an interval; at its end a line says how many were left out.
func (f *flood) take(level slog.Level, kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kinds[kind] == nil && len(f.kinds) >= maxKinds {
		kind = otherKinds
	}
	k := f.kinds[kind]
	if k == nil {
		k = &kindCount{level: level}
		f.kinds[kind] = k
		time.AfterFunc(floodInterval, func() { f.end(kind) })
	}
	if k.written < floodLines {
		k.written++
		return true
	}
	k.left++
	k.level = max(k.level, level)
	return false
}

// end ends the interval of a kind.
func (f *flood) end(kind string) {
	f.mu.Lock()
	k := f.kinds[kind]
	delete(f.kinds, kind)
	f.mu.Unlock()
	f.tell(kind, k)
}

// flush ends all intervals at once.
func (f *flood) flush() {
	f.mu.Lock()
	kinds := f.kinds
	f.kinds = make(map[string]*kindCount)
	f.mu.Unlock()
	for kind, k := range kinds {
		f.tell(kind, k)
	}
}

func (f *flood) tell(kind string, k *kindCount) {
	if k == nil || k.left == 0 || !f.out.Enabled(context.Background(), k.level) {
		return
	}
	r := slog.NewRecord(time.Now(), k.level, "lines were left out of the log: there were too many of one kind", 0)
	r.AddAttrs(slog.String("kind", Redact(kind)), slog.Int("count", k.left), slog.Duration("within", floodInterval))
	_ = f.out.Handle(context.Background(), r) // there is nowhere else to report an error
}

// kindOf returns the part of a message that all lines of its kind share. Our messages
// are constant; those of net/http contain addresses.
func kindOf(message string) string {
	if at := strings.IndexAny(message, "0123456789[\n"); at >= 0 {
		return message[:at]
	}
	return message
}

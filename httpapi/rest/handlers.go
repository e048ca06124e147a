package rest

import (
	"context"
	"time"

	"github.com/taskfeed/taskfeed/internal/cache"
	"github.com/taskfeed/taskfeed/store/history"
)

// Handlers answer the URLs of tasks and events.
type Handlers struct {
	history    History
	answerTime time.Duration // that a client may take for an answer
	stats      *cache.Value[history.Stats]
	exports    exportSlots
}

// New returns handlers that read the history. running ends what they read on
// behalf of no single request.
func New(running context.Context, h History, answerTime time.Duration) *Handlers {
	r := &Handlers{history: h, answerTime: answerTime, exports: exportSlots{users: make(map[string]bool)}}
	r.stats = cache.New(statsAge, func() (history.Stats, error) { return r.countAll(running) })
	return r
}

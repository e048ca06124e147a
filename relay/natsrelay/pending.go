package natsrelay

import (
	"context"
	"sync"
)

// pending are the questions that wait for an answer. NATS does not say when an answer
// was lost with its connection.
type pending struct {
	mu   sync.Mutex
	last int
	ends map[int]context.CancelCauseFunc
}

// add returns a context for a question, which ends with the connection. The caller calls
// done.
func (p *pending) add(ctx context.Context) (limited context.Context, done func()) {
	ctx, end := context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends == nil {
		p.ends = make(map[int]context.CancelCauseFunc)
	}
	p.last++
	number := p.last
	p.ends[number] = end
	return ctx, func() {
		end(nil)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.ends, number)
	}
}

// fail ends all questions that wait.
func (p *pending) fail(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, end := range p.ends {
		end(why)
	}
}

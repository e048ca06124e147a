// Package relaytest has a transport in memory and the contract that every transport of
// package relay keeps.
package relaytest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/taskfeed/taskfeed/relay"
)

// Net is a network in memory. Links that are cut from it lose what they send and get.
type Net struct {
	maxPayload int

	mu      sync.Mutex
	subs    []*sub
	servers []*sub
	crowd   []*sub // who attend
	calls   sync.WaitGroup
}

// NewNet returns a network that takes messages up to this size.
func NewNet(maxPayload int) *Net { return &Net{maxPayload: maxPayload} }

// Link is one server's transport.
type Link struct {
	net *Net

	mu   sync.Mutex
	cut  bool
	lost bool // since the last Flush
}

var (
	_ relay.Transport = (*Link)(nil)
	_ relay.Assembly  = (*Link)(nil)
)

// sub is a subscription, or one who answers.
type sub struct {
	link    *Link
	subject string
	answer  func(context.Context, []byte) []byte

	mu     sync.Mutex
	more   *sync.Cond
	queue  [][]byte
	closed bool
}

var errCut = errors.New("relaytest: the link is cut")

// Connect returns a new link.
func (n *Net) Connect() *Link { return &Link{net: n} }

// Cut loses all that the link sends and gets, until Heal.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.lost = true, true
}

// Heal ends a cut.
func (l *Link) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}

func (l *Link) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// Publish implements relay.Transport.
func (l *Link) Publish(subject string, message []byte) error {
	if l.isCut() {
		return errCut
	}
	if len(message) > l.net.maxPayload {
		return errors.New("relaytest: the message is too large")
	}
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for _, s := range l.net.subs {
		if s.subject == subject && !s.link.isCut() {
			s.put(message)
		}
	}
	return nil
}

func (s *sub) put(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, message)
	s.more.Signal()
}

func (s *sub) next() (message []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closed {
		s.more.Wait()
	}
	if s.closed {
		return nil, false
	}
	message, s.queue = s.queue[0], s.queue[1:]
	return message, true
}

func (s *sub) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.more.Broadcast()
}

// Subscribe implements relay.Transport.
func (l *Link) Subscribe(subject string, handle func([]byte)) (stop func(), err error) {
	s := &sub{link: l, subject: subject}
	s.more = sync.NewCond(&s.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		for message, ok := s.next(); ok; message, ok = s.next() {
			handle(message)
		}
	})
	l.net.add(&l.net.subs, s)
	return func() {
		l.net.remove(&l.net.subs, s)
		s.close()
		wg.Wait()
	}, nil
}

func (n *Net) add(list *[]*sub, s *sub) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*list = append(*list, s)
}

func (n *Net) remove(list *[]*sub, s *sub) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var rest []*sub
	for _, other := range *list {
		if other != s {
			rest = append(rest, other)
		}
	}
	*list = rest
}

// Answer implements relay.Transport.
func (l *Link) Answer(subject string, answer func(context.Context, []byte) []byte) (stop func(), err error) {
	s := &sub{link: l, subject: subject, answer: answer}
	l.net.add(&l.net.servers, s)
	return func() {
		l.net.remove(&l.net.servers, s)
		l.net.calls.Wait()
	}, nil
}

// Request implements relay.Transport.
func (l *Link) Request(ctx context.Context, subject string, question []byte) ([]byte, error) {
	if l.isCut() {
		return nil, errCut
	}
	s := l.net.server(subject)
	if s == nil {
		return nil, errors.New("relaytest: nobody answers")
	}
	answered := make(chan []byte, 1)
	go func() {
		defer l.net.calls.Done()
		answered <- s.answer(ctx, question)
	}()
	select {
	case answer := <-answered:
		if l.isCut() || s.link.isCut() {
			return nil, errCut
		}
		return answer, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// server picks one who answers, and counts the call.
func (n *Net) server(subject string) *sub {
	n.mu.Lock()
	defer n.mu.Unlock()
	var able []*sub
	for _, s := range n.servers {
		if s.subject == subject && !s.link.isCut() {
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		return nil
	}
	n.calls.Add(1)
	return able[rand.IntN(len(able))]
}

// Flush implements relay.Transport.
func (l *Link) Flush(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.lost {
		l.lost = l.cut
		return errCut
	}
	return nil
}

// MaxPayload implements relay.Transport.
func (l *Link) MaxPayload() int { return l.net.maxPayload }

// Attend implements relay.Assembly.
func (l *Link) Attend(subject string, answer func(context.Context, []byte) []byte) (stop func(), err error) {
	s := &sub{link: l, subject: subject, answer: answer}
	l.net.add(&l.net.crowd, s)
	return func() {
		l.net.remove(&l.net.crowd, s)
		l.net.calls.Wait()
	}, nil
}

// Gather implements relay.Assembly.
func (l *Link) Gather(ctx context.Context, subject string, question []byte, take func([]byte) bool) error {
	if l.isCut() {
		return errCut
	}
	answers := make(chan []byte, 1000)
	l.net.mu.Lock()
	for _, s := range l.net.crowd {
		if s.subject == subject && !s.link.isCut() {
			l.net.calls.Go(func() {
				if said := s.answer(ctx, question); len(said) > 0 && !s.link.isCut() {
					answers <- said
				}
			})
		}
	}
	l.net.mu.Unlock()
	for {
		select {
		case said := <-answers:
			if !l.isCut() && !take(said) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

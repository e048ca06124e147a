// Package netfault is a TCP proxy that injects network faults.
//
// A Proxy passes bytes between its clients and its target, each direction separately.
// Its Mode delays them, slows them down, splits them, holds them back, or resets the
// connection. A mode also applies to open connections. As with TCP itself, no byte is
// lost, changed or reordered while a connection lives.
package netfault

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is how bytes pass. The zero value passes them unchanged.
type Mode struct {
	HoldUp   bool          // nothing passes from client to server
	HoldDown bool          // nothing passes from server to client
	Delay    time.Duration // delay of each byte, in each direction
	Jitter   time.Duration // random additional delay, at most
	Rate     int           // bytes a second in each direction; 0 is no limit
	Slice    int           // bytes in one write, at most; 0 is no limit
	CutAfter int64         // reset a connection after so many more bytes; 0 never
	Refuse   bool          // reset new connections
}

// Proxy listens on 127.0.0.1. It is safe for concurrent use.
type Proxy struct {
	server *Server
	held   atomic.Int64
	shaped atomic.Int64
	cut    atomic.Int64

	mu      sync.Mutex
	target  target
	mode    Mode
	changed chan struct{} // closed when mode changes
	links   map[*link]struct{}
}

type target struct{ network, address string }

// New starts a proxy to a target, such as "tcp", "127.0.0.1:5432". The caller
// closes it.
func New(network, address string) (*Proxy, error) {
	p := &Proxy{target: target{network, address}, changed: make(chan struct{}), links: make(map[*link]struct{})}
	var err error
	if p.server, err = Serve(p.serve); err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	return p, nil
}

// Addr returns where to connect: host and port.
func (p *Proxy) Addr() string { return p.server.Addr() }

// Counts counts the effects of modes.
type Counts struct {
	Held   int64 // bytes that were held back
	Shaped int64 // bytes that passed slowly or in pieces
	Cut    int64 // connections that CutAfter has reset
}

// Counts returns the effects of modes so far.
func (p *Proxy) Counts() Counts {
	return Counts{Held: p.held.Load(), Shaped: p.shaped.Load(), Cut: p.cut.Load()}
}

// Minus returns the difference between two counts.
func (c Counts) Minus(before Counts) Counts {
	return Counts{Held: c.Held - before.Held, Shaped: c.Shaped - before.Shaped, Cut: c.Cut - before.Cut}
}

// Open returns the number of open connections.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// SetTarget changes the target of new connections.
func (p *Proxy) SetTarget(network, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target{network, address}
}

// Set changes the mode of all connections, open and new.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	for l := range p.links {
		l.left.Store(m.CutAfter)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// Hold holds back the bytes of the connections that are open now, in both directions,
// until release is called. New connections are not affected.
func (p *Proxy) Hold() (release func()) {
	set := func(hold bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for l := range p.links {
			l.hole.Store(hold)
		}
		close(p.changed)
		p.changed = make(chan struct{})
	}
	set(true)
	return func() { set(false) }
}

// Reset ends all open connections with a TCP reset and returns their number.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
	return len(p.links)
}

// Close ends the proxy and its connections, and waits for its goroutines.
func (p *Proxy) Close() {
	p.server.stop() // no new links
	p.Reset()
	p.server.Close()
}

// now returns the mode and a channel that is closed when it changes.
func (p *Proxy) now() (Mode, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.changed
}

func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	p.mu.Lock()
	target, refuse := p.target, p.mode.Refuse
	p.mu.Unlock()
	l := &link{proxy: p, client: client, cut: make(chan struct{})}
	defer l.reset() // harmless after an orderly end
	if refuse {
		return
	}
	var d net.Dialer
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	server, err := d.DialContext(dialing, target.network, target.address)
	if err != nil {
		return
	}
	l.server = server
	if !p.add(ctx, l) {
		return
	}
	defer p.remove(l)
	l.pass()
}

func (p *Proxy) add(ctx context.Context, l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		_ = l.server.Close()
		return false
	}
	l.left.Store(p.mode.CutAfter)
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

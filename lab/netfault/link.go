package netfault

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	chunkBytes = 16 << 10 // read at once
	chunks     = 64       // in transit in one direction
)

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	left           atomic.Int64 // bytes until it is cut; 0: never
	hole           atomic.Bool  // nothing passes
	once           sync.Once
	cut            chan struct{} // closed when the link was reset
}

// reset resets both connections at once.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.cut)
		for _, conn := range []net.Conn{l.client, l.server} {
			if conn == nil {
				continue
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // the connection may be closed already
			}
			_ = conn.Close()
		}
	})
}

// pass passes bytes in both directions until both have ended.
func (l *link) pass() {
	var both sync.WaitGroup
	both.Go(func() { l.direction(l.server, l.client, func(m Mode) bool { return m.HoldUp }) })
	both.Go(func() { l.direction(l.client, l.server, func(m Mode) bool { return m.HoldDown }) })
	both.Wait()
}

// chunk is a piece of data in transit.
type chunk struct {
	bytes []byte
	due   time.Time
}

// direction passes the bytes from one side to the other until they end.
func (l *link) direction(to, from net.Conn, held func(Mode) bool) {
	queue := make(chan chunk, chunks)
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() { l.read(from, queue) })
	for c := range queue {
		if !l.write(to, c, held) {
			l.reset() // ends the reader too
			for range queue {
			}
			return
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the other direction may continue
	}
}

func (l *link) read(from net.Conn, queue chan<- chunk) {
	defer close(queue)
	for {
		b := make([]byte, chunkBytes)
		n, err := from.Read(b)
		if n > 0 {
			m, _ := l.proxy.now()
			due := time.Now().Add(m.Delay)
			if m.Jitter > 0 {
				due = due.Add(rand.N(m.Jitter))
			}
			select {
			case queue <- chunk{b[:n], due}:
			case <-l.cut:
				return
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			l.reset()
			return
		}
	}
}

// write writes a chunk according to the current mode, and returns false when the link
// has ended.
func (l *link) write(to net.Conn, c chunk, held func(Mode) bool) bool {
	if !l.wait(time.Until(c.due)) {
		return false
	}
	stopped := false
	for rest := c.bytes; len(rest) > 0; {
		m, changed := l.proxy.now()
		if held(m) || l.hole.Load() {
			if !stopped {
				stopped = true
				l.proxy.held.Add(int64(len(rest)))
			}
			select {
			case <-changed:
				continue
			case <-l.cut:
				return false
			}
		}
		n := len(rest)
		if m.Slice > 0 {
			n = min(n, 1+rand.IntN(m.Slice))
		}
		if m.Rate > 0 {
			n = min(n, max(1, m.Rate/20))
		}
		if m.CutAfter > 0 {
			n = min(n, max(1, int(l.left.Load())))
		}
		if _, err := to.Write(rest[:n]); err != nil {
			return false
		}
		rest = rest[n:]
		if m.Slice > 0 || m.Rate > 0 {
			l.proxy.shaped.Add(int64(n))
		}
		if m.CutAfter > 0 && l.left.Add(-int64(n)) <= 0 {
			l.proxy.cut.Add(1)
			return false
		}
		if m.Rate > 0 && !l.wait(time.Duration(n)*time.Second/time.Duration(m.Rate)) {
			return false
		}
	}
	return true
}

// wait waits, and returns false when the link was reset meanwhile.
func (l *link) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.cut:
		return false
	}
}

package crowd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taskfeed/taskfeed/auth"
)

// phase of a client.
type phase uint8

const (
	away       phase = iota // waits in the queue
	connecting              // TCP
	upgrading               // has sent its request
	connected
)

// client is one connection, or the place of one.
type client struct {
	fd     int
	phase  phase
	live   bool
	server uint8  // index of the server that it is on, or tries next
	moves  uint8  // how often it has changed servers
	cursor int64  // of the last event, or of feed_live; 0: none yet
	rest   []byte // the beginning of a frame that is not whole
}

const (
	waitBusy  = 2  // milliseconds to wait for sockets while clients are in the queue
	waitQuiet = 50 // and while none is
	retryTime = 200 * time.Millisecond
)

// loop owns all clients of a crowd. It holds the crowd's mutex while it works.
type loop struct {
	*crowd
	source   *unix.SockaddrInet4
	servers  []*unix.SockaddrInet4
	clients  []client
	epoll    int
	queue    []int // clients that shall connect, the first one first
	later    []int // clients that shall connect at a later time
	resume   time.Time
	underway int // handshakes
	buf      [64 << 10]byte
}

// serve runs the clients until ctx is done.
func (c *crowd) serve(ctx context.Context) (err error) {
	l := &loop{crowd: c, clients: make([]client, c.cfg.Clients)}
	if l.source, err = sockaddr(net.JoinHostPort(c.cfg.Source, "0")); err != nil {
		return err
	}
	for _, s := range c.cfg.Servers {
		addr, err := sockaddr(s)
		if err != nil {
			return err
		}
		l.servers = append(l.servers, addr)
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	defer l.close()
	for i := range l.clients {
		l.clients[i].server = uint8((c.cfg.First + i) % len(l.servers))
		l.queue = append(l.queue, i)
	}
	events := make([]unix.EpollEvent, 512)
	for ctx.Err() == nil {
		l.mu.Lock()
		l.dequeue()
		wait := waitQuiet
		if len(l.queue)+len(l.later) > 0 {
			wait = waitBusy
		}
		l.mu.Unlock()
		n, err := unix.EpollWait(l.epoll, events, wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for sockets: %w", err)
		}
		l.mu.Lock()
		for _, e := range events[:max(0, n)] {
			l.handle(int(e.Fd), e.Events)
		}
		l.mu.Unlock()
	}
	return nil
}

func sockaddr(hostPort string) (*unix.SockaddrInet4, error) {
	addr, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}, nil
}

func (l *loop) close() {
	for i := range l.clients {
		if l.clients[i].phase != away {
			unix.Close(l.clients[i].fd)
		}
	}
	unix.Close(l.epoll)
}

// dequeue begins as many handshakes as may be under way.
func (l *loop) dequeue() {
	if len(l.later) > 0 && time.Now().After(l.resume) {
		l.queue, l.later = append(l.queue, l.later...), nil
	}
	for len(l.queue) > 0 && l.underway < l.cfg.Rush {
		i := l.queue[0]
		l.queue = l.queue[1:]
		if err := l.connect(i); err != nil {
			l.fail("connect: %v", err)
			l.retry(i)
		}
	}
}

// retry has a client that has no socket try the next server a little later.
func (l *loop) retry(i int) {
	l.move(i)
	if len(l.later) == 0 {
		l.resume = time.Now().Add(retryTime)
	}
	l.later = append(l.later, i)
}

// move has a client go to another server the next time. The clients of one server spread
// over all others.
func (l *loop) move(i int) {
	c, n := &l.clients[i], len(l.servers)
	step := 1
	if c.moves == 0 && n > 2 {
		step += (l.cfg.First + i) / n % (n - 1)
	}
	c.moves++
	c.server = uint8((int(c.server) + step) % n)
}

func (l *loop) connect(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // else ports are used up sooner
	err = unix.Bind(fd, l.source)
	if err == nil {
		err = unix.Connect(fd, l.servers[l.clients[i].server])
	}
	if err == nil || errors.Is(err, unix.EINPROGRESS) {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET | unix.EPOLLRDHUP, Fd: int32(i)})
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	l.underway++
	l.clients[i].fd, l.clients[i].phase = fd, connecting
	return nil
}

// handle does what a socket is ready for.
func (l *loop) handle(i int, ready uint32) {
	c := &l.clients[i]
	if c.phase == connecting && ready&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		if code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			l.drop(i, nil) // the server is gone: try the next one
			return
		}
		if err := l.request(i); err != nil {
			l.drop(i, err)
			return
		}
		c.phase = upgrading
	}
	if c.phase == away || ready&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return
	}
	l.read(i)
}

// drop closes a client's socket and has it come back.
func (l *loop) drop(i int, why error) {
	c := &l.clients[i]
	unix.Close(c.fd)
	if why != nil {
		l.fail("client %d: %v", l.cfg.First+i, why)
	}
	if c.live {
		l.state.Live--
	}
	was := c.phase
	c.phase, c.live, c.rest = away, false, nil
	if was == connected {
		l.state.Lost++
		l.move(i)
		l.queue = append(l.queue, i)
		return
	}
	l.underway--
	l.retry(i)
}

// request sends the handshake.
func (l *loop) request(i int) error {
	c := &l.clients[i]
	user := l.cfg.Prefix + strconv.Itoa(l.cfg.First+i)
	token, err := auth.Issue(auth.Config{Secret: []byte(l.cfg.Secret)}, user, "", time.Hour)
	if err != nil {
		return err
	}
	path := "/ws/" + user
	if c.cursor > 0 {
		path += "?after=" + strconv.FormatInt(c.cursor, 10)
	}
	_, err = unix.Write(c.fd, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: taskfeed.v1\r\nAuthorization: Bearer %s\r\n\r\n",
		path, l.cfg.Servers[c.server], token))
	return err
}

// read reads all that the socket has.
func (l *loop) read(i int) {
	c := &l.clients[i]
	for {
		n, err := unix.Read(c.fd, l.buf[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || n == 0:
			l.drop(i, nil)
			return
		}
		b := l.buf[:n]
		if len(c.rest) > 0 {
			b = append(c.rest, b...)
			c.rest = nil
		}
		if b, err = l.take(i, b); err != nil {
			l.drop(i, err)
			return
		}
		if c.phase == away {
			return
		}
		if len(b) > 0 {
			c.rest = bytes.Clone(b)
		}
		if n < len(l.buf) {
			return // that was all
		}
	}
}

// take uses what a client has read and returns the part that is not whole.
func (l *loop) take(i int, b []byte) (rest []byte, err error) {
	c := &l.clients[i]
	if c.phase == upgrading {
		head, after, whole := bytes.Cut(b, []byte("\r\n\r\n"))
		if !whole {
			return b, nil
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
			return nil, l.refused(i, head)
		}
		c.phase, b = connected, after
		l.underway--
	}
	for {
		opcode, payload, after, ok := cutFrame(b)
		if !ok {
			return b, nil
		}
		switch opcode {
		case opText:
			l.hear(c, payload)
		case opPing:
			_, _ = unix.Write(c.fd, pong(payload)) // a broken socket is read as such
		case opClose:
			l.drop(i, nil)
			return nil, nil
		}
		b = after
	}
}

// refused has a client come back later when the server is only busy.
func (l *loop) refused(i int, head []byte) error {
	l.state.Refused++
	status, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 503")) {
		return fmt.Errorf("the server answered %s", status)
	}
	l.drop(i, nil)
	return nil
}

// hear notes a frame of a client.
func (l *loop) hear(c *client, payload []byte) {
	now := time.Now().UnixNano()
	if id, ok := numberAfter(payload, beginsEvent); ok {
		l.state.Events++
		l.state.LastEvent = now
		if id <= c.cursor {
			l.state.Disorder++
		}
		c.cursor = id
		return
	}
	if at, ok := numberAfter(payload, beginsLive); ok {
		c.cursor = max(c.cursor, at)
		if !c.live {
			c.live = true
			l.state.Live++
			l.state.LastLive = now
		}
		return
	}
	if bytes.HasPrefix(payload, []byte(beginsReset)) {
		l.state.Resets++
	}
}

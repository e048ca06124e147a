package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskfeed/taskfeed/auth"
)

// feed is the client's side of one WebSocket. It uses as little CPU as possible,
// because the server under test shares the machine.
type feed struct {
	conn net.Conn
	in   *bufio.Reader
	buf  []byte // payload of the last frame, when it did not fit into in
}

const dialTime = 30 * time.Second

// dial opens a feed of a user; query may hold a cursor.
func (s *server) dial(ctx context.Context, user, query string) (*feed, error) {
	f, err := s.tryDial(ctx, user, query)
	if err != nil {
		return nil, fmt.Errorf("connect to a feed: %w", err)
	}
	return f, nil
}

func (s *server) tryDial(ctx context.Context, user, query string) (*feed, error) {
	token, err := auth.Issue(auth.Config{Secret: []byte(benchSecret)}, user, "", time.Hour, s.feeds...)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	f := &feed{conn: conn, in: bufio.NewReaderSize(conn, 1024)}
	if err := f.upgrade(s.addr, s.path(user, query, token), token); err != nil {
		conn.Close()
		return nil, err
	}
	return f, nil
}

func (f *feed) upgrade(host, path, token string) error {
	_ = f.conn.SetDeadline(time.Now().Add(dialTime)) // cannot fail on a new connection
	_, err := fmt.Fprintf(f.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n",
		path, host, token)
	if err != nil {
		return err
	}
	res, err := http.ReadResponse(f.in, nil)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the server answered %s", res.Status)
	}
	return f.conn.SetDeadline(time.Time{})
}

// errStop is what a handler returns to end read.
var errStop = errors.New("stop")

// read calls handle with each message until the connection ends or handle returns
// an error. It returns that error, or nil for errStop. A payload is valid only
// during the call.
func (f *feed) read(handle func(payload []byte) error) error {
	for {
		opcode, payload, err := f.frame()
		if err != nil {
			return err
		}
		switch opcode {
		case 0x1:
			err = handle(payload)
		case 0x8:
			err = fmt.Errorf("the server closed: % x", payload)
		case 0x9:
			pong := append([]byte{0x8A, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...) // masked with zeros
			_, err = f.conn.Write(pong)
		}
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// frame reads one frame; servers send whole messages.
func (f *feed) frame() (opcode byte, payload []byte, err error) {
	var header [10]byte
	if _, err := io.ReadFull(f.in, header[:2]); err != nil {
		return 0, nil, err
	}
	size := uint64(header[1])
	switch size {
	case 126:
		_, err = io.ReadFull(f.in, header[2:4])
		size = uint64(binary.BigEndian.Uint16(header[2:4]))
	case 127:
		_, err = io.ReadFull(f.in, header[2:10])
		size = binary.BigEndian.Uint64(header[2:10])
	}
	if err != nil {
		return 0, nil, err
	}
	if size <= uint64(f.in.Size()) { // the usual case: no copy
		payload, err = f.in.Peek(int(size))
		_, _ = f.in.Discard(len(payload)) // cannot fail
		return header[0] & 0xf, payload, err
	}
	if size > 1<<20 {
		return 0, nil, fmt.Errorf("a frame of %d bytes", size)
	}
	if uint64(cap(f.buf)) < size {
		f.buf = make([]byte, size)
	}
	f.buf = f.buf[:size]
	_, err = io.ReadFull(f.in, f.buf)
	return header[0] & 0xf, f.buf, err
}

// spareFiles is the number of descriptors that a process needs besides its connections.
const spareFiles = 200

// connections returns how many of n connections this process may open.
func (b *bench) connections(n int) int {
	if limit, ok := fileLimit(); ok && n > limit-spareFiles {
		b.note("only %d connections were opened in place of %d: a process may open %d files here (ulimit -n)", limit-spareFiles, n, limit)
		return limit - spareFiles
	}
	return n
}

// feeds are connections that are read until they are closed.
type feeds struct {
	all     []*feed
	readers sync.WaitGroup

	mu     sync.Mutex
	closed bool
	ended  []error // of feeds that ended by themselves
}

// close ends the connections and waits for their readers.
func (fs *feeds) close() {
	fs.mu.Lock()
	fs.closed = true
	fs.mu.Unlock()
	for _, f := range fs.all {
		if f != nil {
			_ = f.conn.Close() // it may be broken already
		}
	}
	fs.readers.Wait()
}

// end notes why a feed has ended.
func (fs *feeds) end(err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !fs.closed {
		fs.ended = append(fs.ended, err)
	}
}

// explain adds the reason why feeds have ended to an error about missing events.
func (fs *feeds) explain(err error) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err == nil || len(fs.ended) == 0 {
		return err
	}
	return fmt.Errorf("%w; %d connections ended, the first with: %w", err, len(fs.ended), fs.ended[0])
}

// openFeeds opens n feeds, 32 at a time; feed i is of the user that user(i) names.
func (s *server) openFeeds(ctx context.Context, n int, user func(i int) string, handle func(payload []byte)) (*feeds, error) {
	fs := &feeds{all: make([]*feed, n)}
	group, dialing := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range n {
		group.Go(func() (err error) {
			fs.all[i], err = s.dial(dialing, user(i), "")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		fs.close()
		return nil, err
	}
	for _, f := range fs.all {
		fs.readers.Go(func() {
			fs.end(f.read(func(payload []byte) error { handle(payload); return nil }))
		})
	}
	return fs, nil
}

// stamp encodes when something was due as text that since finds in a frame.
func (b *bench) stamp(due time.Time) string { return fmt.Sprintf("@%d@", due.Sub(b.epoch)) }

// since returns how long ago the stamp in a frame was due.
func (b *bench) since(payload []byte) (time.Duration, bool) {
	now := time.Since(b.epoch)
	_, rest, ok := bytes.Cut(payload, []byte("@"))
	digits, _, found := bytes.Cut(rest, []byte("@"))
	n, err := strconv.ParseInt(string(digits), 10, 64)
	return now - time.Duration(n), ok && found && err == nil
}

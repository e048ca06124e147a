package netfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/taskfeed/taskfeed/internal/pause"
)

// Server listens on 127.0.0.1 and calls a function with each connection.
type Server struct {
	listener net.Listener
	handle   func(context.Context, net.Conn)
	done     context.Context
	stop     context.CancelFunc
	work     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Serve starts a server, which the caller closes. handle is called in a goroutine of
// its own for each connection, which is closed when it returns; its context ends with
// the server.
func Serve(handle func(context.Context, net.Conn)) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &Server{listener: l, handle: handle, conns: make(map[net.Conn]struct{})}
	s.done, s.stop = context.WithCancel(context.Background())
	s.work.Go(s.accept)
	return s, nil
}

// Addr returns where to connect: host and port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close ends the server and its connections, and waits for its goroutines.
func (s *Server) Close() {
	s.stop()
	_ = s.listener.Close() // ends accept
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close() // may be closed already
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !pause.For(s.done, 10*time.Millisecond) { // for example out of file descriptors
				return
			}
			continue
		}
		s.work.Go(func() { s.serve(conn) })
	}
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.conns[conn] = struct{}{}
	over := s.done.Err() != nil
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}()
	if !over {
		s.handle(s.done, conn)
	}
}

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/lab/query"
)

// BareCommand is the hidden subcommand that runs RunBare.
const BareCommand = "bench-bare"

// Environment variables of RunBare, besides DATABASE_URL.
const (
	bareAddrEnv    = "TASKFEED_BENCH_ADDR"
	bareChannelEnv = "TASKFEED_BENCH_CHANNEL"
)

// bareServer is the server that an app would write without taskfeed: it LISTENs
// and writes each payload to the connections of the user that it names, or to all.
// It has no log, order, replay or token, and waits for slow clients.
type bareServer struct {
	mu    sync.Mutex
	conns map[string]map[*websocket.Conn]bool // by user
}

// RunBare serves the baseline until ctx is done.
func RunBare(ctx context.Context, env func(string) string) error {
	if env(bareAddrEnv) == "" {
		return errors.New("only taskfeed-lab bench runs this command")
	}
	db, err := dial.Connect(ctx, dial.Config{URL: env("DATABASE_URL"), Name: "taskfeed-lab bench"}, nil)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer query.Close(db)
	if _, err := db.Exec(ctx, "LISTEN "+env(bareChannelEnv)); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	l, err := net.Listen("tcp", env(bareAddrEnv))
	if err != nil {
		return err
	}
	s := &bareServer{conns: make(map[string]map[*websocket.Conn]bool)}
	web := http.Server{Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second}
	defer web.Close()
	var served sync.WaitGroup
	served.Go(func() { _ = web.Serve(l) }) // until Close
	defer served.Wait()
	defer web.Close()
	for {
		n, err := db.WaitForNotification(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for notifications: %w", err)
		}
		s.deliver([]byte(n.Payload))
	}
}

// handle serves one connection for as long as it lives.
func (s *bareServer) handle(w http.ResponseWriter, r *http.Request) {
	user, ok := strings.CutPrefix(r.URL.Path, "/ws/")
	if !ok {
		return // the probe of awaitReady: 200
	}
	upgrader := websocket.Upgrader{}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	s.add(user, conn)
	defer s.remove(user, conn)
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
	}
}

func (s *bareServer) add(user string, conn *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[user] == nil {
		s.conns[user] = make(map[*websocket.Conn]bool)
	}
	s.conns[user][conn] = true
}

func (s *bareServer) remove(user string, conn *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns[user], conn)
	if len(s.conns[user]) == 0 {
		delete(s.conns, user)
	}
}

// deliver writes the payload to the user that it names, or to all.
func (s *bareServer) deliver(payload []byte) {
	var event struct {
		UserID string `json:"user_id"`
	}
	if json.Unmarshal(payload, &event) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, conns := range s.conns {
		if event.UserID != "" {
			user, conns = event.UserID, s.conns[event.UserID]
		}
		for conn := range conns {
			_ = conn.WriteMessage(websocket.TextMessage, payload) // the connection's reader sees the error
		}
		if user == event.UserID {
			return
		}
	}
}

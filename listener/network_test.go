package listener_test

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
	"github.com/taskfeed/taskfeed/listener"
	"github.com/taskfeed/taskfeed/store"
)

// network is a proxy before a database whose connections the test breaks.
type network struct {
	url string // of the database, through the proxy

	mu    sync.Mutex
	links []*link
}

// link is one connection through a network.
type link struct {
	client, server net.Conn
	mu             sync.Mutex // held while it is a black hole
	hole           bool       // whether it is one; guarded by the network's mutex
}

// newNetwork starts a network before a database; it ends with the test.
func newNetwork(t *testing.T, databaseURL string) *network {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	n := &network{}
	var wg sync.WaitGroup
	target := u.Host
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			k := &link{client: client, server: server}
			n.mu.Lock()
			n.links = append(n.links, k)
			n.mu.Unlock()
			wg.Go(func() { k.pass(server, client) })
			wg.Go(func() { k.pass(client, server) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.each((*link).close)
		wg.Wait()
	})
	u.Host = l.Addr().String()
	n.url = u.String()
	return n
}

// each does something to all present links.
func (n *network) each(do func(*link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.links {
		do(k)
	}
}

func (k *link) pass(to, from net.Conn) {
	defer k.close()
	buffer := make([]byte, 32<<10)
	for {
		count, err := from.Read(buffer)
		if err != nil {
			return
		}
		k.mu.Lock()
		_, err = to.Write(buffer[:count])
		k.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (k *link) close() {
	k.client.Close()
	k.server.Close()
}

// reset ends a link as a firewall does that forgot it.
func (k *link) reset() {
	for _, c := range []net.Conn{k.client, k.server} {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// swallow makes a link pass nothing until pour.
func (k *link) swallow() {
	k.mu.Lock()
	k.hole = true
}

func (k *link) pour() {
	if k.hole { // else it was made since, and passes
		k.hole = false
		k.mu.Unlock()
	}
}

// The network loses connections, or swallows what is sent over them without a
// word: leader and follower find out, connect again and go on.
func TestNetworkFails(t *testing.T) {
	t.Parallel()

	t.Run("connections are reset", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		net := newNetwork(t, url)
		a := start(t, store.Config{URL: net.url}, listener.Config{}, nil)
		a.leads(t)
		b := start(t, store.Config{URL: net.url}, listener.Config{}, nil)
		b.follows(t)
		app := pgtest.Connect(t, url)
		for range 5 {
			add(t, app, 5)
			net.each((*link).reset)
			add(t, app, 5)
		}
		publishesLog(t, app, 50, a, b)
	})

	t.Run("a black hole", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		net := newNetwork(t, url)
		a := start(t, store.Config{URL: net.url, StallTimeout: stall}, listener.Config{}, nil)
		a.leads(t)
		app := pgtest.Connect(t, url)
		add(t, app, 5)
		a.has(t, 5)
		net.each((*link).swallow)
		defer net.each((*link).pour)
		add(t, app, 5)
		publishesLog(t, app, 10, a)
	})

	t.Run("a black hole when it stops", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		net := newNetwork(t, url)
		s := start(t, store.Config{URL: net.url}, listener.Config{}, nil)
		s.leads(t)
		net.each((*link).swallow)
		defer net.each((*link).pour)
		s.stop()
	})
}

package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/netfault"
)

// engine is the NATS that connects servers and gateways: one server, or a cluster.
type engine struct {
	dir   string // of its configuration
	nodes []*node
}

// node is one NATS server, over all its processes.
type node struct {
	name   string
	binary string
	dir    string
	addr   string          // of clients
	route  string          // of the other nodes
	routes *netfault.Proxy // from the other nodes; nil when there are none
	peers  []string        // where it connects to the other nodes
	log    *os.File

	process *proc.Process
	proxies []*netfault.Proxy // from servers and gateways; they close them
}

// startEngine starts so many NATS servers and waits until they listen.
func startEngine(ctx context.Context, binary, dir string, size int) (e *engine, err error) {
	e = &engine{}
	if e.dir, err = os.MkdirTemp("", "taskfeed-engine-"); err != nil {
		return nil, err
	}
	for i := range size {
		n := &node{name: fmt.Sprintf("n%d", i+1), binary: binary, dir: e.dir}
		e.nodes = append(e.nodes, n)
		if err := n.prepare(dir, size > 1); err != nil {
			return nil, errors.Join(err, e.close())
		}
	}
	for _, n := range e.nodes {
		for _, other := range e.nodes {
			if other != n {
				n.peers = append(n.peers, other.routes.Addr())
			}
		}
		if err := n.start(); err != nil {
			return nil, errors.Join(err, e.close())
		}
	}
	for _, n := range e.nodes {
		if err := n.listens(ctx); err != nil {
			return nil, errors.Join(err, e.close())
		}
	}
	return e, nil
}

func (n *node) prepare(dir string, clustered bool) (err error) {
	if n.log, err = os.OpenFile(filepath.Join(dir, "engine-"+n.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if n.addr, err = freeAddress(); err != nil || !clustered {
		return err
	}
	if n.route, err = freeAddress(); err != nil {
		return err
	}
	n.routes, err = netfault.New("tcp", n.route)
	return err
}

// engineConfig takes messages that are as small as taskfeed can do with, so that pages
// of the log are split. The nodes know each other, and clients know them, through the
// proxies alone.
const engineConfig = `
server_name: %s
listen: %q
max_payload: 512KB
max_pending: 32MB
write_deadline: "5s"
`

const clusterConfig = `
cluster { name: verify, listen: %q, cluster_advertise: %q, no_advertise: true, routes: [%s] }
`

// start starts a process of the node. It does not wait until it listens.
func (n *node) start() error {
	text := fmt.Sprintf(engineConfig, n.name, n.addr)
	if n.routes != nil {
		var routes []string
		for _, addr := range n.peers {
			routes = append(routes, fmt.Sprintf("%q", "nats-route://"+addr))
		}
		text += fmt.Sprintf(clusterConfig, n.route, n.routes.Addr(), strings.Join(routes, ", "))
	}
	path := filepath.Join(n.dir, n.name+".conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	p, err := startChild(n.name, n.binary, []string{"-c", path}, nil, nil, n.log, n.log)
	n.process = p
	return err
}

// listens waits until the node accepts connections.
func (n *node) listens(ctx context.Context) error {
	return await(ctx, patience, func() error {
		if n.process.Ended() {
			return fmt.Errorf("%s of the engine has ended: %s", n.name, n.process.Exit())
		}
		conn, err := net.DialTimeout("tcp", n.addr, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// replace starts a node that knows nothing of the former one, and listens elsewhere.
func (n *node) replace() (err error) {
	if n.addr, err = freeAddress(); err != nil {
		return err
	}
	for _, p := range n.proxies {
		p.SetTarget("tcp", n.addr)
	}
	return n.start()
}

// proxied starts a proxy to each node and returns the URL through them. The caller
// closes the proxies. The first node is another one at each call.
func (e *engine) proxied() (proxies []*netfault.Proxy, url string, err error) {
	var urls []string
	first := len(e.nodes[0].proxies)
	for i := range e.nodes {
		n := e.nodes[(first+i)%len(e.nodes)]
		p, err := netfault.New("tcp", n.addr)
		if err != nil {
			return proxies, "", err
		}
		n.proxies = append(n.proxies, p)
		proxies, urls = append(proxies, p), append(urls, "nats://"+p.Addr())
	}
	return proxies, strings.Join(urls, ","), nil
}

// close ends the engine.
func (e *engine) close() error {
	if e == nil {
		return nil
	}
	var errs []error
	for _, n := range e.nodes {
		if n.process != nil {
			n.process.Kill()
		}
		if n.routes != nil {
			n.routes.Close()
		}
		if n.log != nil {
			errs = append(errs, n.log.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(e.dir))...)
}

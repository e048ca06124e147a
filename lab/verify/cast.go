package verify

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// activeUsers have tasks; one more user has none and hears broadcasts only. Their
// ids begin alike, so that a key cut short would mix them up.
const activeUsers = 4

// writers and their rate: enough that something is always under way, little
// enough for two cores that do all the rest too.
const (
	writers    = 3
	writerRate = 15 // transactions a second of each
)

// newUsers makes users whose canaries nobody can guess.
func newUsers(prefix string) ([]history.User, error) {
	users := make([]history.User, activeUsers+1)
	for i := range users {
		var secret [8]byte
		if _, err := rand.Read(secret[:]); err != nil {
			return nil, err
		}
		users[i] = history.User{ID: fmt.Sprintf("%suser-%d", prefix, i+1), Canary: "canary-" + hex.EncodeToString(secret[:])}
	}
	return users, nil
}

// role is one client of the cast.
type role struct {
	group  string // the process that it lives in
	user   int    // the last one is the idle one
	proto  string
	traits string
	direct bool // not through the proxies
}

// feeds is how many of the cast read a feed, and so must catch up.
func feeds() int64 {
	var n int64
	for _, r := range roles() {
		if r.proto != "rest" {
			n++
		}
	}
	return n
}

// roles cover each protocol for each user and each way to behave. The group b is
// the one that vanishes now and then; c reads slowly through small buffers.
func roles() []role {
	var all []role
	for u := range activeUsers {
		all = append(all, role{group: "a", user: u, proto: "after"}, role{group: "b", user: u, proto: "v1"},
			role{group: "a", user: u, proto: "plain"}, role{group: "b", user: u, proto: "sse"})
	}
	return append(all,
		role{group: "a", user: 0, proto: "after", traits: "churn"},
		role{group: "b", user: 0, proto: "after", traits: "fresh"},
		role{group: "c", user: 1, proto: "after", traits: "small", direct: true},
		role{group: "c", user: 1, proto: "plain", traits: "small", direct: true},
		role{group: "a", user: 2, proto: "v1", traits: "expiring"},
		role{group: "b", user: 2, proto: "plain", traits: "renewing"},
		role{group: "a", user: 3, proto: "v1", traits: "churn"},
		role{group: "b", user: 3, proto: "v1", traits: "fresh"},
		role{group: "a", user: 2, proto: "after", traits: "away"},
		role{group: "b", user: 3, proto: "after", traits: "away"},
		role{group: "a", user: 0, proto: "sse", traits: "churn"},
		role{group: "a", user: 1, proto: "sse", traits: "expiring"},
		role{group: "a", user: 1, proto: "after", traits: "forgetful"},
		role{group: "b", user: 3, proto: "v1", traits: "forgetful"},
		role{group: "a", user: 0, proto: "rest"},
		role{group: "a", user: 1, proto: "rest"},
		role{group: "a", user: activeUsers, proto: "rest"},
		role{group: "a", user: activeUsers, proto: "v1"},
		role{group: "b", user: activeUsers, proto: "plain"},
	)
}

// player is an actor's process.
type player struct {
	*proc.Process
	name   string
	in     io.WriteCloser
	status atomic.Pointer[actor.Status]
	mu     sync.Mutex // held over each write to in
}

// startPlayer starts an actor and hands it its configuration.
func (r *round) startPlayer(name, command string, config any) (*player, error) {
	in, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, theirs, err := os.Pipe()
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer theirs.Close()
	p := &player{name: name, in: ours}
	p.status.Store(&actor.Status{})
	if p.Process, err = startChild(name, r.cfg.Self, []string{command}, nil, in, theirs, r.actorLog); err != nil {
		ours.Close()
		out.Close()
		return nil, err
	}
	r.readers.Go(func() {
		defer out.Close()
		p.follow(out)
	})
	return p, p.send(config)
}

// follow keeps the last status of the actor.
func (p *player) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s actor.Status
		if json.Unmarshal(lines.Bytes(), &s) == nil {
			p.status.Store(&s)
		}
	}
}

// send writes a line to the actor.
func (p *player) send(message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("tell %s: %w", p.name, err)
	}
	return nil
}

// quit ends the actor in order, and by force when that takes too long.
func (p *player) quit() error {
	_ = p.send(actor.Command{Do: actor.DoQuit}) // it may have ended
	err := p.in.Close()
	if !p.Wait(15 * time.Second) {
		p.Kill()
		return fmt.Errorf("%s did not quit", p.name)
	}
	if p.Err() != nil {
		return fmt.Errorf("%s ended with %w", p.name, p.Err())
	}
	return err
}

// tell sends a command to all of some actors.
func tell(players []*player, c actor.Command) error {
	for _, p := range players {
		if err := p.send(c); err != nil {
			return err
		}
	}
	return nil
}

func (r *round) startWriters() error {
	for i := range writers {
		name := fmt.Sprintf("w%d", i+1)
		p, err := r.startPlayer(name, "verify-writer", r.writerConfig(name))
		if err != nil {
			return err
		}
		r.writers = append(r.writers, p)
	}
	return nil
}

func (r *round) writerConfig(name string) actor.WriterConfig {
	c := actor.WriterConfig{Dir: r.dir, Name: name, Seed: r.seed, URL: r.writersURL, Rate: writerRate, Prefix: r.prefix,
		Users: r.users[:activeUsers], Broadcasts: r.private()}
	if r.private() {
		c.Ops = opsTable
	}
	for i, u := range r.users[:activeUsers] {
		c.Shared, c.SharedUsers = append(c.Shared, r.sharedTask(i)), append(c.SharedUsers, u)
	}
	return c
}

func (r *round) startClients() error {
	groups := make(map[string]*actor.ClientsConfig)
	for i, role := range roles() {
		g := groups[role.group]
		if g == nil {
			g = &actor.ClientsConfig{Dir: r.dir, Seed: r.seed, Secret: r.secret}
			groups[role.group] = g
		}
		c := actor.ClientConfig{Name: fmt.Sprintf("%s%d", role.group, i+1), User: r.users[role.user].ID, Proto: role.proto, Traits: role.traits}
		for _, s := range r.servers {
			addr := s.net.Addr()
			if role.direct {
				addr = s.addr
			}
			c.Servers = append(c.Servers, actor.Server{Name: s.name, Addr: addr})
		}
		if role.proto == "rest" {
			c.Foreign = r.foreign(role.user)
		}
		g.Clients = append(g.Clients, c)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		p, err := r.startPlayer("clients "+name, "verify-client", groups[name])
		if err != nil {
			return err
		}
		r.clients = append(r.clients, p)
		r.groups[name] = p
		for _, c := range groups[name].Clients {
			r.names[c.Traits] = append(r.names[c.Traits], c.Name)
		}
	}
	return nil
}

// foreign are the shared tasks that do not belong to a user.
func (r *round) foreign(user int) []string {
	var tasks []string
	for u := range activeUsers {
		if u != user {
			tasks = append(tasks, r.sharedTask(u))
		}
	}
	return tasks
}

// sharedTask is the task of a user that all writers change.
func (r *round) sharedTask(user int) string { return fmt.Sprintf("%sshared-%d", r.prefix, user+1) }

// deliveries and the like, of all clients or writers.
func sum(players []*player, of func(*actor.Status) int64) int64 {
	var n int64
	for _, p := range players {
		n += of(p.status.Load())
	}
	return n
}

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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskfeed/taskfeed/internal/proc"
	"github.com/taskfeed/taskfeed/lab/verify/actor"
	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// activeUsers is the number of users with tasks. Three more users have none: the idle one
// gets only broadcasts, the tokens of the member list the feeds of the first two users,
// as if these were groups, and the admin reads the events of all. All ids have a common prefix, so that a truncated key
// would mix them up.
const (
	activeUsers = 4
	idleUser    = activeUsers
	memberUser  = activeUsers + 1
	adminUser   = activeUsers + 2
)

// The number of writers and their rate: enough that there is always a transaction in
// progress, and little enough for two cores that run everything else too.
const (
	writers    = 3
	writerRate = 15 // transactions a second of each
)

// newUsers returns users with random canaries.
func newUsers(prefix string) ([]history.User, error) {
	users := make([]history.User, adminUser+1)
	for i := range users {
		var secret [8]byte
		if _, err := rand.Read(secret[:]); err != nil {
			return nil, err
		}
		users[i] = history.User{ID: fmt.Sprintf("%suser-%d", prefix, i+1), Canary: "canary-" + hex.EncodeToString(secret[:])}
	}
	users[memberUser].Feeds = []string{users[0].ID, users[1].ID}
	users[adminUser].All = true
	return users, nil
}

// role is one client of the cast.
type role struct {
	group  string // its process
	user   int    // index of the user
	proto  string
	traits string
	direct bool // not through the proxies
}

// feeds returns how many clients read a feed, and so must catch up.
func feeds() int64 {
	var n int64
	for _, r := range roles() {
		if r.proto != "rest" {
			n++
		}
	}
	return n
}

// roles cover each protocol for each user and each behaviour. The processes of group
// b are frozen now and then; those of group c read slowly through small buffers.
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
		role{group: "a", user: idleUser, proto: "rest"},
		role{group: "a", user: idleUser, proto: "v1"},
		role{group: "b", user: idleUser, proto: "plain"},
		role{group: "a", user: idleUser, proto: "after", traits: "churn"},
		role{group: "b", user: idleUser, proto: "sse", traits: "churn"},
		role{group: "a", user: memberUser, proto: "rest"},
		role{group: "a", user: memberUser, proto: "after", traits: "churn"},
		role{group: "b", user: memberUser, proto: "v1", traits: "fresh"},
		role{group: "a", user: memberUser, proto: "sse", traits: "churn"},
		role{group: "b", user: memberUser, proto: "plain", traits: "renewing"},
		role{group: "a", user: 0, proto: "after", traits: "thinned"},
		role{group: "b", user: 1, proto: "v1", traits: "thinned churn"},
		role{group: "a", user: memberUser, proto: "sse", traits: "thinned"},
		role{group: "a", user: 1, proto: "after", traits: "compact churn"},
		role{group: "b", user: 2, proto: "v1", traits: "compact churn"},
		role{group: "a", user: memberUser, proto: "sse", traits: "compact churn"},
		role{group: "a", user: 2, proto: "plain", traits: "named churn"},
		role{group: "b", user: 3, proto: "plain", traits: "named"},
		role{group: "a", user: adminUser, proto: "sse"},
		role{group: "a", user: adminUser, proto: "sse", traits: "churn"},
	)
}

// actorProcess is the process of a writer or of a group of clients.
type actorProcess struct {
	*proc.Process
	name   string
	in     io.WriteCloser
	status atomic.Pointer[actor.Status]
	mu     sync.Mutex // held over each write to in
}

// startActor starts an actor and sends it its configuration.
func (r *round) startActor(name, command string, config any) (*actorProcess, error) {
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
	p := &actorProcess{name: name, in: ours}
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
func (p *actorProcess) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s actor.Status
		if json.Unmarshal(lines.Bytes(), &s) == nil {
			p.status.Store(&s)
		}
	}
}

// send writes a line to the actor.
func (p *actorProcess) send(message any) error {
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

// quit asks the actor to end, and kills it when that takes too long.
func (p *actorProcess) quit() error {
	_ = p.send(actor.Command{Do: actor.DoQuit}) // may have ended already
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

// tell sends a command to all the actors.
func tell(actors []*actorProcess, c actor.Command) error {
	for _, p := range actors {
		if err := p.send(c); err != nil {
			return err
		}
	}
	return nil
}

func (r *round) startWriters() error {
	for i := range writers {
		name := fmt.Sprintf("w%d", i+1)
		p, err := r.startActor(name, "verify-writer", r.writerConfig(name))
		if err != nil {
			return err
		}
		r.writers = append(r.writers, p)
	}
	return r.startJobWriters()
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
		user := r.users[role.user]
		c := actor.ClientConfig{Name: fmt.Sprintf("%s%d", role.group, i+1), User: user.ID, Feeds: user.Feeds, All: user.All, Proto: role.proto, Traits: role.traits}
		for _, s := range r.all() {
			if s.remembers && role.traits == "away" {
				continue // what retention drops while they are away would come from memory
			}
			if s.gateway() && (role.proto == "rest" || strings.HasPrefix(role.traits, "named")) {
				continue // it has no API, and keeps no cursors
			}
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
		p, err := r.startActor("clients "+name, "verify-client", groups[name])
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

// foreign returns the shared tasks of the users whom a user does not see.
func (r *round) foreign(user int) []string {
	var tasks []string
	for u := range activeUsers {
		if !r.users[user].Sees(r.users[u].ID) {
			tasks = append(tasks, r.sharedTask(u))
		}
	}
	return tasks
}

// sharedTask is the task of a user that all writers change.
func (r *round) sharedTask(user int) string { return fmt.Sprintf("%sshared-%d", r.prefix, user+1) }

// sum adds up one number of the actors' status, such as their deliveries.
func sum(actors []*actorProcess, of func(*actor.Status) int64) int64 {
	var n int64
	for _, p := range actors {
		n += of(p.status.Load())
	}
	return n
}

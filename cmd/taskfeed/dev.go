package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/internal/service"
	"github.com/taskfeed/taskfeed/migrations"
)

// devDatabase is the database that dev creates in its private Postgres.
const devDatabase = "taskfeed"

// devTokenTTL is how long the tokens in the banner are valid.
const devTokenTTL = 30 * 24 * time.Hour

type devOptions struct {
	dir    string
	reset  bool
	noDemo bool
}

func devCommand(in *cli.Invocation) *cobra.Command {
	cfg := config{dev: true, host: "127.0.0.1"}
	var opts devOptions
	ss := newSettings(cfg.serveSettings())
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start a server with a private Postgres and a demo, for this machine only",
		Long: "dev starts a private Postgres (or uses DATABASE_URL), brings the schema up to date,\n" +
			"serves on 127.0.0.1 and runs a small workload for the users alice and bob. It keeps\n" +
			"the data for the next start.\n\n" +
			"TASKFEED_PG_BIN is the directory with initdb and postgres; without it, dev searches\n" +
			"for them. TASKFEED_PG_USER is the user that Postgres runs as when root runs dev.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := ss.read(in.Env); err != nil {
				return cli.Usage(err)
			}
			if !cmd.Flags().Changed("log-level") && in.Env("TASKFEED_LOG_LEVEL") == "" {
				cfg.log.level = "warn" // the banner is what matters here
			}
			return dev(cmd.Context(), in, cfg, opts)
		},
	}
	cmd.Flags().StringVar(&opts.dir, "dir", "", "state directory of the private Postgres (default: "+defaultDirForHelp()+")")
	cmd.Flags().BoolVar(&opts.reset, "reset", false, "delete the data of the private Postgres first")
	cmd.Flags().BoolVar(&opts.noDemo, "no-demo", false, "do not run the demo workload")
	ss.register(cmd.Flags())
	return cmd
}

func defaultDirForHelp() string {
	dir, err := defaultDevDir()
	if err != nil {
		return "none"
	}
	return dir
}

func dev(ctx context.Context, in *cli.Invocation, cfg config, opts devOptions) (err error) {
	logger := newLogger(in.Stderr, cfg.log)
	if opts.dir == "" {
		if opts.dir, err = defaultDevDir(); err != nil && cfg.store.URL == "" {
			return err
		}
	}
	private := cfg.store.URL == ""
	if private {
		pg, err := startPrivate(ctx, in, opts)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, pg.Stop()) }()
		if cfg.store.URL, err = createDevDatabase(ctx, pg); err != nil {
			return err
		}
	}
	if cfg.secret == "" && len(cfg.auth.PublicKeyFiles) == 0 && cfg.auth.JWKSURL == "" {
		if cfg.secret, err = devSecret(opts.dir, private); err != nil {
			return err
		}
	}
	if err := cfg.finish(); err != nil {
		return cli.Usage(err)
	}
	if cfg.http.Listener, err = net.Listen("tcp", cfg.http.Addr); err != nil {
		return fmt.Errorf("listen: %w; PORT chooses another port", err)
	}
	if err := migrateDev(ctx, cfg.store.URL, private); err != nil {
		if private {
			err = fmt.Errorf("%w; if another version of taskfeed made the data in %s, \"taskfeed dev --reset\" deletes them and begins anew", err, opts.dir)
		}
		return errors.Join(err, cfg.http.Listener.Close())
	}
	if err := printBanner(in.Stdout, cfg, private); err != nil {
		return errors.Join(err, cfg.http.Listener.Close())
	}
	services := []service.Service{{Name: "server", Run: func(ctx context.Context) error { return serve(ctx, cfg, logger) }}}
	if !opts.noDemo {
		services = append(services, service.Service{Name: "demo", Run: func(ctx context.Context) error { return runDemo(ctx, cfg.store.URL, logger) }})
	}
	return service.RunAll(ctx, services...)
}

// migrateDev migrates up. Migrations may change until they are released, so a private
// database that was made by others of the same numbers is refused.
func migrateDev(ctx context.Context, url string, private bool) error {
	if err := migrations.Up(ctx, url); err != nil || !private {
		return err
	}
	drift, err := migrations.Drift(ctx, url)
	if err == nil && len(drift) > 0 {
		err = errors.New("the schema in the database is not the one of this taskfeed: " + drift[0].Says)
	}
	return err
}

// privatePostgres is a Postgres that dev starts; *devpg.Server is one.
type privatePostgres interface {
	// URL returns the URL of a database.
	URL(database string) string
	// Stop stops Postgres and keeps its data.
	Stop() error
}

func createDevDatabase(ctx context.Context, pg privatePostgres) (string, error) {
	conn, err := dial.Connect(ctx, dial.Config{URL: pg.URL("postgres"), Name: "taskfeed dev"}, nil)
	if err != nil {
		return "", fmt.Errorf("connect to the private Postgres: %w", err)
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", devDatabase).Scan(&exists); err != nil {
		return "", fmt.Errorf("look for database %s: %w", devDatabase, err)
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+devDatabase+" ENCODING 'UTF8' TEMPLATE template0"); err != nil {
			return "", fmt.Errorf("create database %s: %w", devDatabase, err)
		}
	}
	return pg.URL(devDatabase), nil
}

// devSecret returns a secret. With keep it is the same at each start, so that tokens stay
// valid; otherwise it is for this run.
func devSecret(dir string, keep bool) (string, error) {
	path := filepath.Join(dir, "jwt-secret")
	if keep {
		if content, err := os.ReadFile(path); err == nil && len(content) >= auth.MinSecretBytes {
			return string(content), nil
		}
	}
	random := make([]byte, auth.MinSecretBytes)
	_, _ = rand.Read(random) // never fails
	secret := base64.RawURLEncoding.EncodeToString(random)
	if !keep {
		return secret, nil
	}
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		return "", fmt.Errorf("save the secret: %w", err)
	}
	return secret, nil
}

// printBanner prints what to try.
func printBanner(w io.Writer, cfg config, private bool) error {
	base := "http://" + cfg.http.Listener.Addr().String()
	var b strings.Builder
	fmt.Fprintf(&b, "\n  taskfeed is running. Ctrl-C ends it and the private Postgres.\n\n")
	if cfg.secret == "" {
		fmt.Fprintf(&b, "  console  %s/console/  (paste a token of your issuer)\n", base)
	} else {
		admin, err := issueToken(cfg.auth, "admin", auth.RoleAdmin, devTokenTTL)
		if err != nil {
			return err
		}
		alice, err := issueToken(cfg.auth, "alice", "", devTokenTTL, demoTeam)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "  console  %s/console/#token=%s\n\n", base, admin)
		fmt.Fprintf(&b, "  page     %s/#token=%s\n\n", base, alice)
		fmt.Fprintf(&b, "  token    %s\n\n", alice)
		fmt.Fprintf(&b, "  tail     TASKFEED_TOKEN=%s %s tail --user alice --url %s\n\n", alice, quoteShell(os.Args[0]), base)
	}
	fmt.Fprintf(&b, "  psql     %s\n\n", psqlLine(cfg.store.URL, private))
	_, err := io.WriteString(w, b.String())
	return err
}

// psqlLine is a command that makes a task of alice move. Only the URL of the
// private Postgres is shown: another one may hold a password.
func psqlLine(databaseURL string, private bool) string {
	if !private {
		databaseURL = "$DATABASE_URL"
	}
	return "psql \"" + databaseURL + `"` + ` -c "INSERT INTO taskfeed.tasks (id, user_id, status) VALUES ('mine', 'alice', 'running')` +
		` ON CONFLICT (id) DO UPDATE SET status = 'running', progress = (tasks.progress + 10) % 100"`
}

// quoteShell quotes a word for a POSIX shell if necessary.
func quoteShell(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("-_./:@"), r)
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

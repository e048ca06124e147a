// Package dial sets up every connection to Postgres: those of the pools, of the session
// that listens, of migrations and of commands.
//
// Roles, databases, URLs and the environment can set parameters of a session. They do
// that for apps; our statements must work the same whatever they set. So each
// connection begins with the parameters of [pinned], which override all of those. The
// most important is search_path: with it, no name in our statements refers to an object
// that others created, for example in the schema public.
//
// A pooler may refuse parameters at the start of a connection. They are then set right
// after the start, if the session is ours alone ([Connect], [OpenDB]). Through a pooler
// that shares sessions, parameters of a session would apply to an app's statements, and
// the app's to ours. There each transaction begins with them instead ([Config.Local]).
//
// Errors show nothing of a URL except user, database, host and port, and nothing of
// what Postgres says about parameters: in a malformed URL the password may be anywhere.
package dial

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// Config says where a database is and what a kind of connection is for.
type Config struct {
	// URL is the database, as libpq understands it: a URL or keywords and values,
	// completed by the PG* variables. Required.
	URL string

	// Name is the application_name, unless the URL has one.
	Name string

	// StatementTimeout and LockTimeout are bounds that Postgres keeps. Zero means
	// none.
	StatementTimeout, LockTimeout time.Duration

	// Bare leaves the parameters out of the start of a connection. The caller then runs
	// Session or Local.
	Bare bool
}

// defaultConnectTimeout bounds an attempt to connect unless the URL does.
const defaultConnectTimeout = 5 * time.Second

// Check returns what is wrong with a URL. Its error can be shown to users.
func Check(url string) error {
	_, err := parse(url)
	return err
}

// Pool returns the configuration of a pool. The caller bounds its size.
func (c Config) Pool() (*pgxpool.Config, error) {
	cfg, err := parse(c.URL)
	if err != nil {
		return nil, err
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = defaultConnectTimeout
	}
	if !c.Bare {
		c.begin(cfg.ConnConfig.RuntimeParams)
		cfg.AfterConnect = c.settle
	}
	return cfg, nil
}

// Connect opens a session that only the caller uses. tune, unless nil, completes its
// configuration. Errors show no secret.
func Connect(ctx context.Context, c Config, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	conn, err := c.connect(ctx, tune)
	if Refused(err) && !c.Bare {
		c.Bare = true
		if err := c.checkOwn(ctx); err != nil {
			return nil, err
		}
		conn, err = c.connect(ctx, tune)
	}
	if err != nil {
		return nil, Explain(err)
	}
	if err := c.settle(ctx, conn); err != nil {
		_ = conn.Close(ctx) // the first error says it
		return nil, err
	}
	return conn, nil
}

func (c Config) connect(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	cfg, err := c.Pool() // it knows the pool_ parameters that a URL may carry
	if err != nil {
		return nil, err
	}
	if tune != nil {
		tune(cfg.ConnConfig)
	}
	return pgx.ConnectConfig(ctx, cfg.ConnConfig)
}

// OpenDB opens one session for users of database/sql. It first runs the SQL begin, which
// may be several statements. The caller closes it.
func OpenDB(ctx context.Context, c Config, begin string) (*sql.DB, error) {
	db, err := c.openDB(ctx, begin)
	if Refused(err) {
		c.Bare = true
		if err := c.checkOwn(ctx); err != nil {
			return nil, err
		}
		db, err = c.openDB(ctx, begin)
	}
	return db, Explain(err)
}

func (c Config) openDB(ctx context.Context, begin string) (*sql.DB, error) {
	cfg, err := c.Pool()
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cfg.ConnConfig, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if err := c.settle(ctx, conn); err != nil {
			return err
		}
		_, err := conn.PgConn().Exec(ctx, begin).ReadAll()
		return err
	}))
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close() // the first error says it
		return nil, err
	}
	return db, nil
}

// settle sets the parameters that could not be set at the start of a session.
func (c Config) settle(ctx context.Context, conn *pgx.Conn) error {
	statements := ""
	if c.Bare {
		statements = c.session() + ";"
	}
	statements += newer(conn.PgConn(), "false")
	if statements == "" {
		return nil
	}
	if _, err := conn.PgConn().Exec(ctx, statements).ReadAll(); err != nil {
		return fmt.Errorf("set the session's parameters: %w", err)
	}
	return nil
}

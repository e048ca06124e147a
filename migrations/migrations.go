// Package migrations holds the schema over time as numbered SQL files and
// applies them. A file is never edited once released. Old and new binaries must
// both run on the schema between two migrations.
//
// Everything lives in the schema taskfeed, the table of applied versions too,
// so that Down leaves no trace.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed *.sql
var files embed.FS

const (
	versionTable = "taskfeed.schema_version"

	// minServerVersion is the oldest PostgreSQL that we support, as
	// server_version_num prints it.
	minServerVersion = 140000
)

// Versions says how a database's schema compares with this binary's.
type Versions struct {
	Database int64 // last migration applied; 0 for none
	Binary   int64 // last migration that this binary knows
}

// Current reports whether the schema is the one that this binary was built for.
func (v Versions) Current() bool { return v.Database == v.Binary }

// String names the pair, for people.
func (v Versions) String() string {
	return fmt.Sprintf("the database has schema version %d, this binary knows %d", v.Database, v.Binary)
}

// Up brings the schema to this binary's version. Several processes may call it
// at once: one works, the others wait and find nothing to do. It refuses a
// server older than PostgreSQL 14, a database whose encoding is not UTF8, and a
// schema that is newer than the binary. An interrupted Up may be run again.
func Up(ctx context.Context, databaseURL string) error {
	return locked(ctx, databaseURL, func(db *sql.DB) error {
		if err := checkServer(ctx, db); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS taskfeed"); err != nil {
			return fmt.Errorf("create schema taskfeed (its owner needs CREATE on the database): %w", err)
		}
		p, err := provider(db)
		if err != nil {
			return err
		}
		v, err := versions(ctx, p)
		if err != nil {
			return err
		}
		if v.Database > v.Binary {
			return fmt.Errorf("%v: install a newer taskfeed", v)
		}
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate up: %w", err)
		}
		return nil
	})
}

// Down takes every migration back and drops the schema: the tasks and the log
// are gone for good. It changes nothing when objects that are not ours depend
// on ours; the error names them.
func Down(ctx context.Context, databaseURL string) error {
	return locked(ctx, databaseURL, func(db *sql.DB) error {
		exists, err := schemaExists(ctx, db)
		if err != nil || !exists {
			return err
		}
		if err := checkDependants(ctx, db); err != nil {
			return err
		}
		p, err := provider(db)
		if err != nil {
			return err
		}
		if _, err := p.DownTo(ctx, 0); err != nil {
			return fmt.Errorf("migrate down: %w", err)
		}
		if _, err := db.ExecContext(ctx, "DROP TABLE "+versionTable+"; DROP SCHEMA taskfeed"); err != nil {
			return fmt.Errorf("drop schema taskfeed: %w", err)
		}
		return nil
	})
}

// Read returns the versions of a database and of this binary. It changes nothing.
func Read(ctx context.Context, databaseURL string) (Versions, error) {
	var v Versions
	err := withDB(databaseURL, func(db *sql.DB) error {
		p, err := provider(db)
		if err != nil {
			return err
		}
		exists, err := tableExists(ctx, db)
		if err != nil {
			return err
		}
		if !exists {
			sources := p.ListSources()
			v.Binary = sources[len(sources)-1].Version
			return nil
		}
		v, err = versions(ctx, p)
		return err
	})
	return v, err
}

func provider(db *sql.DB) (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

func versions(ctx context.Context, p *goose.Provider) (Versions, error) {
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return Versions{}, fmt.Errorf("read schema version: %w", err)
	}
	return Versions{Database: current, Binary: target}, nil
}

const sqlServer = `
SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding')`

func checkServer(ctx context.Context, db *sql.DB) error {
	var number int
	var version, encoding string
	if err := db.QueryRowContext(ctx, sqlServer).Scan(&number, &version, &encoding); err != nil {
		return fmt.Errorf("read server version: %w", err)
	}
	if number < minServerVersion {
		return fmt.Errorf("PostgreSQL %s is too old: taskfeed needs version 14 or newer", version)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s: taskfeed needs one created with ENCODING 'UTF8'", encoding)
	}
	return nil
}

// sqlDependants finds views, foreign keys and the like outside our schema that
// DROP would refuse over or, with CASCADE, take along.
const sqlDependants = `
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_depend AS d
JOIN pg_class AS ours ON ours.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_class AS v ON v.oid = r.ev_class
LEFT JOIN pg_constraint AS c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
LEFT JOIN pg_class AS t ON t.oid = c.conrelid
WHERE ours.relnamespace = 'taskfeed'::regnamespace
  AND coalesce(v.relnamespace, t.relnamespace) <> 'taskfeed'::regnamespace
ORDER BY 1
LIMIT 100`

func checkDependants(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, sqlDependants)
	if err != nil {
		return fmt.Errorf("look for dependent objects: %w", err)
	}
	defer rows.Close()
	var errs []error
	for rows.Next() {
		var object string
		if err := rows.Scan(&object); err != nil {
			return fmt.Errorf("look for dependent objects: %w", err)
		}
		errs = append(errs, fmt.Errorf("%s depends on taskfeed's tables: drop it first", object))
	}
	return errors.Join(append(errs, rows.Err())...)
}

func schemaExists(ctx context.Context, db *sql.DB) (exists bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT to_regnamespace('taskfeed') IS NOT NULL").Scan(&exists)
	if err != nil {
		return false, fmt.Errorf("look for schema taskfeed: %w", err)
	}
	return exists, nil
}

func tableExists(ctx context.Context, db *sql.DB) (exists bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", versionTable).Scan(&exists)
	if err != nil {
		return false, fmt.Errorf("look for table %s: %w", versionTable, err)
	}
	return exists, nil
}

// sqlLock takes the lock that serialises migrations of one database:
// 1952543595 is taskfeed's class of advisory locks.
const sqlLock = "SELECT pg_advisory_lock(1952543595, 4)"

// locked calls work while this process alone may migrate the database.
func locked(ctx context.Context, databaseURL string, work func(*sql.DB) error) error {
	return withDB(databaseURL, func(db *sql.DB) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer conn.Close() // ends with the session, and so does the lock
		if _, err := conn.ExecContext(ctx, "SET lock_timeout = 0"); err != nil {
			return fmt.Errorf("wait for other migrations: %w", err)
		}
		if _, err := conn.ExecContext(ctx, sqlLock); err != nil {
			return fmt.Errorf("wait for other migrations: %w", err)
		}
		return work(db)
	})
}

// withDB calls work with connections that give up a table lock rather than
// queue the app's writers behind it.
func withDB(databaseURL string, work func(*sql.DB) error) error {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return errors.New("the database URL cannot be parsed: it looks like postgres://user:password@host:5432/database")
	}
	cfg.RuntimeParams["lock_timeout"] = "5s"
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	return work(db)
}

// Package migrations has the schema as numbered SQL files and applies them. A file is
// not edited once it is released. Old and new binaries must both run on the schema
// between two migrations.
//
// Everything is in the schema taskfeed, the table of applied versions too, so that Down
// removes all of it.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
)

//go:embed *.sql
var files embed.FS

const (
	versionTable = "taskfeed.schema_version"

	// minServerVersion is the oldest supported PostgreSQL, as in server_version_num.
	minServerVersion = 140000
)

// Versions are those of a database's schema and of this binary.
type Versions struct {
	Database int64 // last migration applied; 0 for none
	Binary   int64 // last migration that this binary knows
}

// Current reports whether the schema is the one that this binary was built for.
func (v Versions) Current() bool { return v.Database == v.Binary }

// String describes the versions, for people.
func (v Versions) String() string {
	return fmt.Sprintf("the database has schema version %d, this binary knows %d", v.Database, v.Binary)
}

// Up brings the schema to this binary's version. Several processes may call it at once:
// one works, the others wait and find nothing to do. It restores the rights even when
// there is nothing to migrate: see taskfeed.grant_app. It refuses a server older than
// PostgreSQL 14, a database whose encoding is not UTF8, and a schema that is newer than
// the binary. After an interruption, run Up again.
//
// The URL must lead to Postgres itself: Up holds a lock for the length of a session,
// which does not work through a pooler of transactions.
func Up(ctx context.Context, databaseURL string) error {
	return UpTelling(ctx, databaseURL, func(string) {})
}

// UpTelling is Up, and calls tell with a line about what it waits for.
func UpTelling(ctx context.Context, databaseURL string, tell func(string)) error {
	return alone(ctx, databaseURL, tell, func(db *sql.DB) error {
		if err := checkServer(ctx, db); err != nil {
			return err
		}
		if err := createSchema(ctx, db); err != nil {
			return err
		}
		if err := checkRole(ctx, db); err != nil {
			return err
		}
		p, err := provider(db)
		if err != nil {
			return err
		}
		if err := checkNewer(ctx, p); err != nil {
			return err
		}
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate up: %w", err)
		}
		if _, err := db.ExecContext(ctx, "SELECT taskfeed.restrict_rights()"); err != nil {
			return fmt.Errorf("take back rights that nobody needs: %w", err)
		}
		return nil
	})
}

// Down reverts every migration and drops the schema with all tasks and events. It is
// one transaction: when objects that are not ours depend on ours, or are in our schema,
// it changes nothing and the error names them. Without the schema it does nothing.
func Down(ctx context.Context, databaseURL string) error {
	return alone(ctx, databaseURL, func(string) {}, func(db *sql.DB) error {
		exists, err := schemaExists(ctx, db)
		if err != nil || !exists {
			return err
		}
		script, err := downScript(ctx, db)
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, script); err != nil {
			return fmt.Errorf("migrate down: %w", errors.Join(append(dependants(err), err)...))
		}
		return nil
	})
}

// Read returns the versions of a database and of this binary. It changes nothing. It
// returns a *RoleError when the role lacks rights that a server needs.
func Read(ctx context.Context, databaseURL string) (Versions, error) {
	var v Versions
	err := withDB(ctx, databaseURL, "", func(db *sql.DB) error {
		if err := checkRole(ctx, db); err != nil {
			return err
		}
		p, err := provider(db)
		if err != nil {
			return err
		}
		v, err = readVersions(ctx, db, p)
		return err
	})
	return v, err
}

// readVersions is versions for a database that may lack the table of versions.
func readVersions(ctx context.Context, db *sql.DB, p *goose.Provider) (Versions, error) {
	exists, err := tableExists(ctx, db)
	if err != nil {
		return Versions{}, err
	}
	if !exists {
		sources := p.ListSources()
		return Versions{Binary: sources[len(sources)-1].Version}, nil
	}
	return versions(ctx, p)
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

// checkNewer refuses a schema that is newer than this binary.
func checkNewer(ctx context.Context, p *goose.Provider) error {
	v, err := versions(ctx, p)
	if err == nil && v.Database > v.Binary {
		return fmt.Errorf("%v: install a newer taskfeed", v)
	}
	return err
}

// downScript is the Down sections of the migrations that were applied, the last one
// first, followed by the DROP of what Up itself made. Sent as one string, Postgres runs
// it as one transaction.
func downScript(ctx context.Context, db *sql.DB) (string, error) {
	const dropSchema = "DROP SCHEMA taskfeed"
	exists, err := tableExists(ctx, db)
	if err != nil || !exists {
		return dropSchema, err
	}
	p, err := provider(db)
	if err != nil {
		return "", err
	}
	if err := checkNewer(ctx, p); err != nil {
		return "", err
	}
	applied, err := p.Status(ctx)
	if err != nil {
		return "", fmt.Errorf("read schema version: %w", err)
	}
	var script strings.Builder
	for _, m := range slices.Backward(applied) {
		if m.State != goose.StateApplied {
			continue
		}
		text, err := files.ReadFile(m.Source.Path)
		if err != nil {
			return "", fmt.Errorf("read migrations: %w", err)
		}
		_, down, _ := strings.Cut(string(text), "-- +goose Down\n")
		script.WriteString(down)
	}
	script.WriteString("DROP TABLE " + versionTable + ";" + dropSchema)
	return script.String(), nil
}

// dependants returns the objects because of which a DROP failed.
func dependants(err error) []error {
	const dependentObjectsStillExist = "2BP01"
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Code != dependentObjectsStillExist {
		return nil
	}
	var errs []error
	for line := range strings.Lines(pgErr.Detail) {
		errs = append(errs, fmt.Errorf("%s: drop it first", strings.TrimSpace(line)))
	}
	return errs
}

// server is what we need to know of a server and of a database on it.
type server struct {
	number   int    // 150018
	version  string // 15.18, for people
	encoding string
}

func (s server) check() error {
	if s.number < minServerVersion {
		return fmt.Errorf("PostgreSQL %s is too old: taskfeed needs version 14 or newer", s.version)
	}
	if s.encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s: taskfeed needs one created with ENCODING 'UTF8'", s.encoding)
	}
	return nil
}

const sqlServer = `
SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding')`

func checkServer(ctx context.Context, db *sql.DB) error {
	var s server
	if err := db.QueryRowContext(ctx, sqlServer).Scan(&s.number, &s.version, &s.encoding); err != nil {
		return fmt.Errorf("read server version: %w", err)
	}
	return s.check()
}

// createSchema does not use IF NOT EXISTS: that needs the right to create schemas even
// when an administrator has created this one.
func createSchema(ctx context.Context, db *sql.DB) error {
	exists, err := schemaExists(ctx, db)
	if err != nil || exists {
		return err
	}
	if _, err := db.ExecContext(ctx, "CREATE SCHEMA taskfeed"); err != nil {
		return fmt.Errorf("create schema taskfeed%s: %w", rightToCreate(ctx, db), err)
	}
	return nil
}

// rightToCreate returns the GRANT that is missing to create a schema, or nothing when
// the role has that right.
func rightToCreate(ctx context.Context, db *sql.DB) string {
	const sqlMissing = `
SELECT format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user)
WHERE NOT has_database_privilege(current_database(), 'CREATE')`
	var grant string
	if err := db.QueryRowContext(ctx, sqlMissing).Scan(&grant); err != nil {
		return ""
	}
	return " (run as an administrator: " + grant + ")"
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

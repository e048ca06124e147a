package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/presets"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Library is a table of a library that a preset knows.
type Library struct {
	Preset      presets.Preset
	Schema      string
	Table       string // as SQL names it
	Columns     []string
	Partitioned bool
	Version     int    // of the library's schema; 0 when it could not be read
	Source      string // that it is attached as; empty when it is not
}

const sqlLibraries = `
SELECT c.oid::bigint, n.nspname::text, quote_ident(n.nspname), format('%I.%I', n.nspname, c.relname), c.relname::text, c.relkind = 'p', coalesce(s.name, ''),
    ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN taskfeed.sources AS s ON s.relation = c.oid
WHERE c.relname = ANY (@tables)
  AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND c.relpersistence <> 't'
  AND n.nspname <> 'taskfeed'
ORDER BY n.nspname, c.relname
LIMIT 100`

// Libraries lists the tables of libraries that presets know.
func (s *Store) Libraries(ctx context.Context) (all []Library, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) error {
		all = nil
		found, err := libraryTables(ctx, db)
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.Version, err = f.version(ctx, db); err != nil {
				return err
			}
			all = append(all, f.Library)
		}
		return nil
	})
	return all, pg.Wrap("look for tables of libraries", err)
}

// libraryTable is a table with what its version is read by.
type libraryTable struct {
	Library
	relation int64
	schema   string // quoted
}

func libraryTables(ctx context.Context, db pg.Conn) (found []libraryTable, err error) {
	tables := []string{}
	for _, p := range presets.All {
		tables = append(tables, p.Table)
	}
	var f libraryTable
	var name string
	rows, _ := db.Query(ctx, sqlLibraries, pgx.NamedArgs{"tables": tables}) // rows tell of errors too
	_, err = pgx.ForEachRow(rows, []any{&f.relation, &f.Schema, &f.schema, &f.Table, &name, &f.Partitioned, &f.Source, &f.Columns}, func() error {
		for _, p := range presets.All {
			if p.Owns(name, f.Columns) {
				f.Preset = p
				found = append(found, f)
			}
		}
		f.Columns = nil // pgx scans into new memory
		return nil
	})
	return found, err
}

// A view, or a type of a column, runs code of its owner with the rights of whoever
// reads it. So only what belongs to somebody with the rights of our schema's owner is
// read, or to the owner of an attached table who is trusted with them.
const sqlMayRead = `
SELECT EXISTS (
    SELECT
    FROM pg_class AS c
    WHERE c.oid = to_regclass(@table)
      AND (taskfeed.source_stranger(c.oid) IS NULL
        OR EXISTS (
            SELECT
            FROM taskfeed.sources AS s
            JOIN pg_class AS attached ON attached.oid = s.relation
            JOIN pg_class AS ours ON ours.oid = 'taskfeed.tasks'::regclass
            WHERE s.relation = @relation::bigint::oid
              AND s.mapping->'trust_owner' = 'true'
              AND attached.relowner = c.relowner
              AND pg_get_userbyid(ours.relowner) = current_user)))`

// version reads the version of a library's schema. It is 0 where there is none, where
// the role may not read it, or where to read it could run code of a stranger.
func (f libraryTable) version(ctx context.Context, db pg.Conn) (int, error) {
	v := f.Preset.Versions
	if v.Table != "" {
		var safe bool
		if err := db.QueryRow(ctx, sqlMayRead, pgx.NamedArgs{"table": f.schema + "." + v.Table, "relation": f.relation}).Scan(&safe); err != nil || !safe {
			return 0, err
		}
	}
	var text *string
	query := strings.ReplaceAll(v.Query, "{schema}", f.schema)
	err := db.QueryRow(ctx, query, pgx.NamedArgs{"relation": f.relation}).Scan(&text)
	if err != nil || text == nil {
		return 0, ignoreRefused(err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(*text))
	if err != nil {
		return 0, nil
	}
	return version, nil
}

// ignoreRefused leaves errors out that Postgres gives for a query that it cannot run.
func ignoreRefused(err error) error {
	if refusedData(err) {
		return nil
	}
	return err
}

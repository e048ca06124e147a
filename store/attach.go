package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// A table that is in use is tried for this long. Each try waits 200 ms for its lock,
// so writers queue behind it no longer than that.
const (
	attachFor   = 30 * time.Second
	attachPause = 300 * time.Millisecond
)

const sqlAttach = `
SELECT taskfeed.attach(r.relation, @name, @mapping::text::jsonb, @dry_run)::text
FROM (SELECT @table::text::regclass AS relation) AS r`

// Attach makes the rows of a table tasks of their owners, or says what it would do,
// and returns the report. It returns CodeBadRequest with what to write instead for a
// mapping that would not work.
func (s *Store) Attach(ctx context.Context, table, name string, mapping json.RawMessage, dryRun bool) (json.RawMessage, error) {
	args := pgx.NamedArgs{"table": table, "name": name, "mapping": string(mapping), "dry_run": dryRun}
	report, err := s.whenFree(ctx, "attach "+table, sqlAttach, args)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P01" && !strings.Contains(table, ".") {
		return nil, &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: fmt.Sprintf("%s: name its schema too, as in public.%s", e.Message, table), Err: err}
	}
	return report, err
}

const sqlDetach = `
SELECT taskfeed.detach(@name, CASE WHEN @delete THEN 'delete' ELSE 'keep' END)::text`

// Detach ends what Attach began and returns the report. Its tasks stay until they
// are old, or are deleted.
func (s *Store) Detach(ctx context.Context, name string, deleteTasks bool) (json.RawMessage, error) {
	return s.whenFree(ctx, "detach "+name, sqlDetach, pgx.NamedArgs{"name": name, "delete": deleteTasks})
}

// whenFree runs a statement again while the table is in use.
func (s *Store) whenFree(ctx context.Context, doing, statement string, args pgx.NamedArgs) (report json.RawMessage, err error) {
	for began := time.Now(); ; {
		report, err = s.report(ctx, statement, args)
		if !pg.IsLockTimeout(err) || time.Since(began) > attachFor {
			break
		}
		if !pause.For(ctx, attachPause) {
			return nil, context.Cause(ctx)
		}
	}
	return report, advised(doing, err)
}

func (s *Store) report(ctx context.Context, statement string, args pgx.NamedArgs) (json.RawMessage, error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	var report string
	err := s.checks.Do(ctx, func(db pg.Conn) error {
		return db.QueryRow(ctx, statement, args).Scan(&report)
	})
	return json.RawMessage(report), err
}

// advised gives the error of a wrong mapping, whose message says what to write, the
// code of a bad request.
func advised(doing string, err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pg.Wrap(doing, err)
	}
	message := strings.TrimPrefix(e.Message, "taskfeed: ")
	if e.Hint != "" {
		message += ". " + e.Hint
	}
	switch e.Code {
	case "22023", "42P01", "3F000", "42602", "22P02": // our own; no such table or schema, a name that is none; no JSON
		return &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: message, Err: err}
	}
	return pg.Wrap(doing, err)
}

// Source is an attached table.
type Source struct {
	Name, Table string
	Problem     string // empty while it is well
	Remedy      string
	Reading     bool // rows that were there before are still being read
	Errors      int64
	Unmapped    int64
	Unowned     int64
	Unknown     []string // values of the status that the map does not name
	LastError   string
	ErrorAt     *time.Time // of the last error
	AttachedAt  time.Time
	Writes      int64           // rows that were written to the table since its statistics were reset
	Mapping     json.RawMessage // as it was given
}

// Advice says what is wrong with the source, or what its admin should know, and what to
// do about it.
func (s Source) Advice() (problem, remedy string) {
	switch {
	case s.Problem != "":
		return s.Problem, s.Remedy
	case len(s.Unknown) > 0:
		return "the map does not name " + strings.Join(s.Unknown, ", "),
			fmt.Sprintf("attach it again, with %s=… in its map", strings.Join(s.Unknown, "=…, "))
	}
	return "", ""
}

const sqlListSources = `
SELECT s.name, s.table_name, coalesce(p.problem, ''), coalesce(p.remedy, ''),
    s.resolved->>'backfill' <> 'none' AND NOT coalesce(st.revision = s.revision AND st.filled, false),
    coalesce(st.errors, 0), coalesce(st.unmapped, 0), coalesce(st.unowned, 0),
    ARRAY(SELECT k FROM jsonb_object_keys(coalesce(st.unknown, '{}')) AS k ORDER BY k), coalesce(st.last_error, ''),
    st.error_at, s.attached_at, coalesce((
        SELECT sum(pg_stat_get_tuples_inserted(t.oid) + pg_stat_get_tuples_updated(t.oid) + pg_stat_get_tuples_deleted(t.oid))
        FROM (SELECT s.relation UNION ALL SELECT p.relid FROM pg_partition_tree(s.relation) AS p WHERE p.isleaf) AS t (oid)), 0)::bigint,
    s.mapping
FROM taskfeed.sources AS s
LEFT JOIN taskfeed.source_states AS st ON st.name = s.name
LEFT JOIN taskfeed.source_problems() AS p ON p.name = s.name
ORDER BY s.name
LIMIT 1000`

// Sources lists the attached tables. It is cheap enough for every scrape.
func (s *Store) Sources(ctx context.Context) (all []Source, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) error {
		rows, err := db.Query(ctx, sqlListSources)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Source])
		return err
	})
	return all, pg.Wrap("list attached tables", err)
}

// Candidate is a table that could be attached as it is.
type Candidate struct{ Table, Name string }

// A table is one if its key has one column, and if it has one of the columns that
// name an owner and one of those that hold a status.
const sqlCandidates = `
SELECT c.oid::regclass::text, left(regexp_replace(lower(c.relname), '[^a-z0-9_]', '_', 'g'), 30)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('taskfeed', 'pg_catalog', 'information_schema')
  AND jsonb_array_length(taskfeed.source_key(c.oid)) = 1
  AND NOT EXISTS (SELECT FROM taskfeed.sources AS s WHERE s.relation = c.oid)
  AND (SELECT count(*) FILTER (WHERE a.attname IN ('user_id', 'owner_id', 'account_id')) = 1 AND count(*) FILTER (WHERE a.attname IN ('status', 'state')) = 1
       FROM pg_attribute AS a
       WHERE a.attrelid = c.oid
         AND a.attnum > 0
         AND NOT a.attisdropped)
ORDER BY 1
LIMIT 100`

// Candidates lists tables that could be attached without a mapping.
func (s *Store) Candidates(ctx context.Context) (all []Candidate, err error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	err = s.checks.Do(ctx, func(db pg.Conn) error {
		rows, err := db.Query(ctx, sqlCandidates)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Candidate])
		return err
	})
	return all, pg.Wrap("look for tables to attach", err)
}

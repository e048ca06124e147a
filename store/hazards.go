package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// Hazard is something that was set up around our tables and that blocks or falsifies
// what we do with them, or opens them to others.
type Hazard struct {
	Kind HazardKind
	Says string // what it is, and what to run
}

// HazardKind says which of a server's duties is affected.
type HazardKind string

// Kinds of hazards.
const (
	// HazardPublication is a publication that makes Postgres refuse writes.
	HazardPublication HazardKind = "publications"
	// HazardRowSecurity is a policy that hides rows from us, or refuses them.
	HazardRowSecurity HazardKind = "row_security"
	// HazardRights are rights that let others read the log or forge events.
	HazardRights HazardKind = "rights"
	// HazardCapture is a lasting setting under which changes are not captured.
	HazardCapture HazardKind = "capture"
)

// HazardKinds are all there are.
var HazardKinds = []HazardKind{HazardPublication, HazardRowSecurity, HazardRights, HazardCapture}

// sqlPublications finds tables whose rows Postgres lets nobody change. A published
// table needs a replica identity: a key, or all columns. A column list must contain all
// of it, and a row filter may read nothing else. prqual and prattrs came with
// PostgreSQL 15. The log's partitions are published with the log.
const sqlPublications = `
WITH tables AS (
    SELECT c.oid, c.relname, c.relkind, c.relreplident,
           CASE c.relreplident
               WHEN 'f' THEN ARRAY(SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
               WHEN 'n' THEN NULL
               ELSE (SELECT ARRAY(SELECT k FROM unnest(i.indkey) AS k)
                     FROM pg_index AS i
                     WHERE i.indrelid = c.oid
                       AND i.indisvalid
                       AND i.indimmediate
                       AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END)
           END AS identity
    FROM pg_class AS c
    WHERE c.relnamespace = 'taskfeed'::regnamespace
      AND c.relkind IN ('r', 'p')
      AND c.relpersistence = 'p'
), lists AS (
    SELECT p.pubname, t.relname, t.identity,
           CASE jsonb_typeof(to_jsonb(r) -> 'prattrs')
               WHEN 'array' THEN ARRAY(SELECT a::int2 FROM jsonb_array_elements_text(to_jsonb(r) -> 'prattrs') AS a)
           END AS columns,
           ARRAY(SELECT m[1]::int2 FROM regexp_matches(to_jsonb(r) ->> 'prqual', ':varattno (\d+)', 'g') AS m) AS filter
    FROM pg_publication_rel AS r
    JOIN pg_publication AS p ON p.oid = r.prpubid AND (p.pubupdate OR p.pubdelete)
    JOIN tables AS t ON t.oid = r.prrelid
)
SELECT format('table %s has no replica identity: %s; run ALTER TABLE taskfeed.%I REPLICA IDENTITY %s', t.relname,
           coalesce('the publication ' || (
               SELECT string_agg(quote_ident(p.pubname), ', ')
               FROM pg_publication_tables AS pt
               JOIN pg_publication AS p ON p.pubname = pt.pubname AND (p.pubupdate OR p.pubdelete)
               WHERE pt.schemaname = 'taskfeed'
                 AND pt.tablename IN (t.relname, 'events')
                 AND (pt.tablename = t.relname OR t.relname LIKE 'events\_%')
           ) || ' makes Postgres refuse to change its rows', 'a publication would make Postgres refuse to change its rows'),
           t.relname, CASE t.relname WHEN 'changes' THEN 'FULL' ELSE 'DEFAULT, and restore its primary key if that is gone' END)
FROM tables AS t
WHERE t.identity IS NULL
  AND t.relkind = 'r' -- what is published of a partitioned table are its partitions
UNION ALL
SELECT format('the publication %I leaves out columns of table %s that name its rows, so Postgres refuses to change them: publish all columns of it', l.pubname, l.relname)
FROM lists AS l
WHERE NOT l.identity <@ l.columns
UNION ALL
SELECT format('the publication %I filters rows of table %s by columns that do not name them, so Postgres refuses to change them: publish all its rows, or run ALTER TABLE taskfeed.%I REPLICA IDENTITY FULL', l.pubname, l.relname, l.relname)
FROM lists AS l
WHERE NOT l.filter <@ l.identity
LIMIT 100`

// sqlRowSecurity finds the tables whose rows a policy could hide from the role
// that asks, and those that capture, which runs as their owner, could not write.
const sqlRowSecurity = `
SELECT format('row-level security of table %s applies to the role %s: run ALTER TABLE taskfeed.%I NO FORCE ROW LEVEL SECURITY, or as a superuser ALTER ROLE %s BYPASSRLS',
           c.relname, who.name, c.relname, who.name)
FROM pg_class AS c
JOIN pg_roles AS o ON o.oid = c.relowner
CROSS JOIN LATERAL (
    SELECT CASE WHEN row_security_active(c.oid) THEN quote_ident(current_user) ELSE quote_ident(o.rolname) END AS name
) AS who
WHERE c.relnamespace = 'taskfeed'::regnamespace
  AND c.relkind IN ('r', 'p')
  AND (row_security_active(c.oid)
      OR c.relrowsecurity AND c.relforcerowsecurity AND c.relname <> 'tasks' AND NOT o.rolsuper AND NOT o.rolbypassrls)
ORDER BY c.relname
LIMIT 100`

var hazards = []struct {
	kind  HazardKind
	query string
}{
	{HazardPublication, sqlPublications},
	{HazardRowSecurity, sqlRowSecurity},
	{HazardRights, sqlRights},
	{HazardRights, sqlApps},
	{HazardRights, sqlBound},
	{HazardCapture, sqlUncaptured},
}

// Hazards looks for what others have set up around our tables. It costs some
// milliseconds and changes nothing.
func (s *Store) Hazards(ctx context.Context) ([]Hazard, error) {
	ctx, cancel := s.checks.Bound(ctx)
	defer cancel()
	var found []Hazard
	for _, h := range hazards {
		var says []string
		err := s.checks.Do(ctx, func(db pg.Conn) (err error) {
			rows, _ := db.Query(ctx, h.query) // rows tell of errors too
			says, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		if err != nil {
			return nil, pg.Wrap(fmt.Sprintf("look at %s", h.kind), err)
		}
		for _, line := range says {
			found = append(found, Hazard{h.kind, line})
		}
	}
	return found, nil
}

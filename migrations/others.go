package migrations

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/taskfeed/taskfeed/internal/dial"
)

// sqlOthers finds what may be intended and what an administrator should still know:
// what others have bound to our tables, which roles that are no apps' may read the log,
// and which roles have a setting under which their changes are not captured.
const sqlOthers = `
SELECT b.what || ' is bound to ' || b.relation || ': taskfeed forget leaves a user''s tasks to the app to delete'
FROM taskfeed.bound_by_others() AS b
WHERE b.relation = 'taskfeed.tasks'::regclass
UNION ALL
SELECT format('the role %I is no app''s and, as a member of %I, can %s', r.rolname, m.rolname,
           CASE m.rolname WHEN 'pg_read_all_data' THEN 'read the log' WHEN 'pg_write_all_data' THEN 'forge events' ELSE 'do anything here' END)
FROM pg_class AS o
JOIN pg_roles AS m ON m.oid = o.relowner AND NOT m.rolsuper OR m.rolname IN ('pg_read_all_data', 'pg_write_all_data')
JOIN pg_roles AS r ON r.oid <> m.oid AND r.oid <> o.relowner AND pg_has_role(r.oid, m.oid, 'MEMBER')
WHERE o.oid = 'taskfeed.tasks'::regclass
  AND NOT r.rolsuper
  AND r.rolname <> current_user -- a server's
  AND r.oid NOT IN (SELECT a.app FROM taskfeed.apps() AS a) -- those are reported as hazards
UNION ALL
SELECT format('sessions of the role %I play a replica, by a setting of the role: what it changes of tasks is not captured', r.rolname)
FROM pg_db_role_setting AS s
JOIN pg_roles AS r ON r.oid = s.setrole
JOIN pg_class AS o ON o.oid = 'taskfeed.tasks'::regclass AND o.relowner <> r.oid
WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
  AND (has_table_privilege(r.oid, o.oid, 'INSERT') OR has_table_privilege(r.oid, o.oid, 'UPDATE') OR has_table_privilege(r.oid, o.oid, 'DELETE'))
  AND r.oid NOT IN (SELECT a.app FROM taskfeed.apps() AS a)
  AND ` + dial.SetsReplica + `
ORDER BY 1
LIMIT 100`

func inspectOthers(ctx context.Context, db *sql.DB) (found []Finding, err error) {
	lines, err := readLines(ctx, db, sqlOthers)
	if err != nil {
		return nil, fmt.Errorf("look what others may do: %w", err)
	}
	for _, says := range lines {
		found = append(found, note("%s", says))
	}
	return found, nil
}

// sqlLocked finds sessions that hold a lock on a table of ours under which nobody can
// read it. It takes no such lock itself.
const sqlLocked = `
SELECT format('table %s is locked', c.relname) || coalesce(
           format(' by the session %s of the role %I, which calls itself %I: end its transaction, or run SELECT pg_terminate_backend(%s)', l.pid, a.usename, a.application_name, l.pid),
           ' by a prepared transaction: end it; pg_prepared_xacts has its name')
FROM pg_locks AS l
JOIN pg_class AS c ON c.oid = l.relation AND c.relnamespace = 'taskfeed'::regnamespace AND c.relkind IN ('r', 'p')
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'relation'
  AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
  AND l.mode = 'AccessExclusiveLock'
  AND l.granted
ORDER BY 1
LIMIT 100`

// inspectLocks is used when describing the schema took too long because of a lock.
func inspectLocks(ctx context.Context, db *sql.DB) ([]Finding, error) {
	lines, err := readLines(ctx, db, sqlLocked)
	if err != nil {
		return nil, fmt.Errorf("look who holds the tables: %w", err)
	}
	found := []Finding{problem("the schema was not compared, for a table of it is locked by another session: run taskfeed doctor again when it is not")}
	for _, says := range lines {
		found = append(found, problem("%s", says))
	}
	return found, nil
}

func readLines(ctx context.Context, db *sql.DB, query string) (lines []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var says string
		if err := rows.Scan(&says); err != nil {
			return nil, err
		}
		lines = append(lines, says)
	}
	return lines, rows.Err()
}

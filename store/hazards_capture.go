package store

import "github.com/taskfeed/taskfeed/internal/dial"

// sqlUncaptured finds lasting settings that make every new session, or the sessions of
// an app, play a replica. What a session sets for itself cannot be seen. The server's
// configuration is reported where no setting of the database or of our role hides it.
const sqlUncaptured = `
SELECT format('%s play a replica: changes of tasks are not captured; run %s RESET session_replication_role%s, and let apps connect anew', said.who, said.alter, said.more)
FROM (
    SELECT CASE s.setrole WHEN 0 THEN 'all sessions' ELSE format('sessions of the role %I', r.rolname) END
               || CASE s.setdatabase WHEN 0 THEN '' ELSE format(' in the database %I', d.datname) END AS who,
           CASE
               WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'ALTER ROLE ALL'
               WHEN s.setrole = 0 THEN format('ALTER DATABASE %I', d.datname)
               WHEN s.setdatabase = 0 THEN format('ALTER ROLE %I', r.rolname)
               ELSE format('ALTER ROLE %I IN DATABASE %I', r.rolname, d.datname)
           END AS alter,
           '' AS more
    FROM pg_db_role_setting AS s
    JOIN pg_database AS d ON d.datname = current_database()
    LEFT JOIN pg_roles AS r ON r.oid = s.setrole
    WHERE s.setdatabase IN (0, d.oid)
      AND (s.setrole = 0
          OR s.setrole IN (SELECT c.relowner FROM pg_class AS c WHERE c.oid = 'taskfeed.tasks'::regclass)
          OR s.setrole IN (SELECT a.app FROM taskfeed.apps() AS a))
      AND ` + dial.SetsReplica + `
    UNION ALL
    SELECT 'all sessions of this server', 'ALTER SYSTEM', ' or take it out of the configuration, SELECT pg_reload_conf()'
    FROM pg_settings AS g
    WHERE g.name = 'session_replication_role'
      AND g.setting = 'replica'
      AND g.source IN ('configuration file', 'command line', 'environment variable')
) AS said
WHERE EXISTS (
    SELECT
    FROM pg_trigger AS t
    JOIN pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgrelid = 'taskfeed.tasks'::regclass
      AND p.pronamespace = 'taskfeed'::regnamespace
      AND t.tgenabled = 'O')
ORDER BY 1
LIMIT 100`

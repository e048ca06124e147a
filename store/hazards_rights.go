package store

// sqlRights finds rights that no app needs, objects that do not belong to the owner of
// the tasks, and triggers of other tables than the attached ones that call our
// functions, which were made while everybody could call those. It finds attached tables
// whose mapping could run code of a role that got what it reads since it was attached.
const sqlRights = `
WITH owner AS (
    SELECT relowner AS oid
    FROM pg_class
    WHERE oid = 'taskfeed.tasks'::regclass
)
SELECT format('%s of %s is open to %s: run taskfeed migrate up, or %s', privilege, object, role, remedy)
FROM taskfeed.rights_beyond()
UNION ALL
SELECT format('table %s belongs to %s, who can do anything with it: run ALTER TABLE %s OWNER TO %s', c.relname, c.relowner::regrole, c.oid::regclass, owner.oid::regrole)
FROM pg_class AS c, owner
WHERE c.relnamespace = 'taskfeed'::regnamespace
  AND c.relkind IN ('r', 'p') -- sequences follow their tables
  AND c.relowner <> owner.oid
UNION ALL
SELECT format('function %s belongs to %s, who can do anything with it: run ALTER ROUTINE %s OWNER TO %s', p.oid::regprocedure, p.proowner::regrole, p.oid::regprocedure, owner.oid::regrole)
FROM pg_proc AS p, owner
WHERE p.pronamespace = 'taskfeed'::regnamespace
  AND p.proowner <> owner.oid
UNION ALL
SELECT format('trigger %I of table %s calls %s: run DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass, t.tgfoid::regprocedure, t.tgname, t.tgrelid::regclass)
FROM pg_trigger AS t
JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE p.pronamespace = 'taskfeed'::regnamespace
  AND t.tgrelid <> 'taskfeed.tasks'::regclass
  AND NOT EXISTS (
      SELECT
      FROM taskfeed.sources AS s
      WHERE p.proname = 'attached_' || s.name
        AND s.relation IN (t.tgrelid, pg_partition_root(t.tgrelid)))
  AND NOT (t.tgrelid = 'taskfeed.events'::regclass AND p.proname = 'count_erasure')
UNION ALL
SELECT format('attached table %s: %s could run code with the rights of the schema taskfeed: give that back to %s, or attach the table again with "trust_owner": true if the role is to be trusted', s.name, f.stranger, owner.oid::regrole)
FROM taskfeed.sources AS s
CROSS JOIN owner
CROSS JOIN LATERAL (
    SELECT coalesce((
        SELECT taskfeed.source_stranger(c.oid)
        FROM pg_class AS c
        WHERE c.oid IN (SELECT s.relation UNION SELECT (j #>> '{}')::oid FROM jsonb_path_query(s.resolved->'joins', '$.**.relation') AS j)
          AND taskfeed.source_stranger(c.oid) IS NOT NULL
        LIMIT 1), taskfeed.source_named_stranger(s.mapping)) AS stranger
) AS f
WHERE s.mapping->'trust_owner' IS DISTINCT FROM 'true'
  AND f.stranger IS NOT NULL
LIMIT 100`

// sqlApps finds what an app's role can do beyond its grants, by its attributes or its
// memberships, and roles of apps that no longer exist. Before PostgreSQL 16 a role with
// CREATEROLE could make itself a member of any other.
const sqlApps = `
WITH owner AS (
    SELECT relowner AS oid
    FROM pg_class
    WHERE oid = 'taskfeed.tasks'::regclass
), apps AS MATERIALIZED (
    SELECT r.oid, r.rolname
    FROM taskfeed.apps() AS a
    CROSS JOIN owner
    JOIN pg_roles AS r ON r.oid = a.app AND NOT r.rolsuper AND r.oid <> owner.oid
), powers AS (
    SELECT r.oid, r.rolname,
           CASE
               WHEN r.oid = owner.oid OR r.rolsuper THEN 'can do anything'
               WHEN r.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files') THEN 'can do anything, by the files of the database'
               WHEN r.rolname = 'pg_read_all_data' THEN 'can read the log'
               WHEN r.rolname = 'pg_write_all_data' THEN 'can forge events'
               WHEN r.rolname = 'pg_maintain' THEN 'can lock every table'
               WHEN r.rolname = 'pg_signal_backend' THEN 'can end the servers'' sessions'
           END AS member,
           CASE
               WHEN r.rolreplication THEN 'REPLICATION'
               WHEN r.rolcreaterole AND current_setting('server_version_num')::int < 160000 THEN 'CREATEROLE'
           END AS attribute
    FROM pg_roles AS r, owner
)
SELECT CASE
           WHEN p.oid = a.oid THEN format('the role %I of an app can %s: run ALTER ROLE %I NO%s', a.rolname,
               CASE p.attribute WHEN 'REPLICATION' THEN 'read the log by replication' ELSE 'make itself a member of the owner' END, a.rolname, p.attribute)
           ELSE format('the role %I of an app is a member of %I and %s: run REVOKE %I FROM %I, or from the role through which it is one', a.rolname, p.rolname,
               coalesce(p.member, CASE p.attribute WHEN 'REPLICATION' THEN 'can read the log by replication' ELSE 'can make itself a member of the owner' END), p.rolname, a.rolname)
       END
FROM apps AS a
JOIN powers AS p ON pg_has_role(a.oid, p.oid, 'MEMBER') AND coalesce(p.member, p.attribute) IS NOT NULL
UNION ALL
SELECT format('the role %I, for which grant_app was called, is gone: run SELECT taskfeed.grant_app(…) for the role that the app has now, and DELETE FROM taskfeed.app_roles WHERE role = %L', r.role, r.role)
FROM taskfeed.app_roles AS r
CROSS JOIN pg_control_system() AS here
WHERE NOT EXISTS (
    SELECT
    FROM pg_roles AS g
    WHERE CASE r.cluster WHEN here.system_identifier THEN g.oid = r.role_oid ELSE g.rolname = r.role END)
ORDER BY 1
LIMIT 100`

// sqlBound finds foreign keys that refer to our tables without having been allowed. The
// owner of such a table can run code with the rights of whoever deletes the rows that
// it refers to.
const sqlBound = `
SELECT format('the foreign key %I of table %s lets the role %s run code with the rights of whoever deletes rows of %s: run ALTER TABLE %s DROP CONSTRAINT %I',
           c.conname, c.conrelid::regclass, t.relowner::regrole, c.confrelid::regclass, c.conrelid::regclass, c.conname)
       || CASE c.confrelid WHEN 'taskfeed.tasks'::regclass
           THEN format(', or if you trust that role SELECT taskfeed.grant_app(%L, foreign_keys => true)', t.relowner::regrole) ELSE '' END
FROM pg_constraint AS c
JOIN pg_class AS t ON t.oid = c.conrelid
JOIN pg_class AS o ON o.oid = c.confrelid AND o.relnamespace = 'taskfeed'::regnamespace
WHERE c.contype = 'f'
  AND NOT pg_has_role(t.relowner, o.relowner, 'USAGE')
  AND NOT (o.oid = 'taskfeed.tasks'::regclass AND EXISTS (SELECT FROM taskfeed.apps() AS a WHERE a.app = t.relowner AND a.foreign_keys))
UNION ALL
SELECT format('the trigger %I of table %s calls the function %s of the role %s, with our rights: run DROP TRIGGER %I ON %s',
           g.tgname, g.tgrelid::regclass, p.oid::regprocedure, p.proowner::regrole, g.tgname, g.tgrelid::regclass)
FROM pg_trigger AS g
JOIN pg_class AS o ON o.oid = g.tgrelid AND o.relnamespace = 'taskfeed'::regnamespace
JOIN pg_proc AS p ON p.oid = g.tgfoid
WHERE NOT g.tgisinternal
  AND NOT pg_has_role(p.proowner, o.relowner, 'USAGE')
  AND o.oid <> 'taskfeed.tasks'::regclass -- where only the app's own statements run it
ORDER BY 1
LIMIT 100`

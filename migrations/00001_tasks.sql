-- +goose Up
CREATE TABLE taskfeed.app_roles (
    cluster      bigint  NOT NULL, -- its system identifier; on another cluster the name counts, not the oid
    role_oid     oid     NOT NULL,
    role         text    NOT NULL,
    foreign_keys boolean NOT NULL,
    CONSTRAINT app_roles_pkey PRIMARY KEY (cluster, role_oid)
);
COMMENT ON TABLE taskfeed.app_roles IS 'Roles that grant_app was called for. A dump without privileges still contains this list.';

-- A role may be renamed and another created with its name, and a dump may be
-- loaded where roles have other oids.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.apps()
RETURNS TABLE (app oid, name text, foreign_keys boolean, cluster bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT g.oid, g.rolname::text, bool_or(r.foreign_keys), here.system_identifier
    FROM pg_control_system() AS here
    CROSS JOIN taskfeed.app_roles AS r
    JOIN pg_roles AS g ON CASE r.cluster WHEN here.system_identifier THEN g.oid = r.role_oid ELSE g.rolname = r.role END
    GROUP BY g.oid, g.rolname, here.system_identifier
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.apps() IS 'The roles of apps that exist, with their current names.';
REVOKE ALL ON FUNCTION taskfeed.apps() FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.rights_beyond()
RETURNS TABLE (object text, privilege text, role text, remedy text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH apps AS MATERIALIZED (
        SELECT a.app, a.foreign_keys
        FROM taskfeed.apps() AS a
    ), objects (kind, name, named, owner, acl, attribute) AS (
        SELECT 'SCHEMA', n.nspname::text, quote_ident(n.nspname), n.nspowner, n.nspacl, NULL::name
        FROM pg_namespace AS n
        WHERE n.nspname = 'taskfeed'
        UNION ALL
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname, c.oid::regclass::text, c.relowner, c.relacl, NULL
        FROM pg_class AS c
        WHERE c.relnamespace = 'taskfeed'::regnamespace
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT 'TABLE', c.relname, c.oid::regclass::text, c.relowner, a.attacl, a.attname
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped
        WHERE c.relnamespace = 'taskfeed'::regnamespace
        UNION ALL
        SELECT 'ROUTINE', p.oid::regprocedure::text, p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)), NULL
        FROM pg_proc AS p
        WHERE p.pronamespace = 'taskfeed'::regnamespace
    ), given AS (
        SELECT o.kind, o.name, o.named, o.attribute, a.privilege_type AS privilege, a.is_grantable,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee,
               -- Rights of apps and rights that were granted by hand are kept. A right that
               -- comes from default privileges alone is not.
               a.grantee <> 0
                   AND (EXISTS (SELECT FROM apps WHERE apps.app = a.grantee)
                       OR NOT EXISTS (
                           SELECT
                           FROM pg_default_acl AS d
                           CROSS JOIN aclexplode(d.defaclacl) AS b
                           WHERE b.grantee = a.grantee
                             AND b.grantee <> d.defaclrole
                             AND d.defaclnamespace IN (0, 'taskfeed'::regnamespace)))
                   AND CASE o.kind
                       WHEN 'SCHEMA' THEN a.privilege_type = 'USAGE'
                       WHEN 'TABLE' THEN o.name = 'tasks'
                           AND (a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
                               OR a.privilege_type = 'REFERENCES'
                                   AND coalesce(o.attribute = 'id', false)
                                   AND EXISTS (SELECT FROM apps WHERE apps.app = a.grantee AND apps.foreign_keys))
                       WHEN 'ROUTINE' THEN o.name IN ('taskfeed.notify(text,text,jsonb)', 'taskfeed.broadcast(text,jsonb)', 'taskfeed.receive(text,integer)')
                       ELSE false
                   END AS meant
        FROM objects AS o
        CROSS JOIN aclexplode(o.acl) AS a
        WHERE a.grantee <> o.owner
    )
    SELECT lower(g.kind) || ' ' || g.name || coalesce(' (' || g.attribute || ')', ''),
           CASE WHEN g.meant THEN 'GRANT OPTION FOR ' ELSE '' END || g.privilege,
           g.grantee,
           format('REVOKE %s%s%s ON %s %s FROM %s CASCADE', CASE WHEN g.meant THEN 'GRANT OPTION FOR ' ELSE '' END,
               g.privilege, coalesce(' (' || quote_ident(g.attribute) || ')', ''), g.kind, g.named, g.grantee)
    FROM given AS g
    WHERE NOT g.meant
       OR g.is_grantable
    ORDER BY g.attribute NULLS FIRST, g.kind, g.name, g.grantee, g.privilege;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.rights_beyond() IS 'Rights beyond what an app needs, each with the REVOKE that removes it. The owner is left out.';
REVOKE ALL ON FUNCTION taskfeed.rights_beyond() FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.restrict_rights(only_of text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
    app       record;
BEGIN
    LOCK TABLE taskfeed.app_roles IN SHARE ROW EXCLUSIVE MODE; -- two calls at once would update the same catalog rows
    FOR statement IN SELECT b.remedy FROM taskfeed.rights_beyond() AS b WHERE only_of IS NULL OR b.object = only_of LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN insufficient_privilege THEN
            CONTINUE; -- another role owns it; taskfeed doctor reports this
        END;
    END LOOP;
    IF only_of IS NOT NULL OR to_regprocedure('taskfeed.grant_app(regrole, boolean)') IS NULL THEN
        RETURN; -- the objects to grant rights on come with a later migration
    END IF;
    FOR app IN SELECT quote_ident(a.name) AS role, a.foreign_keys FROM taskfeed.apps() AS a LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA taskfeed TO %s', app.role);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON taskfeed.tasks TO %s', app.role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION taskfeed.notify(text, text, jsonb), taskfeed.broadcast(text, jsonb) TO %s', app.role);
        IF to_regprocedure('taskfeed.receive(text, integer)') IS NOT NULL THEN -- it comes with a later migration
            EXECUTE format('GRANT EXECUTE ON FUNCTION taskfeed.receive(text, integer) TO %s', app.role);
        END IF;
        IF app.foreign_keys THEN
            EXECUTE format('GRANT REFERENCES (id) ON taskfeed.tasks TO %s', app.role);
        END IF;
    END LOOP;
    -- Renamed roles get their current names. A role that a dump names and that does not
    -- exist here yet stays in the list.
    INSERT INTO taskfeed.app_roles (cluster, role_oid, role, foreign_keys)
    SELECT a.cluster, a.app, a.name, a.foreign_keys
    FROM taskfeed.apps() AS a
    ON CONFLICT ON CONSTRAINT app_roles_pkey DO UPDATE SET role = excluded.role
        WHERE app_roles.role <> excluded.role;
    DELETE FROM taskfeed.app_roles AS r
    USING pg_control_system() AS here
    WHERE CASE r.cluster
        WHEN here.system_identifier THEN NOT EXISTS (SELECT FROM pg_roles AS g WHERE g.oid = r.role_oid)
        ELSE EXISTS (SELECT FROM pg_roles AS g WHERE g.rolname = r.role)
    END;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.restrict_rights(text) IS 'Revokes rights: roles of apps keep what they need, others keep what was granted by hand. Every migration ends with it.';
REVOKE ALL ON FUNCTION taskfeed.restrict_rights(text) FROM PUBLIC;

CREATE TABLE taskfeed.tasks (
    id           text        NOT NULL DEFAULT gen_random_uuid()::text,
    user_id      text        NOT NULL,
    kind         text,
    status       text        NOT NULL DEFAULT 'queued',
    progress     smallint    NOT NULL DEFAULT 0,
    message      text,
    result       jsonb,
    error        text,
    version      bigint      NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    updated_hour timestamptz NOT NULL DEFAULT date_bin('1 hour', now(), '0001-01-01 00:00:00+00'),
    source       text,
    owners       text[],
    CONSTRAINT tasks_pkey PRIMARY KEY (id)
) WITH (fillfactor = 80);
COMMENT ON TABLE taskfeed.tasks IS 'Tasks. The app writes them in plain SQL, and taskfeed notifies each user of the changes of their tasks.';
COMMENT ON COLUMN taskfeed.tasks.source IS 'The attached table that the task comes from; null for the app''s own. The sequencer alone writes the others.';
COMMENT ON COLUMN taskfeed.tasks.owners IS 'All owners, where an attached table names several; user_id is the first of them. Null otherwise.';
COMMENT ON COLUMN taskfeed.tasks.version IS 'Grows by one with each visible change, and when an app sets it to the old value plus one, as ORMs with optimistic locking do. Maintained by a trigger.';
COMMENT ON COLUMN taskfeed.tasks.updated_at IS 'Time of the last visible change; maintained by a trigger.';
COMMENT ON COLUMN taskfeed.tasks.updated_hour IS 'updated_at rounded down to the hour, for the indexes. A progress update changes it at most once an hour, so all others are HOT updates. Maintained by triggers.';

-- No index contains a column that a progress update changes, so these are HOT updates.
CREATE INDEX tasks_user_id_created_at_id ON taskfeed.tasks (user_id, created_at, id);
COMMENT ON INDEX taskfeed.tasks_user_id_created_at_id IS 'Lists one user''s tasks.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.hour_of(at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN date_bin('1 hour', at, '0001-01-01 00:00:00+00');
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.hour_of(timestamptz) IS 'The beginning of the hour in UTC.';
REVOKE ALL ON FUNCTION taskfeed.hour_of(timestamptz) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.is_tasks(relation oid) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN relation = 'taskfeed.tasks'::regclass;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.is_tasks(oid) IS 'Whether this is taskfeed.tasks, the only table that our triggers work on.';
REVOKE ALL ON FUNCTION taskfeed.is_tasks(oid) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.refuse_table() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = 'taskfeed: this trigger function serves taskfeed.tasks alone; drop the trigger';
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.refuse_table() IS 'Refuses to run as a trigger of another table: its owner could forge events.';
REVOKE ALL ON FUNCTION taskfeed.refuse_table() FROM PUBLIC;

-- Triggers check the rules for a task, and look only at what has changed. CHECK
-- constraints would be loaded and prepared again by each statement, whatever it
-- changes; taskfeed-lab bench shows what two of them cost ("no CHECK").

-- +goose StatementBegin
CREATE FUNCTION taskfeed.broken_rule(
    id text, user_id text, kind text, status text, progress smallint, created_at timestamptz, updated_at timestamptz,
    first_version bigint)
RETURNS text
LANGUAGE sql IMMUTABLE
-- An app's developer reads these names when a write is refused. There is no AND
-- or OR within another: Postgres prints these differently after a dump and a
-- restore, and taskfeed doctor would report a change.
RETURN CASE
    WHEN octet_length(id) < 1 OR octet_length(id) > 255 OR id ~ '[\x01-\x1f\x7f]'
        THEN 'id_is_1_to_255_bytes_without_control_characters'
    WHEN octet_length(user_id) < 1 OR octet_length(user_id) > 255 OR user_id ~ '[\x01-\x1f\x7f]'
        THEN 'user_id_is_1_to_255_bytes_without_control_characters'
    WHEN octet_length(kind) > 255
        THEN 'kind_is_at_most_255_bytes'
    WHEN status NOT IN ('queued', 'running', 'completed', 'failed', 'canceled')
        THEN 'status_is_queued_running_completed_failed_or_canceled'
    WHEN progress < 0 OR progress > 100
        THEN 'progress_is_between_0_and_100'
    -- RFC 3339 has no later years, so a client could not be told.
    WHEN created_at < '0001-01-01 00:00:00+00' OR created_at >= '9999-01-01 00:00:00+00'
        THEN 'created_at_is_in_the_years_1_to_9998'
    WHEN updated_at < '0001-01-01 00:00:00+00' OR updated_at >= '9999-01-01 00:00:00+00'
        THEN 'updated_at_is_in_the_years_1_to_9998'
    -- Half of what JavaScript can count to, so there is room to grow.
    WHEN first_version < 0 OR first_version > 4503599627370496
        THEN 'version_begins_at_0_to_4503599627370496'
END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.broken_rule(text, text, text, text, smallint, timestamptz, timestamptz, bigint) IS 'The rule that a task breaks, or null. A null value breaks no rule: NOT NULL of its column refuses it.';
REVOKE ALL ON FUNCTION taskfeed.broken_rule(text, text, text, text, smallint, timestamptz, timestamptz, bigint) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.refuse_task(rule text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE check_violation USING -- as for a CHECK constraint of this name
        MESSAGE = pg_catalog.format('new row for relation "tasks" violates check constraint "%s"', rule),
        SCHEMA = 'taskfeed',
        TABLE = 'tasks',
        CONSTRAINT = rule;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.refuse_task(text) IS 'Refuses a task that breaks a rule.';
REVOKE ALL ON FUNCTION taskfeed.refuse_task(text) FROM PUBLIC;

CREATE FUNCTION taskfeed.is_folding() RETURNS boolean
LANGUAGE sql STABLE
-- The triggers run as the owner, current_user, so this asks for who runs the statement.
RETURN current_setting('taskfeed.folding', true) IS NOT DISTINCT FROM 'on'
    AND pg_has_role(CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role')::name END, current_user, 'USAGE');
COMMENT ON FUNCTION taskfeed.is_folding() IS 'Whether the sequencer runs the statement, whatever settings an app makes.';
REVOKE ALL ON FUNCTION taskfeed.is_folding() FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.refuse_source(source text, was text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT taskfeed.is_folding() THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = pg_catalog.format('taskfeed: this task comes from the attached table "%s" and follows its rows; change the row there, or name the app''s own tasks with "source IS NULL"', coalesce(was, source));
    END IF;
    RETURN false;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.refuse_source(text, text) IS 'Refuses a write of an app to a task of an attached table, whatever settings the app makes; false where the sequencer writes.';
REVOKE ALL ON FUNCTION taskfeed.refuse_source(text, text) FROM PUBLIC;

-- Triggers fire in the order of their names. Our BEFORE triggers come last:
-- they check the row as the app's own triggers have left it.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.check_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    broken pg_catalog.text;
BEGIN
    IF NOT taskfeed.is_tasks(tg_relid) THEN
        PERFORM taskfeed.refuse_table();
    END IF;
    broken := taskfeed.broken_rule(new.id, new.user_id, new.kind, new.status, new.progress, new.created_at, new.updated_at,
        new.version);
    IF broken IS NOT NULL THEN
        PERFORM taskfeed.refuse_task(broken);
    ELSIF new.source IS NOT NULL THEN
        PERFORM taskfeed.refuse_source(new.source);
    END IF;
    new.updated_hour := taskfeed.hour_of(new.updated_at);
    RETURN new;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.check_insert() IS 'Refuses a new task that breaks a rule.';
REVOKE ALL ON FUNCTION taskfeed.check_insert() FROM PUBLIC;

CREATE TRIGGER zz_taskfeed_check_insert
    BEFORE INSERT ON taskfeed.tasks
    FOR EACH ROW EXECUTE FUNCTION taskfeed.check_insert();
COMMENT ON TRIGGER zz_taskfeed_check_insert ON taskfeed.tasks IS 'Checks new tasks and keeps updated_hour.';
-- ALWAYS: the rules also hold for rows that come by replication and for rows that
-- are loaded with session_replication_role = replica.
ALTER TABLE taskfeed.tasks ENABLE ALWAYS TRIGGER zz_taskfeed_check_insert;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.is_tasks(oid);
DROP TABLE taskfeed.tasks;
DROP FUNCTION taskfeed.refuse_table();
DROP FUNCTION taskfeed.check_insert();
DROP FUNCTION taskfeed.refuse_source(text, text);
DROP FUNCTION taskfeed.is_folding();
DROP FUNCTION taskfeed.refuse_task(text);
DROP FUNCTION taskfeed.broken_rule(text, text, text, text, smallint, timestamptz, timestamptz, bigint);
DROP FUNCTION taskfeed.hour_of(timestamptz);
DROP FUNCTION taskfeed.restrict_rights(text);
DROP FUNCTION taskfeed.rights_beyond();
DROP FUNCTION taskfeed.apps();
DROP TABLE taskfeed.app_roles;

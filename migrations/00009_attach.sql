-- +goose Up
-- Without nested loops: a plan that was made for a statement of one row stays, and must
-- serve one of thousands.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_functions(relation regclass, name text, m jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made text;
BEGIN
    made := format(
        E'CREATE OR REPLACE FUNCTION taskfeed.%1$I() RETURNS trigger\n'
            'LANGUAGE plpgsql SECURITY DEFINER\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'SET enable_nestloop = off\n'
            'AS %2$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%1$I() FROM PUBLIC;\n'
            'CREATE OR REPLACE FUNCTION taskfeed.%3$I(ids text[], after text[], at_most integer)\n'
            'RETURNS TABLE (task_id text, data jsonb, failure text, place text[])\n'
            'LANGUAGE plpgsql STABLE\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'AS %4$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%3$I(text[], text[], integer) FROM PUBLIC',
        'attached_' || name, taskfeed.source_trigger_code(name, m),
        'attached_' || name || '_rows', taskfeed.source_rows_code(relation, m));
    IF m ? 'joins' THEN
        made := made || E';\n' || taskfeed.source_joined_code(name, m);
    END IF;
    RETURN made;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_functions(regclass, text, jsonb) IS 'The statements that make the functions of a source.';
REVOKE ALL ON FUNCTION taskfeed.source_functions(regclass, text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_triggers(relation regclass, name text) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN by_row THEN ARRAY[format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name, relation, 'attached_' || name)]
            ELSE ARRAY[
                format('CREATE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_insert', relation, 'attached_' || name),
                format('CREATE TRIGGER %I AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_update', relation, 'attached_' || name),
                format('CREATE TRIGGER %I AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_delete', relation, 'attached_' || name)]
            END
        || format('CREATE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_truncate', relation, 'attached_' || name)
    FROM (
        SELECT NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND g.tgname = 'aa_taskfeed_' || name || '_update')
            AND (c.relkind <> 'r'
                OR taskfeed.source_key(relation) IS NULL
                OR EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent))
                OR EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND g.tgname = 'aa_taskfeed_' || name)) -- as it was when it was attached
        FROM pg_class AS c
        WHERE c.oid = relation
    ) AS t (by_row)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_triggers(regclass, text) IS 'The statements that make the triggers of a source, the only objects on the app''s table.';
REVOKE ALL ON FUNCTION taskfeed.source_triggers(regclass, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_fingerprint(relation regclass, m jsonb) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('relation', t.relation::text, 'number', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY t.relation, a.attnum), '[]')
    FROM (
        SELECT source_fingerprint.relation::oid, (m - 'joins')::text
        UNION ALL
        SELECT (j->>'relation')::oid, jsonb_build_array(j->'key', j->'found', j #> '{then,keys}')::text
        FROM jsonb_path_query(m->'joins', '$.** ? (exists (@.relation))') AS j
    ) AS t (relation, code)
    JOIN pg_attribute AS a ON a.attrelid = t.relation
    WHERE a.attnum > 0
      AND NOT a.attisdropped
      AND (t.code ~ ('\mr\.' || regexp_replace(a.attname, '(\W)', '\\\1', 'g') || '\M') OR position('r.\"' || a.attname || '\"' IN t.code) > 0)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_fingerprint(regclass, jsonb) IS 'The columns that a mapping reads.';
REVOKE ALL ON FUNCTION taskfeed.source_fingerprint(regclass, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.make_source(relation regclass, name text, m jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning -- of functions that are not there yet
AS $$
DECLARE
    function_name text;
BEGIN
    EXECUTE format('DROP FUNCTION IF EXISTS taskfeed.%I(text, text, text[])', 'attached_' || name || '_joined');
    EXECUTE taskfeed.source_functions(relation, name, m);
    FOR function_name IN
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p
        WHERE p.pronamespace = 'taskfeed'::regnamespace
          AND p.proname IN ('attached_' || name, 'attached_' || name || '_rows', 'attached_' || name || '_joined')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %s', function_name, (SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = 'taskfeed.tasks'::regclass));
        PERFORM taskfeed.restrict_rights('routine ' || function_name);
    END LOOP;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.make_source(regclass, text, jsonb) IS 'Creates or replaces the functions of a source. Every session then compiles them again.';
REVOKE ALL ON FUNCTION taskfeed.make_source(regclass, text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_refusal(relation regclass, name text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN source_refusal.name IS NULL OR source_refusal.name !~ '^[a-z][a-z0-9_]{0,29}$'
            THEN format('"%s" is no name for a source: it has 1 to 30 of a-z, 0-9 and "_" and begins with a letter', source_refusal.name)
        WHEN c.oid IS NULL
            THEN 'there is no such table: name it with its schema, for example app.exports'
        WHEN c.relkind IN ('v', 'm')
            THEN format('%s is a view: attach the table that it reads', source_refusal.relation)
        WHEN c.relkind NOT IN ('r', 'p')
            THEN format('%s is not a table of this database: attach it in the database where its rows are', source_refusal.relation)
        WHEN c.relpersistence = 't'
            THEN format('%s is a temporary table, which no other session sees: attach one that stays', source_refusal.relation)
        WHEN c.relnamespace IN ('taskfeed'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace)
            THEN format('%s belongs to taskfeed or to Postgres: attach a table of the app', source_refusal.relation)
        WHEN c.relispartition
            THEN format('%s is a partition: attach %s', source_refusal.relation, pg_partition_root(source_refusal.relation))
        WHEN NOT has_table_privilege(c.oid, 'TRIGGER')
            THEN format('the role may not make a trigger: run GRANT TRIGGER, SELECT ON %s TO %I', source_refusal.relation, current_user)
        WHEN NOT has_table_privilege(o.relowner, c.oid, 'SELECT') OR NOT has_schema_privilege(o.relowner, c.relnamespace, 'USAGE')
            THEN format('the role of the schema taskfeed may not read the rows: run GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %2$s', c.relnamespace::regnamespace, o.relowner::regrole, source_refusal.relation)
        WHEN NOT pg_has_role(o.relowner, 'USAGE')
            THEN format('the role has not the rights of %s, which owns the schema taskfeed: connect as that role, or run GRANT %1$s TO %I', o.relowner::regrole, current_user)
        WHEN bound.what IS NOT NULL
            THEN format('%s is bound to taskfeed.tasks and could run code with the rights of the sequencer: drop it first', bound.what)
        WHEN to_regclass(same_name.table_name) = same_name.relation
            THEN format('the source %s is attached to %s: detach it first, or choose another name', source_refusal.name, same_name.table_name)
        WHEN same_table.name IS NOT NULL
            THEN format('%s is attached already, as the source %s: use that name to change its mapping, or run taskfeed detach %2$s first', source_refusal.relation, same_table.name)
    END
    FROM pg_class AS o
    LEFT JOIN pg_class AS c ON c.oid = source_refusal.relation
    LEFT JOIN taskfeed.sources AS same_name ON same_name.name = source_refusal.name AND same_name.relation <> source_refusal.relation
    LEFT JOIN taskfeed.sources AS same_table ON same_table.name <> source_refusal.name AND same_table.relation = source_refusal.relation
    LEFT JOIN LATERAL (
        SELECT b.what
        FROM taskfeed.bound_by_others() AS b
        WHERE b.relation = 'taskfeed.tasks'::regclass
        LIMIT 1
    ) AS bound ON true
    WHERE o.oid = 'taskfeed.tasks'::regclass
    LIMIT 1
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_refusal(regclass, text) IS 'Why a table cannot be attached and what to do; null when it can.';
REVOKE ALL ON FUNCTION taskfeed.source_refusal(regclass, text) FROM PUBLIC;

-- A mapping is evaluated with the rights of the owner of our schema. It can run code
-- of the owner of the table or of a column's type: a cast runs without being named,
-- and the owner of a table may change the types of its columns.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_stranger(relation regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE tables AS (
        SELECT c.oid, c.relowner
        FROM pg_class AS c
        WHERE c.oid = source_stranger.relation
           OR c.oid IN (SELECT t.relid FROM pg_partition_tree(source_stranger.relation) AS t)
    ), types (oid) AS (
        SELECT a.atttypid
        FROM pg_attribute AS a
        JOIN tables AS c ON c.oid = a.attrelid
        WHERE a.attnum > 0
          AND NOT a.attisdropped
        UNION
        SELECT part.oid
        FROM types AS whole
        JOIN pg_type AS t ON t.oid = whole.oid
        CROSS JOIN LATERAL (
            SELECT t.typelem
            UNION ALL SELECT t.typbasetype
            UNION ALL SELECT r.rngsubtype FROM pg_range AS r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
            UNION ALL SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS part (oid)
        WHERE part.oid <> 0
    )
    SELECT format('the role %s, which owns the %s,', s.owner::regrole, s.what)
    FROM (
        SELECT c.relowner, format('table %s', c.oid::regclass) FROM tables AS c
        UNION ALL
        SELECT t.typowner, format('type %s', t.oid::regtype) FROM types AS u JOIN pg_type AS t ON t.oid = u.oid
    ) AS s (owner, what)
    JOIN pg_class AS o ON o.oid = 'taskfeed.tasks'::regclass
    WHERE NOT pg_has_role(s.owner, o.relowner, 'USAGE')
    ORDER BY 1
    LIMIT 1
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_stranger(regclass) IS 'A role without the rights of the owner of this schema whose code the mapping of a table could run; null when there is none.';
REVOKE ALL ON FUNCTION taskfeed.source_stranger(regclass) FROM PUBLIC;

-- Whoever may replace a function or a type that a mapping names may change its code.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_named_stranger(mapping jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH named AS (
        SELECT n.oid AS schema, g.name
        FROM (
            SELECT array_agg(CASE WHEN p.part LIKE '"%' THEN replace(substr(p.part, 2, length(p.part) - 2), '""', '"') ELSE lower(p.part) END ORDER BY p.n)
            FROM jsonb_path_query(source_named_stranger.mapping, '$.** ? (@.type() == "string")') WITH ORDINALITY AS v (value, i)
            CROSS JOIN regexp_matches(v.value #>> '{}', '([[:alpha:]_][\w$]*|"(?:[^"]|"")+")\s*\.\s*([[:alpha:]_][\w$]*|"(?:[^"]|"")+")', 'g') WITH ORDINALITY AS m (parts, j)
            CROSS JOIN unnest(m.parts) WITH ORDINALITY AS p (part, n)
            GROUP BY v.i, m.j
        ) AS w (parts)
        CROSS JOIN LATERAL (SELECT w.parts[1], w.parts[2]) AS g (schema, name)
        JOIN pg_namespace AS n ON n.nspname = g.schema
    )
    SELECT format('the role %s, which owns the %s,', s.owner::regrole, s.what)
    FROM (
        SELECT p.proowner, format('function %s', p.oid::regprocedure) FROM pg_proc AS p JOIN named AS n ON n.schema = p.pronamespace AND n.name = p.proname
        UNION ALL
        SELECT t.typowner, format('%s %s', CASE t.typrelid WHEN 0 THEN 'type' ELSE 'table' END, t.oid::regtype) FROM pg_type AS t JOIN named AS n ON n.schema = t.typnamespace AND n.name = t.typname
    ) AS s (owner, what)
    JOIN pg_class AS o ON o.oid = 'taskfeed.tasks'::regclass
    WHERE NOT pg_has_role(s.owner, o.relowner, 'USAGE')
    ORDER BY 1
    LIMIT 1
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_named_stranger(jsonb) IS 'A role without the rights of the owner of this schema that owns a function or a type which a mapping names; null when there is none.';
REVOKE ALL ON FUNCTION taskfeed.source_named_stranger(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_sample(relation regclass, m jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    latest text;
    users  text := m #>> '{values,users}';
    sample jsonb;
BEGIN
    IF m->'joins' ? 'user' THEN
        users := taskfeed.source_found(m, 'user');
    END IF;
    latest := coalesce((
        SELECT 'ORDER BY ' || string_agg(format('t.%I DESC', e.k->>'column'), ', ' ORDER BY e.n)
        FROM jsonb_array_elements(CASE jsonb_typeof(m->'key') WHEN 'array' THEN m->'key' ELSE '[]' END) WITH ORDINALITY AS e (k, n)), '');
    EXECUTE format('
        WITH mapped AS (
            SELECT %L || (%s)::text AS id, coalesce((%s)::text, ''null'') AS status, %s AS users
            FROM (SELECT t.* FROM %s AS t %s LIMIT 1000) AS r
            WHERE %s
        )
        SELECT jsonb_build_object(
            ''rows'', (SELECT count(*) FROM mapped),
            ''values'', (SELECT jsonb_object_agg(v.status, v.n) FROM (SELECT status, count(*) AS n FROM mapped GROUP BY status ORDER BY n DESC LIMIT 50) AS v),
            ''crowded'', (SELECT count(*) FROM mapped WHERE jsonb_typeof(users) = ''array'' AND jsonb_array_length(users) > 64),
            ''without_owner'', (SELECT count(*) FROM mapped WHERE users IN (''[]'', ''[null]'', ''null'') OR users IS NULL),
            ''owners'', (SELECT jsonb_agg(o.users) FROM (SELECT DISTINCT users FROM mapped WHERE users NOT IN (''[]'', ''[null]'') LIMIT 5) AS o),
            ''ids'', (SELECT jsonb_agg(i.id) FROM (SELECT id FROM mapped LIMIT 5) AS i))',
        m->>'prefix', m->>'id', m->>'status', users, relation, latest, coalesce(m->>'when', 'true'))
    INTO sample;
    RETURN sample;
EXCEPTION WHEN OTHERS THEN
    RETURN jsonb_build_object('failure', sqlstate || ' ' || sqlerrm);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_sample(regclass, jsonb) IS 'What a mapping produces from the latest 1,000 rows.';
REVOKE ALL ON FUNCTION taskfeed.source_sample(regclass, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_report(relation regclass, name text, m jsonb) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH found AS MATERIALIZED (
        SELECT taskfeed.source_sample(relation, m) AS sample
    )
    SELECT jsonb_build_object(
        'name', name,
        'table', relation::text,
        'partitioned', c.relkind = 'p',
        'rows_about', greatest(c.reltuples, 0)::bigint,
        'may_detach', pg_has_role(c.relowner, 'USAGE'),
        'mapping', m,
        'sample', f.sample,
        'unmapped', (
            SELECT coalesce(jsonb_agg(v), '[]')
            FROM jsonb_object_keys(CASE jsonb_typeof(f.sample->'values') WHEN 'object' THEN f.sample->'values' ELSE '{}' END) AS v
            WHERE NOT m->'map' ?| ARRAY[v, '*']),
        'sql', taskfeed.source_functions(relation, name, m) || E';\n' || array_to_string(taskfeed.source_triggers(relation, name), E';\n') || ';')
    FROM pg_class AS c
    CROSS JOIN found AS f
    WHERE c.oid = relation
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_report(regclass, text, jsonb) IS 'What attach would do, and what the mapping produces from existing rows.';
REVOKE ALL ON FUNCTION taskfeed.source_report(regclass, text, jsonb) FROM PUBLIC;

-- To look at a mapping evaluates it, with the rights of the caller: whose code that would
-- run is found out before.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.attach(source regclass, name text, mapping jsonb, dry_run boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '200ms'
AS $$
#variable_conflict use_column
DECLARE
    refusal  text := taskfeed.source_refusal(source, name);
    stranger text;
    m        jsonb;
    report   jsonb;
    changed  boolean;
    made     text[];
BEGIN
    IF refusal IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: ' || refusal;
    END IF;
    stranger := coalesce(taskfeed.source_stranger(source), taskfeed.source_named_stranger(mapping));
    IF stranger IS NOT NULL AND mapping->'trust_owner' IS DISTINCT FROM 'true' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s could run code with the rights of the schema taskfeed, and read what every user is told', stranger),
            HINT = 'Give the mapping "trust_owner": true if that role is to be trusted with it, or give what it owns to a role that has these rights.';
    END IF;
    m := taskfeed.source_mapping(source, name, mapping);
    report := taskfeed.source_report(source, name, m);
    IF report #>> '{sample,failure}' IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: the mapping fails for rows that there are: ' || (report #>> '{sample,failure}'),
            HINT = 'Write expressions that every row passes, for example with CASE, or leave rows out by "when".';
    ELSIF dry_run THEN
        RETURN report;
    END IF;
    SELECT NOT (s.relation = attach.source AND s.resolved = m AND s.fingerprint = taskfeed.source_fingerprint(attach.source, m)) INTO changed
    FROM taskfeed.sources AS s
    WHERE s.name = attach.name;
    IF coalesce(changed, true) THEN
        PERFORM taskfeed.make_source(source, name, m);
    END IF;
    SELECT array_agg(t) INTO made
    FROM unnest(taskfeed.source_triggers(source, name)) AS t
    WHERE NOT EXISTS (
        SELECT
        FROM pg_trigger AS g
        WHERE g.tgrelid = attach.source
          AND NOT g.tgisinternal
          AND starts_with(t, format('CREATE TRIGGER %I ', g.tgname)));
    FOR i IN 1 .. coalesce(cardinality(made), 0) LOOP
        EXECUTE made[i];
    END LOOP;
    INSERT INTO taskfeed.sources AS s (name, relation, table_name, mapping, resolved, fingerprint)
    VALUES (attach.name, source, source::text, attach.mapping, m, taskfeed.source_fingerprint(source, m))
    ON CONFLICT ON CONSTRAINT sources_pkey DO UPDATE
        SET relation = excluded.relation, table_name = excluded.table_name, mapping = excluded.mapping,
            resolved = excluded.resolved, fingerprint = excluded.fingerprint, revision = s.revision + 1
        WHERE coalesce(changed, true)
           OR made IS NOT NULL;
    IF coalesce(changed, true) OR made IS NOT NULL THEN -- the sequencer reads the existing rows
        INSERT INTO taskfeed.changes (type, source) VALUES ('attached', attach.name);
        IF taskfeed.must_ring() THEN
            PERFORM pg_notify('taskfeed', '');
        END IF;
    END IF;
    RETURN report || jsonb_build_object('attached', CASE
        WHEN changed IS NULL THEN 'new' WHEN changed THEN 'changed' WHEN made IS NOT NULL THEN 'repaired' ELSE 'unchanged' END);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.attach(regclass, text, jsonb, boolean) IS 'Attaches a table, so that its rows become tasks of their owners, or changes its mapping. Repeating a call changes nothing. Returns what it did; a dry run does nothing.';
REVOKE ALL ON FUNCTION taskfeed.attach(regclass, text, jsonb, boolean) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.detach(name text, tasks text DEFAULT 'keep') RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning -- of functions that are not there
SET lock_timeout = '200ms'
AS $$
#variable_conflict use_column
DECLARE
    table_was text;
    drops     text[];
    reason    text;
BEGIN
    IF tasks IS NULL OR tasks NOT IN ('keep', 'delete') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: tasks must be "keep" or "delete"';
    END IF;
    SELECT s.table_name INTO table_was FROM taskfeed.sources AS s WHERE s.name = detach.name;
    IF NOT found THEN
        RETURN jsonb_build_object('name', name, 'detached', 'unchanged');
    END IF;
    -- From here nothing is captured. This needs no lock on the table.
    EXECUTE format('CREATE OR REPLACE FUNCTION taskfeed.%I() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NULL; END''', 'attached_' || name);
    SELECT array_agg(format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass)) INTO drops
    FROM pg_trigger AS g
    JOIN pg_proc AS p ON p.oid = g.tgfoid
    WHERE p.pronamespace = 'taskfeed'::regnamespace
      AND p.proname = 'attached_' || detach.name
      AND g.tgparentid = 0;
    BEGIN
        FOR i IN 1 .. coalesce(cardinality(drops), 0) LOOP
            EXECUTE drops[i];
        END LOOP;
    EXCEPTION WHEN lock_not_available OR insufficient_privilege THEN
        reason := CASE sqlstate WHEN '55P03' THEN 'the table is in use: call this again' ELSE 'only the owner of the table may drop a trigger' END;
        RETURN jsonb_build_object('name', name, 'table', table_was, 'detached', 'captures no more', 'reason', reason, 'run_as_owner', to_jsonb(drops));
    END;
    IF tasks = 'delete' THEN -- after the facts that were captured before
        INSERT INTO taskfeed.changes (type, data, source) VALUES ('truncate', '{"on_truncate": "deleted"}', detach.name);
        IF taskfeed.must_ring() THEN
            PERFORM pg_notify('taskfeed', '');
        END IF;
    END IF;
    EXECUTE format('DROP FUNCTION taskfeed.%I()', 'attached_' || name);
    EXECUTE format('DROP FUNCTION IF EXISTS taskfeed.%I(text[], text[], integer)', 'attached_' || name || '_rows');
    EXECUTE format('DROP FUNCTION IF EXISTS taskfeed.%I(text, text, text[])', 'attached_' || name || '_joined');
    DELETE FROM taskfeed.sources AS s WHERE s.name = detach.name;
    RETURN jsonb_build_object('name', name, 'table', table_was, 'detached', 'whole');
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.detach(text, text) IS 'Undoes attach: the app''s table is as before. The tasks stay until retention removes them, or are deleted.';
REVOKE ALL ON FUNCTION taskfeed.detach(text, text) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE
    ours text;
BEGIN
    FOR ours IN
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p
        WHERE p.pronamespace = 'taskfeed'::regnamespace
          AND p.proname LIKE 'attached\_%'
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', ours);
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP FUNCTION taskfeed.detach(text, text);
DROP FUNCTION taskfeed.attach(regclass, text, jsonb, boolean);
DROP FUNCTION taskfeed.source_report(regclass, text, jsonb);
DROP FUNCTION taskfeed.source_sample(regclass, jsonb);
DROP FUNCTION taskfeed.source_named_stranger(jsonb);
DROP FUNCTION taskfeed.source_stranger(regclass);
DROP FUNCTION taskfeed.source_refusal(regclass, text);
DROP FUNCTION taskfeed.make_source(regclass, text, jsonb);
DROP FUNCTION taskfeed.source_fingerprint(regclass, jsonb);
DROP FUNCTION taskfeed.source_triggers(regclass, text);
DROP FUNCTION taskfeed.source_functions(regclass, text, jsonb);

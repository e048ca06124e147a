-- +goose Up
-- The owners of a row may stand in another table: an export belongs to a project, and
-- the project has members. The trigger records the key alone. The sequencer looks the
-- owners up when it folds, for all rows of a page at once: the app's write reads no other
-- table, waits for none, and cannot fail because of one.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_join_refusal(path text, given jsonb, trusted boolean) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM jsonb_object_keys(given) AS k WHERE k NOT IN ('via', 'from', 'key', g.wanted)) OR NOT given ?& ARRAY['via', 'from', g.wanted]
            THEN format('%s as a join has "via", "from", "key" and "%s", for example {"via": "project_id", "from": "app.projects", "key": "id", "%2$s": "owner_id"}', path, g.wanted)
        WHEN c.oid IS NULL
            THEN format('%s.from names no table: %s; write it with its schema, for example app.projects', path, given->'from')
        WHEN c.relkind NOT IN ('r', 'p') OR c.relpersistence = 't'
            THEN format('%s.from must be a table, and %s is none that stays: name the table that it reads', path, c.oid::regclass)
        WHEN NOT has_table_privilege(o.relowner, c.oid, 'SELECT') OR NOT has_schema_privilege(o.relowner, c.relnamespace, 'USAGE')
            THEN format('the role of the schema taskfeed may not read %s: run GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %1$s TO %3$s', c.oid::regclass, c.relnamespace::regnamespace, o.relowner::regrole)
        WHEN NOT trusted AND taskfeed.source_stranger(c.oid) IS NOT NULL
            THEN format('%s could run code with the rights of the schema taskfeed: give the mapping "trust_owner": true if that role is to be trusted, or give what it owns to a role that has these rights', taskfeed.source_stranger(c.oid))
        WHEN c.relrowsecurity AND NOT w.rolbypassrls AND NOT w.rolsuper AND (c.relforcerowsecurity OR NOT pg_has_role(o.relowner, c.relowner, 'USAGE'))
            THEN format('row security hides rows of %s from the role of the schema taskfeed: run ALTER ROLE %s BYPASSRLS', c.oid::regclass, o.relowner::regrole)
        WHEN a.attnum IS NULL
            THEN format('%s.key must be a column of %s: %s', path, c.oid::regclass, coalesce(given->>'key', 'say which, for its primary key has not one column'))
        WHEN NOT EXISTS (
                SELECT
                FROM pg_index AS i
                WHERE i.indrelid = c.oid
                  AND i.indkey[0] = a.attnum
                  AND i.indisvalid
                  AND i.indpred IS NULL)
            THEN format('%s cannot be looked up in %s without an index: run CREATE INDEX ON %2$s (%I)', path, c.oid::regclass, a.attname)
    END
    FROM (SELECT substring(path FROM '[a-z]+$')) AS g (wanted)
    JOIN pg_class AS o ON o.oid = 'taskfeed.tasks'::regclass
    JOIN pg_roles AS w ON w.oid = o.relowner
    LEFT JOIN pg_class AS c ON c.oid = to_regclass(given->>'from')
    LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid
        AND a.attname = coalesce(given->>'key', CASE jsonb_array_length(taskfeed.source_key(c.oid)) WHEN 1 THEN taskfeed.source_key(c.oid) #>> '{0,column}' END)
        AND a.attnum > 0
        AND NOT a.attisdropped
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_join_refusal(text, jsonb, boolean) IS 'Why a value cannot be found in another table and what to do; null when it can.';
REVOKE ALL ON FUNCTION taskfeed.source_join_refusal(text, jsonb, boolean) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_join(relation regclass, path text, given jsonb, trusted boolean) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted   text := substring(path FROM '[a-z]+$');
    refusal  text := taskfeed.source_join_refusal(path, given, trusted);
    other    regclass;
    key      text;
    via      text;
    via_type text;
    made     jsonb;
BEGIN
    IF refusal IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: ' || refusal;
    END IF;
    other := to_regclass(given->>'from');
    key := quote_ident(coalesce(given->>'key', taskfeed.source_key(other) #>> '{0,column}'));
    via := taskfeed.source_value(relation, path || '.via', given->'via');
    SELECT format_type(CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END, NULL) INTO via_type
    FROM pg_type AS t
    WHERE t.oid = taskfeed.source_type(relation, via);
    BEGIN
        EXECUTE format('EXPLAIN SELECT FROM (SELECT (NULL::%s).*) AS r WHERE r.%s = NULL::%s', other, key, via_type);
    EXCEPTION WHEN OTHERS THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s.via has the type %s and cannot be compared with the column %s of %s', path, via_type, key, other),
            HINT = format('Write a cast, for example "(r.args->>''%s'')::%s".', key, taskfeed.source_type(other, 'r.' || key));
    END;
    made := jsonb_build_object('relation', other::oid::text, 'table', other::text, 'key', 'r.' || key, 'type', via_type, 'keys', taskfeed.source_list(relation, via));
    IF jsonb_typeof(given->wanted) <> 'object' THEN
        RETURN made || jsonb_build_object('found', taskfeed.source_list(other, taskfeed.source_value(other, path || '.' || wanted, given->wanted)));
    ELSIF path <> wanted THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s goes through more than two tables', wanted);
    END IF;
    RETURN made || jsonb_build_object('then', taskfeed.source_join(other, path || '.' || wanted, given->wanted, trusted));
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_join(regclass, text, jsonb, boolean) IS 'A value of a mapping that is found in another table, as SQL. Refuses what would not work and says what to write.';
REVOKE ALL ON FUNCTION taskfeed.source_join(regclass, text, jsonb, boolean) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_joins(relation regclass, mapping jsonb) RETURNS jsonb
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_object_agg(k.key, taskfeed.source_join(relation, k.key, mapping->k.key, mapping->'trust_owner' IS NOT DISTINCT FROM 'true'))
    FROM unnest(ARRAY['user', 'kind']) AS k (key)
    WHERE jsonb_typeof(mapping->k.key) = 'object'
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_joins(regclass, jsonb) IS 'The values of a mapping that are found in other tables.';
REVOKE ALL ON FUNCTION taskfeed.source_joins(regclass, jsonb) FROM PUBLIC;

-- A fact that was recorded under another mapping has keys of another table. The mark
-- tells it from those of this one.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_vias(joins jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_object_agg('via_' || j.key, j.value->>'keys') || jsonb_build_object('joins', quote_literal(md5(joins::text)))
    FROM jsonb_each(joins) AS j
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_vias(jsonb) IS 'The values of a fact by which others are found, and the mark of the joins.';
REVOKE ALL ON FUNCTION taskfeed.source_vias(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_lookup(j jsonb, key text, nth integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF j ? 'then' THEN
        RETURN format('SELECT l%1$s.value FROM %%%1$s$s AS r CROSS JOIN LATERAL jsonb_array_elements_text(%2$s) AS k%1$s (key) CROSS JOIN LATERAL (%3$s) AS l%1$s WHERE %4$s = (%5$s)::%6$s',
            nth, replace(j #>> '{then,keys}', '%', '%%'), taskfeed.source_lookup(j->'then', format('k%s.key', nth), nth + 1), replace(j->>'key', '%', '%%'), key, j->>'type');
    END IF;
    RETURN format('SELECT v%1$s.value FROM %%%1$s$s AS r CROSS JOIN LATERAL (SELECT (%2$s) AS value) AS f%1$s'
        ' CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(f%1$s.value) WHEN ''array'' THEN f%1$s.value ELSE jsonb_build_array(f%1$s.value) END) AS v%1$s WHERE %3$s = (%4$s)::%5$s',
        nth, replace(j->>'found', '%', '%%'), replace(j->>'key', '%', '%%'), key, j->>'type');
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_lookup(jsonb, text, integer) IS 'The query that finds the values of one key, for format with the names of the tables.';
REVOKE ALL ON FUNCTION taskfeed.source_lookup(jsonb, text, integer) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_found(m jsonb, field text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('(SELECT coalesce(jsonb_agg(DISTINCT l.value), ''[]'') FROM jsonb_array_elements_text(%s) AS k (key) CROSS JOIN LATERAL (%s) AS l)',
        j->>'keys', format(taskfeed.source_lookup(j, 'k.key', 1), j->>'table', j #>> '{then,table}'))
    FROM (SELECT m->'joins'->field) AS g (j)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_found(jsonb, text) IS 'What is found for the row r, as an expression, for a look at some rows.';
REVOKE ALL ON FUNCTION taskfeed.source_found(jsonb, text) FROM PUBLIC;

-- Of each key one more than the owners that a task can have is read, so that those who
-- are left out are noticed.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_joined_code(name text, m jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $code$
    SELECT format(
        E'CREATE OR REPLACE FUNCTION taskfeed.%1$I(field text, mark text, keys text[])\n'
            'RETURNS TABLE (key text, value jsonb, failure text)\n'
            'LANGUAGE plpgsql STABLE\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'SET lock_timeout = ''200ms''\n'
            'AS %2$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%1$I(text, text, text[]) FROM PUBLIC',
        'attached_' || name || '_joined',
        taskfeed.source_fill($template$
DECLARE
    lookup text := 'SELECT jsonb_object_agg(k.key, (SELECT coalesce(jsonb_agg(v.value), ''[]'') FROM (SELECT DISTINCT l.value FROM ('
        || CASE field {lookups} END || ') AS l ORDER BY l.value LIMIT 65) AS v)) FROM unnest($1) AS k (key)';
    whole  jsonb;
BEGIN
    IF mark <> {mark} THEN
        RETURN;
    END IF;
    BEGIN
        EXECUTE lookup INTO whole USING keys;
        RETURN QUERY SELECT k, whole->k, NULL::text FROM unnest(keys) AS k;
        RETURN;
    EXCEPTION WHEN data_exception OR plpgsql_error THEN
        NULL; -- of one row, so one by one
    END;
    FOREACH key IN ARRAY keys LOOP
        value := NULL;
        failure := NULL;
        BEGIN
            EXECUTE lookup INTO whole USING ARRAY[key];
            value := whole->key;
        EXCEPTION WHEN data_exception OR plpgsql_error THEN
            failure := sqlstate || ' ' || left(sqlerrm, 200);
        END;
        RETURN NEXT;
    END LOOP;
END
$template$, jsonb_build_object(
            'mark', quote_literal(md5((m->'joins')::text)),
            'lookups', (
                SELECT string_agg(format('WHEN %L THEN format(%L, %s)', j.key, taskfeed.source_lookup(j.value, 'k.key', 1),
                    concat_ws(', ', (j.value->>'relation') || '::regclass', (j.value #>> '{then,relation}') || '::regclass')), ' ')
                FROM jsonb_each(m->'joins') AS j))))
$code$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_joined_code(text, jsonb) IS 'The statements that make the function which looks values up in other tables.';
REVOKE ALL ON FUNCTION taskfeed.source_joined_code(text, jsonb) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.source_joined_code(text, jsonb);
DROP FUNCTION taskfeed.source_found(jsonb, text);
DROP FUNCTION taskfeed.source_lookup(jsonb, text, integer);
DROP FUNCTION taskfeed.source_vias(jsonb);
DROP FUNCTION taskfeed.source_joins(regclass, jsonb);
DROP FUNCTION taskfeed.source_join(regclass, text, jsonb, boolean);
DROP FUNCTION taskfeed.source_join_refusal(text, jsonb, boolean);

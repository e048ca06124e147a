-- +goose Up
CREATE TABLE taskfeed.sources (
    name        text        NOT NULL,
    relation    oid         NOT NULL,
    table_name  text        NOT NULL, -- name of the relation when it was attached
    mapping     jsonb       NOT NULL, -- as it was given
    resolved    jsonb       NOT NULL, -- with its defaults, as SQL
    fingerprint jsonb       NOT NULL, -- the columns that it reads: number, name, type
    revision    bigint      NOT NULL DEFAULT pg_current_xact_id()::text::bigint, -- grows when all rows must be read again; a source that is attached anew begins with another one
    attached_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sources_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE taskfeed.sources IS 'Attached tables: their rows become tasks. Written by attach and detach.';

CREATE TABLE taskfeed.source_states (
    name        text        NOT NULL,
    revision    bigint      NOT NULL DEFAULT 0, -- of the source, which filled and place belong to
    filled      boolean     NOT NULL DEFAULT false,
    place       text[],                         -- key of the last row that was read
    errors      bigint      NOT NULL DEFAULT 0,
    unmapped    bigint      NOT NULL DEFAULT 0,
    unowned     bigint      NOT NULL DEFAULT 0,
    unknown     jsonb       NOT NULL DEFAULT '{}', -- status values that the map lacks, with their counts
    last_error  text,
    error_at    timestamptz,
    reset_owed  boolean     NOT NULL DEFAULT false,
    reset_at    timestamptz,
    CONSTRAINT source_states_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE taskfeed.source_states IS 'The sequencer''s state of each attached table. Nobody else writes here, so it waits for nobody.';

CREATE INDEX tasks_source_updated_hour ON taskfeed.tasks (source, updated_hour) WHERE source IS NOT NULL;
COMMENT ON INDEX taskfeed.tasks_source_updated_hour IS 'Finds the tasks of an attached table, and those that ended long ago.';

CREATE INDEX tasks_owners ON taskfeed.tasks USING gin (owners) WHERE owners IS NOT NULL;
COMMENT ON INDEX taskfeed.tasks_owners IS 'Finds the tasks that a user shares with others.';

-- A value of a mapping is the name of a column or an SQL expression over the row r.
-- Postgres checks it against a row of nulls, so no data is read.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_value(relation regclass, key text, given jsonb) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said   text;
    first  text;
    plan   jsonb;
    reason text;
BEGIN
    IF given IS NULL OR jsonb_typeof(given) = 'null' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(given) <> 'string' OR btrim(given #>> '{}') = '' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s must be the name of a column or an SQL expression, for example "r.args->>''user_id''"', key);
    END IF;
    said := btrim(given #>> '{}');
    IF EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attname = said AND a.attnum > 0 AND NOT a.attisdropped) THEN
        RETURN 'r.' || quote_ident(said);
    END IF;
    first := substring(said FROM '^([A-Za-z_][A-Za-z0-9_$]*)\s*(?:->|#>|::|\[)');
    IF EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attname = first AND a.attnum > 0 AND NOT a.attisdropped) THEN
        said := 'r.' || said;
    END IF;
    BEGIN -- the second row makes a column without r. ambiguous
        EXECUTE format('EXPLAIN (FORMAT JSON) SELECT pg_typeof((%s%s)) FROM (SELECT (NULL::%s).*) AS r, (SELECT (NULL::%3$s).*) AS taskfeed_other', said, E'\n', relation)
        INTO plan;
    EXCEPTION WHEN OTHERS THEN
        reason := sqlerrm;
    END;
    IF reason IS NULL AND (plan #> '{0,Plan,Plans}' IS NOT NULL OR plan #>> '{0,Plan,Node Type}' <> 'Result') THEN
        reason := 'it must give one value from the row alone: no SELECT, no aggregate, no function that returns rows';
    END IF;
    IF reason IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s is neither a column of %s nor an expression over its row: %s', key, relation, reason),
            HINT = format('Write columns as r.name, for example "r.args->>''user_id''"; the columns are %s.', (
                SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
                FROM pg_attribute AS a
                WHERE a.attrelid = relation
                  AND a.attnum > 0
                  AND NOT a.attisdropped));
    END IF;
    RETURN said;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_value(regclass, text, jsonb) IS 'One value of a mapping as an SQL expression over the row r. Refuses anything else.';
REVOKE ALL ON FUNCTION taskfeed.source_value(regclass, text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_type(relation regclass, value text) RETURNS regtype
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_type regtype;
BEGIN
    EXECUTE format('SELECT pg_typeof((%s%s)) FROM (SELECT (NULL::%s).*) AS r', value, E'\n', relation) INTO found_type;
    RETURN found_type;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_type(regclass, text) IS 'The type of an expression over a row of the table.';
REVOKE ALL ON FUNCTION taskfeed.source_type(regclass, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.number_types() RETURNS regtype[]
LANGUAGE sql IMMUTABLE
RETURN '{int2,int4,int8,numeric}'::regtype[];
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.number_types() IS 'Types of ids that count from 1 in every table.';
REVOKE ALL ON FUNCTION taskfeed.number_types() FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_column(relation regclass, key text, candidates text[]) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names text[];
BEGIN
    SELECT array_agg(a.attname::text) INTO names
    FROM pg_attribute AS a
    WHERE a.attrelid = relation
      AND a.attname = ANY (candidates)
      AND a.attnum > 0
      AND NOT a.attisdropped;
    IF cardinality(names) = 1 THEN
        RETURN to_jsonb(names[1]);
    END IF;
    RAISE invalid_parameter_value USING
        MESSAGE = format('taskfeed: say what the %s of a row of %s is: it has %s of the columns %s', key, relation,
            CASE WHEN names IS NULL THEN 'none' ELSE 'several' END, array_to_string(candidates, ', ')),
        HINT = format('Give the mapping "%s": the name of a column, or an SQL expression over the row r.', key);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_column(regclass, text, text[]) IS 'The one column of these that the table has, as the default of a mapping.';
REVOKE ALL ON FUNCTION taskfeed.source_column(regclass, text, text[]) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_key(relation regclass) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_agg(jsonb_build_object('column', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY k.place)
    FROM (
        SELECT i.indrelid, i.indkey
        FROM pg_index AS i
        WHERE i.indrelid = relation
          AND i.indisunique
          AND i.indisvalid
          AND i.indpred IS NULL
          AND i.indexprs IS NULL
          AND NOT EXISTS (
              SELECT
              FROM pg_attribute AS n
              WHERE n.attrelid = i.indrelid
                AND n.attnum = ANY (i.indkey)
                AND NOT n.attnotnull)
        ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
        LIMIT 1
    ) AS best
    CROSS JOIN unnest(best.indkey) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_attribute AS a ON a.attrelid = best.indrelid AND a.attnum = k.attnum
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_key(regclass) IS 'The columns by which rows are read in pages: the primary key, or else a unique one. Null where there is none.';
REVOKE ALL ON FUNCTION taskfeed.source_key(regclass) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_map(given jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    IF given IS NULL OR jsonb_typeof(given) = 'null' THEN
        RETURN '{"queued": "queued", "running": "running", "completed": "completed", "failed": "failed", "canceled": "canceled", "cancelled": "canceled"}';
    ELSIF jsonb_typeof(given) <> 'object' OR given = '{}' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: map must be an object of status values, for example {"pending": "queued", "done": "completed", "*": "none"}';
    END IF;
    SELECT format('"%s": %s', m.key, m.value) INTO wrong
    FROM jsonb_each(given) AS m
    WHERE m.value NOT IN ('"queued"', '"running"', '"completed"', '"failed"', '"canceled"', '"none"')
    LIMIT 1;
    IF found THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: map has %s; a value stands for "queued", "running", "completed", "failed", "canceled" or "none"', wrong);
    END IF;
    RETURN given;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_map(jsonb) IS 'The map from the app''s status values to ours, with its default. Refuses anything else.';
REVOKE ALL ON FUNCTION taskfeed.source_map(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_on_delete(given jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rules jsonb := '{"queued": "deleted", "running": "deleted", "final": "keep"}';
    wrong text;
BEGIN
    IF given IS NULL OR jsonb_typeof(given) = 'null' THEN
        RETURN rules;
    ELSIF given = '"deleted"' THEN
        RETURN '{"queued": "deleted", "running": "deleted", "final": "deleted"}';
    ELSIF jsonb_typeof(given) = 'string' THEN
        rules := rules || jsonb_build_object('queued', given, 'running', given);
    ELSIF jsonb_typeof(given) = 'object' THEN
        rules := rules || given;
    END IF;
    SELECT format('"%s": %s', r.key, r.value) INTO wrong
    FROM jsonb_each(rules) AS r
    WHERE r.key NOT IN ('queued', 'running', 'final')
       OR r.value NOT IN ('"deleted"', '"keep"', '"completed"', '"failed"', '"canceled"')
       OR r.key = 'final' AND r.value NOT IN ('"deleted"', '"keep"')
    LIMIT 1;
    IF found OR jsonb_typeof(given) NOT IN ('string', 'object') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: on_delete has %s; it is "deleted", "keep", "completed", "failed" or "canceled", or an object of these for the status that the task has: {"queued": "canceled", "running": "completed", "final": "keep"}', coalesce(wrong, given::text));
    END IF;
    RETURN rules;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_on_delete(jsonb) IS 'What the deletion of a row means, by the status of its task, with defaults. Refuses anything else.';
REVOKE ALL ON FUNCTION taskfeed.source_on_delete(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_time(relation regclass, given jsonb, zone jsonb) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    value text := taskfeed.source_value(relation, 'created_at', given);
BEGIN
    CASE taskfeed.source_type(relation, value)
        WHEN 'timestamptz'::regtype THEN
            RETURN value;
        WHEN 'timestamp'::regtype THEN
            IF EXISTS (SELECT FROM pg_timezone_names AS z WHERE to_jsonb(z.name) = zone) THEN
                RETURN format('(%s) AT TIME ZONE %L', value, zone #>> '{}');
            END IF;
            RAISE invalid_parameter_value USING
                MESSAGE = format('taskfeed: created_at has no time zone: give "timezone", for example "UTC"%s', ', not ' || zone::text);
        ELSE
            RAISE invalid_parameter_value USING
                MESSAGE = 'taskfeed: created_at must be a timestamp; of seconds make one by "to_timestamp(r.created)"';
    END CASE;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_time(regclass, jsonb, jsonb) IS 'The SQL of the time when a row was created.';
REVOKE ALL ON FUNCTION taskfeed.source_time(regclass, jsonb, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_backfill(mapping jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO'
AS $$
DECLARE
    given jsonb := coalesce(mapping->'backfill', '"open"');
BEGIN
    IF given IN ('"none"', '"open"', '"all"') THEN
        RETURN jsonb_build_object('backfill', given);
    ELSIF given #>> '{}' NOT LIKE 'since %' OR jsonb_typeof(given) <> 'string' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: backfill is %s; it is "none", "open", "all" or a time, for example "since 2026-01-31"', given);
    ELSIF NOT mapping ? 'created_at' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: backfill since a time needs to know when a row was created: give "created_at"';
    END IF;
    IF given #>> '{}' ~ '^since \d{4}-\d\d-\d\d' THEN -- today would be another time tomorrow
        RETURN jsonb_build_object('backfill', 'since', 'since', to_jsonb(substr(given #>> '{}', 7)::timestamptz));
    END IF;
    RAISE invalid_datetime_format;
EXCEPTION WHEN data_exception THEN
    IF sqlstate = '22023' THEN
        RAISE;
    END IF;
    RAISE invalid_parameter_value USING
        MESSAGE = format('taskfeed: backfill is %s; write the time like "since 2026-01-31" or "since 2026-01-31 18:00+01"', given);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_backfill(jsonb) IS 'Which existing rows become tasks: open ones, all, none, or those since a time, in UTC where it has no zone.';
REVOKE ALL ON FUNCTION taskfeed.source_backfill(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_list(relation regclass, value text) RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN t.typcategory = 'A' THEN format('to_jsonb((%s)::text[])', value)
                WHEN t.oid IN ('json'::regtype, 'jsonb'::regtype) THEN format('to_jsonb(%s)', value)
                ELSE format('jsonb_build_array((%s)::text)', value)
           END
    FROM pg_type AS t
    WHERE t.oid = taskfeed.source_type(relation, value)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_list(regclass, text) IS 'An expression that may give several values, as one that gives JSON.';
REVOKE ALL ON FUNCTION taskfeed.source_list(regclass, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_values(relation regclass, name text, mapping jsonb, joins jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    value text;
    parts jsonb := jsonb_build_object('kind', quote_literal(name));
    key   text;
BEGIN
    IF NOT joins ? 'user' THEN
        value := taskfeed.source_value(relation, 'user', coalesce(mapping->'user', taskfeed.source_column(relation, 'user', '{user_id,owner_id,account_id}')));
        parts := parts || jsonb_build_object('users', taskfeed.source_list(relation, value));
    END IF;
    FOREACH key IN ARRAY ARRAY['kind', 'message', 'error'] LOOP
        CONTINUE WHEN joins ? key;
        value := taskfeed.source_value(relation, key, mapping->key);
        IF value IS NOT NULL THEN
            parts := parts || jsonb_build_object(key, format('(%s)::text', value));
        END IF;
    END LOOP;
    IF jsonb_typeof(mapping->'progress') = 'object' THEN
        FOREACH key IN ARRAY ARRAY['done', 'total'] LOOP
            value := taskfeed.source_value(relation, 'progress.' || key, mapping->'progress'->key);
            IF value IS NULL THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = 'taskfeed: progress as an object has "done" and "total", for example {"done": "rows_done", "total": "rows_total"}';
            END IF;
            parts := parts || jsonb_build_object(key, format('to_jsonb(%s)', value));
        END LOOP;
    ELSIF mapping ? 'progress' THEN
        value := taskfeed.source_value(relation, 'progress', mapping->'progress');
        parts := parts || jsonb_build_object(CASE mapping->>'progress_unit' WHEN 'fraction' THEN 'fraction' ELSE 'progress' END, format('to_jsonb(%s)', value));
    END IF;
    IF mapping ? 'result' THEN
        value := taskfeed.source_value(relation, 'result', mapping->'result');
        parts := parts || jsonb_build_object('result', format('taskfeed.fact_result(%s)',
            CASE WHEN mapping->'result_json' = 'true' THEN format('(%s)::jsonb', value) ELSE format('to_jsonb(%s)', value) END));
    END IF;
    IF mapping ? 'created_at' THEN
        parts := parts || jsonb_build_object('created_at', taskfeed.source_time(relation, mapping->'created_at', mapping->'timezone'));
    END IF;
    RETURN parts;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_values(regclass, text, jsonb, jsonb) IS 'The SQL of all values of a fact except its id and status, and those that are found in other tables.';
REVOKE ALL ON FUNCTION taskfeed.source_values(regclass, text, jsonb, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.fact_result(result jsonb) RETURNS jsonb
LANGUAGE sql STABLE
RETURN CASE WHEN taskfeed.result_bytes(result) <= 245760 THEN result END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.fact_result(jsonb) IS 'A result as a fact contains it: null when it does not fit into an event.';
REVOKE ALL ON FUNCTION taskfeed.fact_result(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_mapping(relation regclass, name text, mapping jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known  text[] := '{id,id_prefix,user,status,map,progress,progress_unit,message,result,result_json,error,kind,when,on_delete,on_truncate,created_at,timezone,backfill,strict,trust_owner}';
    key    jsonb := taskfeed.source_key(relation);
    id     text;
    joins  jsonb := '{}';
    m      jsonb;
    wrong  text;
BEGIN
    IF jsonb_typeof(mapping) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: mapping must be a JSON object, for example {"user": "owner_id", "status": "state"}';
    END IF;
    SELECT k INTO wrong FROM jsonb_object_keys(mapping) AS k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
    IF found THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: mapping has the key "%s"; the keys are %s', wrong, array_to_string(known, ', '));
    END IF;
    SELECT format('%s is %s; it is %s', c.key, mapping->c.key, c.choices) INTO wrong
    FROM (VALUES ('progress_unit', '"percent" or "fraction"', '["percent", "fraction"]'::jsonb), ('result_json', 'true or false', '[true, false]'),
        ('strict', 'true or false', '[true, false]'), ('trust_owner', 'true or false', '[true, false]'), ('on_truncate', '"deleted" or "reset"', '["deleted", "reset"]')) AS c (key, choices, allowed)
    WHERE mapping ? c.key
      AND NOT c.allowed @> (mapping->c.key)
    LIMIT 1;
    IF found THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: ' || wrong;
    ELSIF key IS NULL AND mapping->'backfill' IS DISTINCT FROM '"none"' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s has no primary key, so its rows cannot be read in pages: give it one, or "backfill": "none"', relation);
    ELSIF NOT mapping ? 'id' AND jsonb_array_length(key) IS DISTINCT FROM 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: say what the id of a row of %s is: it has no primary key of one column', relation),
            HINT = 'Give the mapping "id": the name of a column, or an SQL expression over the row r.';
    END IF;
    id := taskfeed.source_value(relation, 'id', coalesce(mapping->'id', key #> '{0,column}'));
    IF 'object' IN (jsonb_typeof(mapping->'user'), jsonb_typeof(mapping->'kind')) THEN
        joins := taskfeed.source_joins(relation, mapping);
    END IF;
    m := jsonb_build_object(
        'id', id,
        'id_type', taskfeed.source_type(relation, id),
        'prefix', coalesce(mapping->>'id_prefix', CASE WHEN taskfeed.source_type(relation, id) = ANY (taskfeed.number_types()) THEN name || ':' ELSE '' END),
        'key', key,
        'status', taskfeed.source_value(relation, 'status', coalesce(mapping->'status', taskfeed.source_column(relation, 'status', '{status,state}'))),
        'map', taskfeed.source_map(mapping->'map'),
        'when', taskfeed.source_value(relation, 'when', mapping->'when'),
        'values', taskfeed.source_values(relation, name, mapping, joins),
        'on_delete', taskfeed.source_on_delete(mapping->'on_delete'),
        'on_truncate', coalesce(mapping->>'on_truncate', 'reset'),
        'strict', coalesce(mapping->'strict', 'false')) || taskfeed.source_backfill(mapping);
    IF joins <> '{}' THEN
        m := jsonb_set(m, '{values}', m->'values' || taskfeed.source_vias(joins)) || jsonb_build_object('joins', joins);
    END IF;
    IF m->>'when' IS NOT NULL AND taskfeed.source_type(relation, m->>'when') <> 'boolean'::regtype THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: when must be a condition, for example "r.parent_id IS NULL"';
    ELSIF octet_length(m->>'prefix') > 100 OR m->>'prefix' ~ '[\x01-\x1f\x7f]' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: id_prefix must be at most 100 bytes without control characters';
    END IF;
    SELECT s.name INTO wrong
    FROM taskfeed.sources AS s
    WHERE s.name <> source_mapping.name
      AND s.resolved->>'prefix' = m->>'prefix'
      AND 'uuid' <> ALL (ARRAY[s.resolved->>'id_type', m->>'id_type'])
      AND ARRAY[s.resolved->>'id_type', m->>'id_type'] && taskfeed.number_types()::text[]
    ORDER BY s.name
    LIMIT 1;
    IF found THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: rows of %s would have the same ids as those of the source %s, which has the same prefix "%s": give "id_prefix", for example --id-prefix %s:', relation, wrong, m->>'prefix', name);
    END IF;
    RETURN m;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_mapping(regclass, text, jsonb) IS 'A mapping with defaults and with its values as SQL over the row r. Refuses a mapping that would not work and says what to write.';
REVOKE ALL ON FUNCTION taskfeed.source_mapping(regclass, text, jsonb) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.source_mapping(regclass, text, jsonb);
DROP FUNCTION taskfeed.fact_result(jsonb);
DROP FUNCTION taskfeed.source_values(regclass, text, jsonb, jsonb);
DROP FUNCTION taskfeed.source_list(regclass, text);
DROP FUNCTION taskfeed.source_backfill(jsonb);
DROP FUNCTION taskfeed.source_time(regclass, jsonb, jsonb);
DROP FUNCTION taskfeed.source_on_delete(jsonb);
DROP FUNCTION taskfeed.source_map(jsonb);
DROP FUNCTION taskfeed.source_key(regclass);
DROP FUNCTION taskfeed.source_column(regclass, text, text[]);
DROP FUNCTION taskfeed.number_types();
DROP FUNCTION taskfeed.source_type(regclass, text);
DROP FUNCTION taskfeed.source_value(regclass, text, jsonb);
DROP INDEX taskfeed.tasks_owners;
DROP INDEX taskfeed.tasks_source_updated_hour;
DROP TABLE taskfeed.source_states;
DROP TABLE taskfeed.sources;

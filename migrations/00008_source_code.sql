-- +goose Up
-- The code that is generated for a source reads columns by their names when it
-- runs, so no migration of the app is refused because of it, and its trigger has no
-- list of columns and no condition, for those would be in the way of ALTER TABLE.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_fact(m jsonb, target text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat_ws(E'\n',
        format('raw := (%s)::text;', m->>'status'),
        format('state := %s;', (
            SELECT CASE WHEN bool_and(s.key = '*') THEN max(quote_literal(s.value))
                ELSE 'CASE raw ' || string_agg(format('WHEN %L THEN %L', s.key, s.value), ' ' ORDER BY s.key) FILTER (WHERE s.key <> '*')
                    || coalesce(max(format(' ELSE %L', s.value)) FILTER (WHERE s.key = '*'), '') || ' END'
                END
            FROM jsonb_each_text(m->'map') AS s)),
        format('%s := jsonb_build_object(''status'', state, ''value'', CASE WHEN state IS NULL THEN raw END, %s);', target, (
            SELECT string_agg(format('%L, %s', v.key, v.value), ', ' ORDER BY v.key)
            FROM jsonb_each_text(m->'values') AS v)))
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_fact(jsonb, text) IS 'The statements that map the row r to a fact.';
REVOKE ALL ON FUNCTION taskfeed.source_fact(jsonb, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_guarded(m jsonb, target text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN m->>'when' IS NULL THEN taskfeed.source_fact(m, target)
        ELSE format(E'IF (%s\n) THEN\n%s\nEND IF;', m->>'when', taskfeed.source_fact(m, target)) END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_guarded(jsonb, text) IS 'The same, for the rows that pass the filter.';
REVOKE ALL ON FUNCTION taskfeed.source_guarded(jsonb, text) FROM PUBLIC;

-- The mapping of a row is evaluated in a block of its own, because an error there must
-- not fail the app's write. The block writes nothing, so it takes no transaction id.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_trigger_code(name text, m jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $code$
    SELECT replace(replace(replace(replace(replace(replace(replace($template$
DECLARE
    r        record;
    raw      text;
    state    text;
    old_id   text;
    new_id   text;
    old_fact jsonb;
    new_fact jsonb;
    mapped   boolean := false;
    failure  jsonb;
BEGIN
    IF tg_op = 'TRUNCATE' THEN
        INSERT INTO taskfeed.changes (type, data, source) VALUES ('truncate', {on_truncate}, {name});
        IF taskfeed.must_ring() THEN
            PERFORM pg_notify('taskfeed', '');
        END IF;
        RETURN NULL;
    END IF;
    BEGIN
        IF tg_op <> 'INSERT' THEN
            r := old;
            old_id := {id};
        END IF;
        IF tg_op <> 'DELETE' THEN
            r := new;
            new_id := {id};
            {new}
            mapped := true;
        END IF;
        IF tg_op = 'UPDATE' THEN
            r := old;
            {old}
        END IF;
    EXCEPTION WHEN OTHERS THEN
        {strict}failure := jsonb_build_object('state', sqlstate, 'message', left(sqlerrm, 200));
    END;
    IF mapped AND old_id <> new_id THEN
        INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (old_id, 'left', '{}', {name});
    ELSIF mapped AND failure IS NULL AND tg_op = 'UPDATE' AND new_fact IS NOT DISTINCT FROM old_fact THEN
        RETURN NULL; -- no visible change
    END IF;
    IF mapped AND new_fact IS NOT NULL THEN
        INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (new_id, 'row', new_fact, {name});
    ELSIF mapped THEN
        IF tg_op = 'INSERT' THEN
            RETURN NULL; -- the filter excludes it
        END IF;
        INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (new_id, 'left', '{}', {name});
    ELSIF tg_op = 'DELETE' AND old_id IS NOT NULL THEN
        INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (old_id, 'gone', {on_delete}, {name});
    ELSIF failure IS NOT NULL THEN
        INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (coalesce(new_id, old_id), 'broken', failure, {name});
    ELSE
        RETURN NULL; -- a row without an id, which never became a task
    END IF;
    IF taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
    RETURN NULL;
END
$template$,
        '{name}', quote_literal(name)),
        '{id}', CASE m->>'prefix' WHEN '' THEN format('(%s)::text', m->>'id') ELSE format('%L || (%s)::text', m->>'prefix', m->>'id') END),
        '{new}', taskfeed.source_guarded(m, 'new_fact')),
        '{old}', taskfeed.source_guarded(m, 'old_fact')),
        '{on_truncate}', quote_literal(jsonb_build_object('on_truncate', m->'on_truncate'))),
        '{on_delete}', quote_literal(m->'on_delete')),
        '{strict}', CASE m->>'strict' WHEN 'true' THEN 'RAISE; -- ' ELSE '' END)
$code$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_trigger_code(text, jsonb) IS 'The body of the trigger function of a source.';
REVOKE ALL ON FUNCTION taskfeed.source_trigger_code(text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_query(m jsonb, which text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN count(*) = 0 THEN NULL -- the table has no key, or the id is not a key
        WHEN which = 'ids' THEN format('SELECT t.* FROM %%s AS t WHERE t.%s = ANY (ARRAY(SELECT substr(i, %s) FROM unnest($1) AS i)::%s[])',
            max(k.name), length(m->>'prefix') + 1, max(k.type))
        WHEN which = 'after' THEN format('SELECT t.* FROM %%s AS t WHERE (%s) > (%s) ORDER BY %1$s LIMIT $3',
            string_agg('t.' || k.name, ', ' ORDER BY k.n), string_agg(format('($2)[%s]::%s', k.n, k.type), ', ' ORDER BY k.n))
        ELSE format('SELECT t.* FROM %%s AS t ORDER BY %s LIMIT $3', string_agg('t.' || k.name, ', ' ORDER BY k.n))
    END
    FROM (
        SELECT e.n, replace(quote_ident(e.k->>'column'), '%', '%%'), replace(e.k->>'type', '%', '%%') -- format reads the query again
        FROM jsonb_array_elements(CASE jsonb_typeof(m->'key') WHEN 'array' THEN m->'key' ELSE '[]' END) WITH ORDINALITY AS e (k, n)
        WHERE which <> 'ids'
           OR m->>'id' = 'r.' || quote_ident(e.k->>'column')
    ) AS k (n, name, type)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_query(jsonb, text) IS 'The query that reads rows of a source by their ids, or the next in the order of the key.';
REVOKE ALL ON FUNCTION taskfeed.source_query(jsonb, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_rows_code(relation regclass, m jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $code$
    SELECT replace(replace(replace(replace(replace(replace(replace($template$
#variable_conflict use_column
DECLARE
    r     record;
    raw   text;
    state text;
BEGIN
    FOR r IN EXECUTE format(CASE WHEN ids IS NOT NULL THEN {ids} WHEN after IS NOT NULL THEN {after} ELSE {first} END, {relation}::regclass)
        USING ids, after, at_most
    LOOP
        {place}
        task_id := NULL;
        data := NULL;
        failure := NULL;
        BEGIN
            task_id := {id};
            {map}
        EXCEPTION WHEN OTHERS THEN
            failure := sqlstate || ' ' || left(sqlerrm, 200);
        END;
        RETURN NEXT;
    END LOOP;
END
$template$,
        '{relation}', relation::oid::text),
        '{ids}', quote_nullable(taskfeed.source_query(m, 'ids'))),
        '{after}', quote_nullable(taskfeed.source_query(m, 'after'))),
        '{first}', quote_nullable(taskfeed.source_query(m, 'first'))),
        '{place}', format('place := ARRAY[%s]::text[];', (
            SELECT string_agg(format('(r.%I)::text', e.k->>'column'), ', ' ORDER BY e.n)
            FROM jsonb_array_elements(CASE jsonb_typeof(m->'key') WHEN 'array' THEN m->'key' ELSE '[]' END) WITH ORDINALITY AS e (k, n)))),
        '{id}', CASE m->>'prefix' WHEN '' THEN format('(%s)::text', m->>'id') ELSE format('%L || (%s)::text', m->>'prefix', m->>'id') END),
        '{map}', taskfeed.source_guarded(m, 'data'))
$code$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_rows_code(regclass, jsonb) IS 'The body of the function that reads rows of a source as facts: some by their ids, or a page.';
REVOKE ALL ON FUNCTION taskfeed.source_rows_code(regclass, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_functions(relation regclass, name text, m jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format(
        E'CREATE OR REPLACE FUNCTION taskfeed.%1$I() RETURNS trigger\n'
            'LANGUAGE plpgsql SECURITY DEFINER\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'AS %2$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%1$I() FROM PUBLIC;\n'
            'CREATE OR REPLACE FUNCTION taskfeed.%3$I(ids text[], after text[], at_most integer)\n'
            'RETURNS TABLE (task_id text, data jsonb, failure text, place text[])\n'
            'LANGUAGE plpgsql STABLE\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'AS %4$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%3$I(text[], text[], integer) FROM PUBLIC',
        'attached_' || name, taskfeed.source_trigger_code(name, m),
        'attached_' || name || '_rows', taskfeed.source_rows_code(relation, m))
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_functions(regclass, text, jsonb) IS 'The statements that make the two functions of a source.';
REVOKE ALL ON FUNCTION taskfeed.source_functions(regclass, text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_triggers(relation regclass, name text) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY[
        format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name, relation, 'attached_' || name),
        format('CREATE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_truncate', relation, 'attached_' || name)]
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_triggers(regclass, text) IS 'The statements that make the two triggers of a source, the only objects on the app''s table.';
REVOKE ALL ON FUNCTION taskfeed.source_triggers(regclass, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_fingerprint(relation regclass, m jsonb) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('number', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum), '[]')
    FROM pg_attribute AS a
    WHERE a.attrelid = relation
      AND a.attnum > 0
      AND NOT a.attisdropped
      AND (m::text ~ ('\mr\.' || regexp_replace(a.attname, '(\W)', '\\\1', 'g') || '\M') OR position('r.\"' || a.attname || '\"' IN m::text) > 0)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_fingerprint(regclass, jsonb) IS 'The columns that a mapping reads.';
REVOKE ALL ON FUNCTION taskfeed.source_fingerprint(regclass, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.make_source(relation regclass, name text, m jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    function_name text;
BEGIN
    EXECUTE taskfeed.source_functions(relation, name, m);
    FOR function_name IN
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p
        WHERE p.pronamespace = 'taskfeed'::regnamespace
          AND p.proname IN ('attached_' || name, 'attached_' || name || '_rows')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %s', function_name, (SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = 'taskfeed.tasks'::regclass));
        PERFORM taskfeed.restrict_rights('routine ' || function_name);
    END LOOP;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.make_source(regclass, text, jsonb) IS 'Creates or replaces the functions of a source. Every session then compiles them again.';
REVOKE ALL ON FUNCTION taskfeed.make_source(regclass, text, jsonb) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.make_source(regclass, text, jsonb);
DROP FUNCTION taskfeed.source_fingerprint(regclass, jsonb);
DROP FUNCTION taskfeed.source_triggers(regclass, text);
DROP FUNCTION taskfeed.source_functions(regclass, text, jsonb);
DROP FUNCTION taskfeed.source_rows_code(regclass, jsonb);
DROP FUNCTION taskfeed.source_query(jsonb, text);
DROP FUNCTION taskfeed.source_trigger_code(text, jsonb);
DROP FUNCTION taskfeed.source_guarded(jsonb, text);
DROP FUNCTION taskfeed.source_fact(jsonb, text);

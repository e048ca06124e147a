-- +goose Up
-- The code that is generated for a source reads columns by their names when it
-- runs, so no migration of the app is refused because of it, and its trigger has no
-- list of columns and no condition, for those would be in the way of ALTER TABLE.

-- A mapping may itself contain what looks like a part of a template: '{new}' is a path of JSON.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_fill(template text, parts jsonb) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(CASE WHEN p.n % 2 = 1 THEN p.piece WHEN p.piece = '' THEN '{}' ELSE parts->>p.piece END, '' ORDER BY p.n)
    FROM regexp_split_to_table(template, '[{}]') WITH ORDINALITY AS p (piece, n)
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_fill(text, jsonb) IS 'A template with its {parts} filled in, in one pass: what is filled in is not looked at again.';
REVOKE ALL ON FUNCTION taskfeed.source_fill(text, jsonb) FROM PUBLIC;

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

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_state(m jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bool_and(s.key = '*') THEN max(quote_literal(s.value))
        ELSE format('CASE (%s)::text ', m->>'status') || string_agg(format('WHEN %L THEN %L', s.key, s.value), ' ' ORDER BY s.key) FILTER (WHERE s.key <> '*')
            || coalesce(max(format(' ELSE %L', s.value)) FILTER (WHERE s.key = '*'), '') || ' END'
        END
    FROM jsonb_each_text(m->'map') AS s
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_state(jsonb) IS 'The expression that maps the status of the row r to one of ours.';
REVOKE ALL ON FUNCTION taskfeed.source_state(jsonb) FROM PUBLIC;

-- To compare texts costs a tenth of what it costs to make two facts.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_mapped(m jsonb, rows_table text, whole boolean) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('(SELECT %s, %s AS id, %s AS seen%s FROM %I AS r)',
        (SELECT string_agg(format('r.%I AS k%s', e.k->>'column', e.n), ', ' ORDER BY e.n) FROM jsonb_array_elements(m->'key') WITH ORDINALITY AS e (k, n)),
        i.id,
        format(f.filtered, format('ARRAY[%s, (%s)::text, %s]::text[]', i.id, m->>'status', (
            SELECT string_agg(coalesce(
                substring(v.value FROM '^jsonb_build_array\((.*)\)$'),
                format('(%s)::text', coalesce(substring(v.value FROM '^to_jsonb\((.*)\)$'), v.value))), ', ' ORDER BY v.key)
            FROM jsonb_each_text(m->'values') AS v))),
        CASE WHEN whole THEN ', ' || format(f.filtered, format('jsonb_build_object(''status'', %s, ''value'', CASE WHEN %1$s IS NULL THEN (%s)::text END, %s)',
            taskfeed.source_state(m), m->>'status', (
                SELECT string_agg(format('%L, %s', v.key, v.value), ', ' ORDER BY v.key)
                FROM jsonb_each_text(m->'values') AS v))) || ' AS fact' ELSE '' END,
        rows_table)
    FROM (SELECT CASE m->>'prefix' WHEN '' THEN format('(%s)::text', m->>'id') ELSE format('%L || (%s)::text', m->>'prefix', m->>'id') END AS id) AS i
    CROSS JOIN (SELECT CASE WHEN m->>'when' IS NULL THEN '%s' ELSE format('CASE WHEN (%s) THEN %%s END', replace(m->>'when', '%', '%%')) END AS filtered) AS f
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_mapped(jsonb, text, boolean) IS 'The query that maps the rows of a transition table: their key, id, what a fact says of them as texts, and the fact.';
REVOKE ALL ON FUNCTION taskfeed.source_mapped(jsonb, text, boolean) FROM PUBLIC;

-- Most libraries write many rows at once, and a trigger of each row costs as much as
-- several rows. So tables with a key have triggers of statements, which capture all rows
-- in one query. Partitioned tables keep a trigger of each row: a statement that names a
-- partition does not fire the statement triggers of the root.
--
-- The mapping is evaluated before anything is written, in a block that catches errors,
-- for these must not fail the app's write; as it writes nothing, it takes no transaction
-- id. If one row of a statement cannot be mapped, all are mapped again, one by one.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_statement_code(name text, m jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $code$
    SELECT CASE WHEN k.same IS NOT NULL THEN taskfeed.source_fill($template$
    IF tg_level = 'STATEMENT' THEN
        r := ROW(NULL); -- has an error name a column that is gone
        BEGIN
            IF tg_op = 'INSERT' THEN
                SELECT array_agg(n.id), array_agg(n.fact) INTO ids, facts
                FROM {new} AS n
                WHERE n.seen IS NOT NULL;
            ELSIF tg_op = 'UPDATE' THEN
                SELECT array_agg(n.id), array_agg(n.fact), count(*) FILTER (WHERE o.id IS DISTINCT FROM n.id) INTO ids, facts, renamed
                FROM {new} AS n
                LEFT JOIN {old} AS o ON {same}
                WHERE n.seen IS DISTINCT FROM o.seen
                   OR o.k1 IS NULL; -- it has another key
                IF renamed > 0 THEN
                    SELECT array_agg(o.id) INTO gone
                    FROM {old} AS o
                    WHERE o.id IS NOT NULL
                      AND NOT EXISTS (SELECT FROM unnest(ids) AS n (id) WHERE n.id = o.id);
                END IF;
            ELSE
                SELECT array_agg(o.id) INTO gone
                FROM {old} AS o
                WHERE o.id IS NOT NULL;
            END IF;
            many := true;
        EXCEPTION WHEN OTHERS THEN
            {strict}failure := jsonb_build_object('state', sqlstate, 'message', left(sqlerrm, 200));
        END;
        IF many AND ids IS NULL AND gone IS NULL THEN
            RETURN NULL; -- nothing that a user can see
        ELSIF NOT many THEN
            BEGIN
                OPEN pairs FOR EXECUTE {pairs};
            EXCEPTION WHEN OTHERS THEN -- without the key nobody can tell which rows these were
                INSERT INTO taskfeed.changes (type, data, source) VALUES ('broken', failure, {name});
                IF taskfeed.must_ring() THEN
                    PERFORM pg_notify('taskfeed', '');
                END IF;
                RETURN NULL;
            END;
        END IF;
    END IF;
    IF many THEN
        -- A trigger of the app that changed the same rows meanwhile has told of what they
        -- are now: what they were before may not follow.
        IF current_setting('taskfeed.nested', true) = 'on' THEN
            BEGIN
                SELECT array_agg(u.id), array_agg(u.fact) INTO ids, facts
                FROM unnest(ids, facts) AS u (id, fact)
                LEFT JOIN taskfeed.{rows}(ids, NULL, NULL) AS latest ON latest.task_id = u.id
                WHERE CASE WHEN latest.task_id IS NOT NULL THEN latest.data IS NOT DISTINCT FROM u.fact
                    ELSE NOT EXISTS (
                        SELECT
                        FROM taskfeed.changes AS c
                        WHERE c.xid = pg_current_xact_id()
                          AND c.source = {name}
                          AND c.task_id = u.id
                          AND c.type IN ('gone', 'left')) END;
                SELECT array_agg(u.id) INTO gone
                FROM unnest(gone) AS u (id)
                WHERE NOT EXISTS (SELECT FROM taskfeed.{rows}(gone, NULL, NULL) AS latest WHERE latest.task_id = u.id);
            EXCEPTION WHEN OTHERS THEN
                NULL; -- the rows cannot be read: all are told
            END;
        END IF;
        IF pg_trigger_depth() > 1 THEN
            PERFORM set_config('taskfeed.nested', 'on', true);
        END IF;
        IF gone IS NOT NULL THEN
            INSERT INTO taskfeed.changes (task_id, type, data, source)
            SELECT u.id, CASE tg_op WHEN 'DELETE' THEN 'gone' ELSE 'left' END, CASE tg_op WHEN 'DELETE' THEN {on_delete} ELSE '{}' END::jsonb, {name}
            FROM unnest(gone) AS u (id);
        END IF;
        IF ids IS NOT NULL THEN
            INSERT INTO taskfeed.changes (task_id, type, data, source)
            SELECT u.id, CASE WHEN u.fact IS NULL THEN 'left' ELSE 'row' END, coalesce(u.fact, '{}'), {name}
            FROM unnest(ids, facts) AS u (id, fact);
        END IF;
        IF taskfeed.must_ring() THEN
            PERFORM pg_notify('taskfeed', '');
        END IF;
        RETURN NULL;
    END IF;
$template$, jsonb_build_object(
        'name', quote_literal(name),
        'rows', quote_ident('attached_' || name || '_rows'),
        'strict', CASE m->>'strict' WHEN 'true' THEN 'RAISE; -- ' ELSE '' END,
        'on_delete', quote_literal(m->'on_delete'),
        'same', k.same,
        'pairs', format('CASE tg_op WHEN ''INSERT'' THEN %L WHEN ''DELETE'' THEN %L ELSE %L END',
            'SELECT NULL AS was, taskfeed_row AS becomes, false AS had, true AS has FROM new_rows AS taskfeed_row',
            'SELECT taskfeed_row AS was, NULL AS becomes, true AS had, false AS has FROM old_rows AS taskfeed_row',
            format('SELECT o.r AS was, n.r AS becomes, o.k1 IS NOT NULL AS had, n.k1 IS NOT NULL AS has FROM (SELECT taskfeed_row AS r, %s FROM new_rows AS taskfeed_row) AS n FULL JOIN (SELECT taskfeed_row AS r, %1$s FROM old_rows AS taskfeed_row) AS o ON %s', k.columns, k.same)),
        'old', taskfeed.source_mapped(m, 'old_rows', false),
        'new', taskfeed.source_mapped(m, 'new_rows', true))) END
    FROM (
        SELECT string_agg(format('taskfeed_row.%I AS k%s', e.k->>'column', e.n), ', ' ORDER BY e.n), string_agg(format('o.k%s = n.k%1$s', e.n), ' AND ' ORDER BY e.n)
        FROM jsonb_array_elements(CASE jsonb_typeof(m->'key') WHEN 'array' THEN m->'key' ELSE '[]' END) WITH ORDINALITY AS e (k, n)
    ) AS k (columns, same)
$code$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_statement_code(text, jsonb) IS 'The part of the trigger function of a source that captures all rows of a statement at once; null for a table without a key.';
REVOKE ALL ON FUNCTION taskfeed.source_statement_code(text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_trigger_code(name text, m jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $code$
    SELECT taskfeed.source_fill($template$
#variable_conflict use_column
DECLARE
    r        record;
    raw      text;
    state    text;
    old_id   text;
    new_id   text;
    old_fact jsonb;
    new_fact jsonb;
    mapped   boolean;
    failure  jsonb;
    had      boolean := tg_op <> 'INSERT'; -- there was a row
    has      boolean := tg_op <> 'DELETE'; -- there is one
    was      record;
    becomes  record;
    many     boolean := false; -- all rows are mapped
    ids      text[];
    facts    jsonb[];
    gone     text[];
    renamed  bigint;
    pairs    refcursor;
    pair     record;
    told     boolean := false;
BEGIN
    IF tg_op = 'TRUNCATE' THEN
        INSERT INTO taskfeed.changes (type, data, source) VALUES ('truncate', {on_truncate}, {name});
        IF taskfeed.must_ring() THEN
            PERFORM pg_notify('taskfeed', '');
        END IF;
        RETURN NULL;
    END IF;
{statement}
    LOOP
        IF tg_level = 'ROW' THEN
            was := old;
            becomes := new;
        ELSE
            FETCH pairs INTO pair;
            EXIT WHEN NOT FOUND;
            was := pair.was;
            becomes := pair.becomes;
            had := pair.had;
            has := pair.has;
        END IF;
        mapped := false;
        old_id := NULL;
        new_id := NULL;
        old_fact := NULL;
        new_fact := NULL;
        failure := NULL;
        BEGIN
            IF had THEN
                r := was;
                old_id := {id};
            END IF;
            IF has THEN
                r := becomes;
                new_id := {id};
                {new}
                mapped := true;
            END IF;
            IF had AND has THEN
                r := was;
                {old}
            END IF;
        EXCEPTION WHEN OTHERS THEN
            {strict}failure := jsonb_build_object('state', sqlstate, 'message', left(sqlerrm, 200));
        END;
        IF mapped AND old_id <> new_id THEN
            INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (old_id, 'left', '{}', {name});
            told := true;
        END IF;
        IF mapped AND failure IS NULL AND had AND new_fact IS NOT DISTINCT FROM old_fact AND old_id IS NOT DISTINCT FROM new_id THEN
            NULL; -- nothing that a user can see
        ELSIF mapped AND new_fact IS NOT NULL THEN
            INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (new_id, 'row', new_fact, {name});
            told := true;
        ELSIF mapped THEN -- the filter does not let it pass
            INSERT INTO taskfeed.changes (task_id, type, data, source) SELECT new_id, 'left', '{}', {name} WHERE had;
            told := told OR had;
        ELSIF NOT has AND old_id IS NOT NULL THEN
            INSERT INTO taskfeed.changes (task_id, type, data, source)
            VALUES (old_id, CASE tg_op WHEN 'DELETE' THEN 'gone' ELSE 'left' END, CASE tg_op WHEN 'DELETE' THEN {on_delete} ELSE '{}' END::jsonb, {name});
            told := true;
        ELSIF failure IS NOT NULL THEN
            INSERT INTO taskfeed.changes (task_id, type, data, source) VALUES (coalesce(new_id, old_id), 'broken', failure, {name});
            told := true;
        END IF; -- else a row without an id, of which nobody was told
        EXIT WHEN tg_level = 'ROW';
    END LOOP;
    IF told AND taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
    RETURN NULL;
END
$template$, jsonb_build_object(
        'name', quote_literal(name),
        'id', CASE m->>'prefix' WHEN '' THEN format('(%s)::text', m->>'id') ELSE format('%L || (%s)::text', m->>'prefix', m->>'id') END,
        'new', taskfeed.source_guarded(m, 'new_fact'),
        'old', taskfeed.source_guarded(m, 'old_fact'),
        'on_truncate', quote_literal(jsonb_build_object('on_truncate', m->'on_truncate')),
        'on_delete', quote_literal(m->'on_delete'),
        'strict', CASE m->>'strict' WHEN 'true' THEN 'RAISE; -- ' ELSE '' END,
        'statement', coalesce(taskfeed.source_statement_code(name, m), '')))
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
    SELECT taskfeed.source_fill($template$
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
$template$, jsonb_build_object(
        'relation', relation::oid::text,
        'ids', quote_nullable(taskfeed.source_query(m, 'ids')),
        'after', quote_nullable(taskfeed.source_query(m, 'after')),
        'first', quote_nullable(taskfeed.source_query(m, 'first')),
        'place', format('place := ARRAY[%s]::text[];', (
            SELECT string_agg(format('(r.%I)::text', e.k->>'column'), ', ' ORDER BY e.n)
            FROM jsonb_array_elements(CASE jsonb_typeof(m->'key') WHEN 'array' THEN m->'key' ELSE '[]' END) WITH ORDINALITY AS e (k, n))),
        'id', CASE m->>'prefix' WHEN '' THEN format('(%s)::text', m->>'id') ELSE format('%L || (%s)::text', m->>'prefix', m->>'id') END,
        'map', taskfeed.source_guarded(m, 'data')))
$code$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_rows_code(regclass, jsonb) IS 'The body of the function that reads rows of a source as facts: some by their ids, or a page.';
REVOKE ALL ON FUNCTION taskfeed.source_rows_code(regclass, jsonb) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.source_rows_code(regclass, jsonb);
DROP FUNCTION taskfeed.source_query(jsonb, text);
DROP FUNCTION taskfeed.source_trigger_code(text, jsonb);
DROP FUNCTION taskfeed.source_statement_code(text, jsonb);
DROP FUNCTION taskfeed.source_mapped(jsonb, text, boolean);
DROP FUNCTION taskfeed.source_state(jsonb);
DROP FUNCTION taskfeed.source_guarded(jsonb, text);
DROP FUNCTION taskfeed.source_fact(jsonb, text);
DROP FUNCTION taskfeed.source_fill(text, jsonb);

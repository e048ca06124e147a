-- +goose Up
-- Problems that make no event: a missing trigger, another table with the same name, a
-- changed column that the mapping reads. It reads only the catalogs.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.source_problems() RETURNS TABLE (name text, problem text, remedy text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.name, f.problem, f.remedy
    FROM taskfeed.sources AS s
    LEFT JOIN pg_class AS c ON c.oid = s.relation
    CROSS JOIN LATERAL (
        SELECT min(d.name), format('SELECT taskfeed.attach(%L, %L, mapping) FROM taskfeed.sources WHERE name = %2$L', s.table_name, s.name)
        FROM (
            SELECT substring(made FROM '^CREATE TRIGGER (\w+) ')
            FROM unnest(taskfeed.source_triggers(c.oid, s.name)) AS made
            WHERE made NOT LIKE '%AFTER TRUNCATE%'
        ) AS d (name)
        WHERE NOT EXISTS (
            SELECT
            FROM pg_trigger AS g
            WHERE g.tgrelid = c.oid
              AND g.tgname = d.name
              AND g.tgenabled IN ('O', 'A'))
    ) AS t (missing, again)
    CROSS JOIN LATERAL (
        SELECT w.problem, w.remedy
        FROM (VALUES
            (1, c.oid IS NULL AND to_regclass(s.table_name) IS NULL,
                format('its table %s is gone', s.table_name), format('run taskfeed detach %s, or restore the table', s.name)),
            (2, to_regclass(s.table_name) <> s.relation,
                format('%s is another table now than the one that was attached', s.table_name), 'run ' || t.again),
            (3, t.missing IS NOT NULL,
                format('its trigger %s on %s is missing or disabled, so changes are not seen', t.missing, c.oid::regclass), format('run ALTER TABLE %s ENABLE TRIGGER %s, or if it was dropped %s', c.oid::regclass, t.missing, t.again)),
            (3, c.relispartition AND t.missing IS NULL,
                format('%s is a partition now, and writes to %s are not seen', c.oid::regclass, CASE WHEN c.relispartition THEN pg_partition_root(c.oid) END), format('run taskfeed detach %s, then taskfeed attach %s', s.name, CASE WHEN c.relispartition THEN pg_partition_root(c.oid) END)),
            (4, to_regprocedure(format('taskfeed.%I()', 'attached_' || s.name)) IS NULL,
                'its function is missing, so writes to the table fail', 'run ' || t.again),
            (5, EXISTS (
                    SELECT
                    FROM jsonb_array_elements(s.fingerprint) AS k
                    WHERE NOT EXISTS (
                        SELECT
                        FROM pg_attribute AS a
                        WHERE a.attrelid = (k->>'relation')::oid
                          AND a.attnum = (k->>'number')::int
                          AND a.attname = k->>'name'
                          AND NOT a.attisdropped)),
                (SELECT format('its mapping reads the column %I of %s, which is %s', k->>'name', coalesce(g.oid::regclass::text, 'a table that is gone'),
                        CASE WHEN a.attisdropped OR a.attname IS NULL THEN 'gone' ELSE format('%I now', a.attname) END)
                 FROM jsonb_array_elements(s.fingerprint) AS k
                 LEFT JOIN pg_class AS g ON g.oid = (k->>'relation')::oid
                 LEFT JOIN pg_attribute AS a ON a.attrelid = g.oid AND a.attnum = (k->>'number')::int
                 WHERE a.attname IS DISTINCT FROM k->>'name'
                    OR a.attisdropped
                 LIMIT 1),
                format('run taskfeed attach %s --name %s with a mapping that reads the columns there are; SELECT mapping FROM taskfeed.sources shows the one that it has', s.table_name, s.name))
        ) AS w (place, so, problem, remedy)
        WHERE w.so
        ORDER BY w.place
        LIMIT 1
    ) AS f
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.source_problems() IS 'Problems of attached tables, and what to do about each.';
REVOKE ALL ON FUNCTION taskfeed.source_problems() FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.source_problems();

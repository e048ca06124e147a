-- +goose Up
-- To look at a mapping evaluates it, with the rights of the caller: whose code that would
-- run is found out before.

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION taskfeed.attach(source regclass, name text, mapping jsonb, dry_run boolean DEFAULT false) RETURNS jsonb
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
    stranger := taskfeed.source_stranger(source);
    IF stranger IS NOT NULL AND mapping->'trust_owner' IS DISTINCT FROM 'true' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s could run code with the rights of the schema taskfeed, and read what every user is told', stranger),
            HINT = 'Give the mapping "trust_owner": true if that role is to be trusted with it, or give what it owns to a role that has these rights.';
    END IF;
    m := taskfeed.source_mapping(source, name, mapping);
    report := taskfeed.source_report(source, name, m);
    IF report #>> '{sample,failure}' IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: the mapping fails for rows that there are: ' || (report #>> '{sample,failure}');
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

SELECT taskfeed.restrict_rights();

-- +goose Down
-- attach stays as it is: the one before it could run a stranger's code.

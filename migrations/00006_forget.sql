-- +goose Up
-- A statement that changes rows also runs the triggers that others have bound
-- to them: those of the table, and of tables with foreign keys that delete or
-- change rows there. Up to PostgreSQL 17 these run with the rights of the role
-- that runs the statement, at its end or at the end of the transaction, whoever
-- wrote them. An app must not get the owner's rights in this way, so nothing
-- here deletes tasks when an app could have bound anything to that.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.bound_by_others() RETURNS TABLE (relation regclass, what text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.confrelid::regclass,
           format('the foreign key %I of table %s of the role %s', c.conname, c.conrelid::regclass, t.relowner::regrole)
    FROM pg_constraint AS c
    JOIN pg_class AS t ON t.oid = c.conrelid
    JOIN pg_class AS o ON o.oid = c.confrelid AND o.relnamespace = 'taskfeed'::regnamespace
    WHERE c.contype = 'f'
      -- An action that deletes or changes rows is enough to count: the rights on each
      -- table that it reaches are not followed.
      AND (c.confdeltype IN ('c', 'n', 'd') OR NOT pg_has_role(t.relowner, o.relowner, 'USAGE'))
    UNION ALL
    SELECT g.tgrelid::regclass,
           format('the trigger %I of table %s, with the function %s of the role %s', g.tgname, g.tgrelid::regclass, p.oid::regprocedure, p.proowner::regrole)
    FROM pg_trigger AS g
    JOIN pg_class AS o ON o.oid = g.tgrelid AND o.relnamespace = 'taskfeed'::regnamespace
    JOIN pg_proc AS p ON p.oid = g.tgfoid
    WHERE NOT g.tgisinternal
      AND NOT pg_has_role(p.proowner, o.relowner, 'USAGE')
    ORDER BY 1, 2
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.bound_by_others() IS 'Triggers and foreign keys of others that act when the owner changes rows of our tables.';
REVOKE ALL ON FUNCTION taskfeed.bound_by_others() FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.refuse_bound(tasks boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bound record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE active_sql_transaction USING -- an older snapshot does not show recent triggers
            MESSAGE = 'taskfeed: run this in a transaction that is READ COMMITTED';
    END IF;
    -- From here to the end of the transaction nobody can bind anything to them.
    LOCK TABLE taskfeed.tasks, taskfeed.events, taskfeed.commands, taskfeed.read_marks, taskfeed.clients, taskfeed.changes, taskfeed.inbox, taskfeed.inbox_refs, taskfeed.forward_failures IN ROW EXCLUSIVE MODE;
    SELECT b.relation, b.what INTO bound
    FROM taskfeed.bound_by_others() AS b
    WHERE refuse_bound.tasks
       OR b.relation <> 'taskfeed.tasks'::regclass
    ORDER BY b.relation = 'taskfeed.tasks'::regclass
    LIMIT 1;
    IF found THEN
        RAISE dependent_objects_still_exist USING
            MESSAGE = format('taskfeed: nothing was done, for %s could run code with your rights, or change rows elsewhere. %s', bound.what,
                CASE bound.relation
                    WHEN 'taskfeed.tasks'::regclass THEN 'Let the app delete the tasks, as its own role (DELETE FROM taskfeed.tasks WHERE user_id = ...), and call this again'
                    ELSE 'Nobody may bind anything to this table: drop it'
                END);
    END IF;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.refuse_bound(boolean) IS 'Refuses to go on when a DELETE by the owner would run code that others have bound to our tables, and locks the tables against new bindings until the end of the transaction.';
REVOKE ALL ON FUNCTION taskfeed.refuse_bound(boolean) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.forget(user_id text, at_most bigint DEFAULT NULL)
RETURNS TABLE (tasks bigint, events bigint, changes bigint, commands bigint, marks bigint, messages bigint, failures bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET row_security = off -- an error in place of a part of the rows
AS $$
#variable_conflict use_column
DECLARE
    captured bigint := 0; -- tasks whose deletion made changes
    more     bigint;
BEGIN
    IF octet_length(forget.user_id) BETWEEN 1 AND 255 IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: user_id must be 1 to 255 bytes';
    ELSIF at_most < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: at_most must be 1 or more, or null for all at once';
    END IF;
    tasks := 0;
    PERFORM taskfeed.refuse_bound(tasks => EXISTS (SELECT FROM taskfeed.tasks AS t WHERE t.user_id = forget.user_id OR t.owners @> ARRAY[forget.user_id]));
    IF NOT EXISTS (SELECT FROM taskfeed.bound_by_others()) THEN -- else even a DELETE of no rows would run triggers
        PERFORM set_config('taskfeed.folding', 'on', true); -- so that tasks of attached tables may be changed
        UPDATE taskfeed.tasks AS t -- tasks that others share
        SET owners = array_remove(t.owners, forget.user_id),
            user_id = (array_remove(t.owners, forget.user_id))[1]
        WHERE t.owners @> ARRAY[forget.user_id]
          AND cardinality(array_remove(t.owners, forget.user_id)) > 0;
        WITH gone AS (
            DELETE FROM taskfeed.tasks AS t
            WHERE t.user_id = forget.user_id
              AND t.id = ANY (ARRAY(SELECT s.id FROM taskfeed.tasks AS s WHERE s.user_id = forget.user_id ORDER BY s.created_at, s.id LIMIT at_most))
            RETURNING t.source
        )
        SELECT count(*), count(*) FILTER (WHERE g.source IS NULL) INTO tasks, captured
        FROM gone AS g;
        PERFORM set_config('taskfeed.folding', 'off', true);
    END IF;
    DELETE FROM taskfeed.events AS e
    WHERE e.id = ANY (ARRAY(SELECT s.id FROM taskfeed.events AS s WHERE s.user_id = forget.user_id ORDER BY s.id LIMIT at_most));
    GET DIAGNOSTICS events = ROW_COUNT;
    DELETE FROM taskfeed.commands AS c
    WHERE c.kind = 'disconnect_user'
      AND c.argument = forget.user_id;
    GET DIAGNOSTICS commands = ROW_COUNT;
    DELETE FROM taskfeed.read_marks AS r
    WHERE r.user_id = forget.user_id;
    GET DIAGNOSTICS marks = ROW_COUNT;
    DELETE FROM taskfeed.clients AS c -- of one that is connected, too: servers change rows that exist
    WHERE c.user_id = forget.user_id;
    GET DIAGNOSTICS more = ROW_COUNT;
    marks := marks + more;
    DELETE FROM taskfeed.inbox AS i -- waits for an app that is receiving one of them
    WHERE i.user_id = forget.user_id;
    GET DIAGNOSTICS messages = ROW_COUNT;
    DELETE FROM taskfeed.inbox_refs AS r -- those of the messages count as one with them
    WHERE r.user_id = forget.user_id;
    GET DIAGNOSTICS more = ROW_COUNT;
    messages := greatest(messages, more);
    DELETE FROM taskfeed.forward_failures AS f
    WHERE f.user_id = forget.user_id;
    GET DIAGNOSTICS failures = ROW_COUNT;
    -- These rows come last because the sequencer moves them too: one of the two waits
    -- for the other's transaction. Both lock the rows in the order of their place, so
    -- there is no deadlock. Changes that this call made by deleting tasks are not
    -- counted.
    DELETE FROM taskfeed.changes AS c
    WHERE (c.user_id = forget.user_id OR c.source IS NOT NULL AND c.data->'users' = to_jsonb(ARRAY[forget.user_id]))
      AND c.ctid = ANY (ARRAY(
          SELECT s.ctid
          FROM taskfeed.changes AS s
          WHERE s.user_id = forget.user_id
             OR s.source IS NOT NULL AND s.data->'users' = to_jsonb(ARRAY[forget.user_id])));
    GET DIAGNOSTICS changes = ROW_COUNT;
    changes := greatest(changes - captured, 0);
    UPDATE taskfeed.changes AS c -- facts with further owners
    SET data = jsonb_set(c.data, '{users}', (c.data->'users') - forget.user_id)
    WHERE c.source IS NOT NULL
      AND c.data->'users' ? forget.user_id;
    GET DIAGNOSTICS more = ROW_COUNT;
    changes := changes + more;
    DELETE FROM taskfeed.events AS e -- what such a move has just inserted
    WHERE e.id = ANY (ARRAY(SELECT s.id FROM taskfeed.events AS s WHERE s.user_id = forget.user_id ORDER BY s.id LIMIT at_most - events));
    GET DIAGNOSTICS more = ROW_COUNT;
    events := events + more;
    RETURN NEXT;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.forget(text, bigint) IS 'Erases a user''s tasks, events, changes on their way, commands, read mark, cursors of clients, messages and events that could not be forwarded; at most as many tasks and events as the limit says. Returns the number of rows; call it until that is 0.';
REVOKE ALL ON FUNCTION taskfeed.forget(text, bigint) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.forget(text, bigint);
DROP FUNCTION taskfeed.refuse_bound(boolean);
DROP FUNCTION taskfeed.bound_by_others();

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION taskfeed.forget(user_id text, at_most bigint DEFAULT NULL)
RETURNS TABLE (tasks bigint, events bigint, changes bigint, commands bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    more bigint;
BEGIN
    IF octet_length(forget.user_id) BETWEEN 1 AND 255 IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: user_id must be 1 to 255 bytes';
    ELSIF at_most < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: at_most must be 1 or more, or null for all at once';
    END IF;
    DELETE FROM taskfeed.tasks AS t
    WHERE t.user_id = forget.user_id
      AND t.id = ANY (ARRAY(SELECT s.id FROM taskfeed.tasks AS s WHERE s.user_id = forget.user_id ORDER BY s.created_at, s.id LIMIT at_most));
    GET DIAGNOSTICS tasks = ROW_COUNT;
    DELETE FROM taskfeed.events AS e
    WHERE e.id = ANY (ARRAY(SELECT s.id FROM taskfeed.events AS s WHERE s.user_id = forget.user_id ORDER BY s.id LIMIT at_most));
    GET DIAGNOSTICS events = ROW_COUNT;
    DELETE FROM taskfeed.commands AS c
    WHERE c.kind = 'disconnect_user'
      AND c.argument = forget.user_id;
    GET DIAGNOSTICS commands = ROW_COUNT;
    -- Last, for the sequencer wants these rows too: it waits for the end of this
    -- transaction, or this waits for its move. By place, as it takes them, so that
    -- neither waits for the other at once. Those of the tasks just deleted, which
    -- nobody else has seen, are not counted.
    DELETE FROM taskfeed.changes AS c
    WHERE c.user_id = forget.user_id
      AND c.ctid = ANY (ARRAY(SELECT s.ctid FROM taskfeed.changes AS s WHERE s.user_id = forget.user_id));
    GET DIAGNOSTICS changes = ROW_COUNT;
    changes := greatest(changes - tasks, 0);
    DELETE FROM taskfeed.events AS e -- what such a move has just put there
    WHERE e.id = ANY (ARRAY(SELECT s.id FROM taskfeed.events AS s WHERE s.user_id = forget.user_id ORDER BY s.id LIMIT at_most - events));
    GET DIAGNOSTICS more = ROW_COUNT;
    events := events + more;
    RETURN NEXT;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.forget(text, bigint) IS 'Erases what names a user: tasks, events, changes on their way, commands; of tasks and events at most so many a call. Says how many; call it until that is none.';
REVOKE ALL ON FUNCTION taskfeed.forget(text, bigint) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.forget(text, bigint);

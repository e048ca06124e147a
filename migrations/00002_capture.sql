-- +goose Up
CREATE TABLE taskfeed.changes (
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(), -- before id: the xid is taken first
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    user_id    text,                                              -- null: for every user
    task_id    text,                                              -- no foreign key: the log outlives the task
    type       text        NOT NULL,
    version    bigint,
    data       jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- Rows live for milliseconds. Truncation would lock writers out, so vacuum
    -- leaves the file its size.
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 2000000000
);
COMMENT ON TABLE taskfeed.changes IS 'Changes not yet in the log; written by capture triggers, emptied by the sequencer.';
COMMENT ON COLUMN taskfeed.changes.id IS 'Order of capture. Two changes of which one saw the other are in this order.';

CREATE INDEX changes_xid ON taskfeed.changes (xid);
COMMENT ON INDEX taskfeed.changes_xid IS 'Bounds each look of the sequencer to transactions that it has not seen.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.ring() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    -- 1952543595 is taskfeed's class of advisory locks, 1 its doorbell. While
    -- the sequencer sleeps it holds the exclusive side, so this try fails and
    -- rings. While it is busy the try succeeds, and the shared side, kept to the
    -- end of this transaction, keeps it from falling asleep before this commit.
    IF current_setting('taskfeed.notify', true) IS DISTINCT FROM 'off'
        AND NOT pg_try_advisory_xact_lock_shared(1952543595, 1)
    THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.ring() IS 'The doorbell: NOTIFY only when the sequencer sleeps.';
REVOKE ALL ON FUNCTION taskfeed.ring() FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.fit(data jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    field     text;
    truncated jsonb := '[]';
BEGIN
    IF octet_length(data::text) <= 262144 THEN
        RETURN data;
    END IF;
    WHILE octet_length(data::text) > 262144 LOOP
        SELECT e.key INTO field
        FROM jsonb_each(data) AS e
        ORDER BY octet_length(e.value::text) DESC
        LIMIT 1;
        data := data || jsonb_build_object(field, NULL);
        truncated := truncated || to_jsonb(field);
    END LOOP;
    RETURN data || jsonb_build_object('truncated', truncated);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.fit(jsonb) IS 'An event''s data within 256 KB: the largest fields become null and are named in "truncated".';
REVOKE ALL ON FUNCTION taskfeed.fit(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.status_type(status text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE status WHEN 'running' THEN 'task_started' ELSE 'task_' || status END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.status_type(text) IS 'The type of the event that a task of this status makes.';
REVOKE ALL ON FUNCTION taskfeed.status_type(text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.task_data(status text, kind text, progress smallint, message text, result jsonb, error text)
RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_strip_nulls(jsonb_build_object('kind', kind, 'progress', progress, 'message', message))
    || CASE WHEN result IS NOT NULL OR status = 'completed' THEN jsonb_build_object('result', result) ELSE '{}' END
    || CASE WHEN error IS NOT NULL OR status = 'failed' THEN jsonb_build_object('error', error) ELSE '{}' END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.task_data(text, text, smallint, text, jsonb, text) IS 'All that a user can see of a task, as the data of its event.';
REVOKE ALL ON FUNCTION taskfeed.task_data(text, text, smallint, text, jsonb, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- A full join is hashed or merged, never nested: the plan of a session
        -- that began with one-row updates stays good for a million rows. It also
        -- sees a changed primary key for what it is: one task gone, one appeared.
        INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
        SELECT e.user_id, e.task_id, e.type, e.version, e.data
        FROM new_rows AS n
        FULL JOIN old_rows AS o ON o.id = n.id
        CROSS JOIN LATERAL (
            SELECT o.user_id, o.id AS task_id, 'task_deleted' AS type, o.version + 1 AS version, '{}'::jsonb AS data
            WHERE n.id IS NULL
               OR n.user_id <> o.user_id
            UNION ALL
            SELECT n.user_id, n.id, 'task_progress', n.version,
                   taskfeed.fit(CASE
                       WHEN n.message IS NULL THEN jsonb_build_object('progress', n.progress)
                       ELSE jsonb_build_object('progress', n.progress, 'message', n.message)
                   END)
            WHERE n.user_id = o.user_id
              AND n.version <> o.version
              AND (n.status, n.kind, n.error, n.result) IS NOT DISTINCT FROM (o.status, o.kind, o.error, o.result)
            UNION ALL
            SELECT n.user_id, n.id, taskfeed.status_type(n.status), n.version,
                   taskfeed.fit(taskfeed.task_data(n.status, n.kind, n.progress, n.message, n.result, n.error))
            WHERE n.id IS NOT NULL
              AND (o.id IS NULL
                   OR n.user_id <> o.user_id
                   OR (n.status, n.kind, n.error, n.result) IS DISTINCT FROM (o.status, o.kind, o.error, o.result))
        ) AS e;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
        SELECT n.user_id, n.id, taskfeed.status_type(n.status), n.version,
               taskfeed.fit(taskfeed.task_data(n.status, n.kind, n.progress, n.message, n.result, n.error))
        FROM new_rows AS n;
    ELSE
        INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
        SELECT o.user_id, o.id, 'task_deleted', o.version + 1, '{}'
        FROM old_rows AS o;
    END IF;
    IF found THEN
        PERFORM taskfeed.ring();
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.capture() IS 'Writes one change for each row of a statement that a user sees differently now.';
REVOKE ALL ON FUNCTION taskfeed.capture() FROM PUBLIC;

CREATE TRIGGER taskfeed_capture_insert
    AFTER INSERT ON taskfeed.tasks
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture();
COMMENT ON TRIGGER taskfeed_capture_insert ON taskfeed.tasks IS 'Captures tasks that appear.';

CREATE TRIGGER taskfeed_capture_update
    AFTER UPDATE ON taskfeed.tasks
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture();
COMMENT ON TRIGGER taskfeed_capture_update ON taskfeed.tasks IS 'Captures visible changes of tasks.';

CREATE TRIGGER taskfeed_capture_delete
    AFTER DELETE ON taskfeed.tasks
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture();
COMMENT ON TRIGGER taskfeed_capture_delete ON taskfeed.tasks IS 'Captures tasks that go.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.publish(recipient text, type text, data jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    taken text;
BEGIN
    IF type IS NULL OR type !~ '^[A-Za-z][A-Za-z0-9_.:-]{0,63}$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: type must be 1 to 64 letters, digits or any of "_.:-", and begin with a letter';
    ELSIF type ~ '^(task|feed)_' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: types that begin with "task_" or "feed_" are reserved; choose another prefix';
    ELSIF data IS NULL OR jsonb_typeof(data) <> 'object' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: data must be a JSON object, for example ''{"text": "hello"}''';
    ELSIF octet_length(data::text) > 262144 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: data is %s bytes long and at most 262144 are allowed; send a reference instead', octet_length(data::text));
    END IF;
    SELECT k INTO taken
    FROM unnest(ARRAY['id', 'type', 'timestamp', 'task_id', 'version']) AS k
    WHERE data ? k
    LIMIT 1;
    IF found THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: data must not have the key "%s": every event has a field of that name', taken);
    END IF;
    INSERT INTO taskfeed.changes (user_id, type, data) VALUES (recipient, type, data);
    PERFORM taskfeed.ring();
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.publish(text, text, jsonb) IS 'What notify and broadcast have in common.';
REVOKE ALL ON FUNCTION taskfeed.publish(text, text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.notify(user_id text, type text, data jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF user_id IS NULL OR octet_length(user_id) NOT BETWEEN 1 AND 255 OR user_id ~ '[\x01-\x1f\x7f]' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: user_id must be 1 to 255 bytes without control characters; use taskfeed.broadcast to reach everyone';
    END IF;
    PERFORM taskfeed.publish(user_id, type, data);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.notify(text, text, jsonb) IS 'Sends one user an event that belongs to no task, if the transaction commits.';
REVOKE ALL ON FUNCTION taskfeed.notify(text, text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.broadcast(type text, data jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM taskfeed.publish(NULL, type, data);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.broadcast(text, jsonb) IS 'Sends every user an event that belongs to no task, if the transaction commits.';
REVOKE ALL ON FUNCTION taskfeed.broadcast(text, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.grant_app(app_role regrole) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA taskfeed TO %s', app_role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON taskfeed.tasks TO %s', app_role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION taskfeed.notify(text, text, jsonb), taskfeed.broadcast(text, jsonb) TO %s', app_role);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.grant_app(regrole) IS 'Grants an app''s role all that it needs, and nothing else.';
REVOKE ALL ON FUNCTION taskfeed.grant_app(regrole) FROM PUBLIC;

-- +goose Down
DROP FUNCTION taskfeed.grant_app(regrole);
DROP FUNCTION taskfeed.broadcast(text, jsonb);
DROP FUNCTION taskfeed.notify(text, text, jsonb);
DROP FUNCTION taskfeed.publish(text, text, jsonb);
DROP TRIGGER taskfeed_capture_delete ON taskfeed.tasks;
DROP TRIGGER taskfeed_capture_update ON taskfeed.tasks;
DROP TRIGGER taskfeed_capture_insert ON taskfeed.tasks;
DROP FUNCTION taskfeed.capture();
DROP FUNCTION taskfeed.task_data(text, text, smallint, text, jsonb, text);
DROP FUNCTION taskfeed.status_type(text);
DROP FUNCTION taskfeed.fit(jsonb);
DROP FUNCTION taskfeed.ring();
DROP TABLE taskfeed.changes;

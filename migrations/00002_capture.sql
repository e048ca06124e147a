-- +goose Up
CREATE TABLE taskfeed.changes (
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(), -- before id: the xid is taken first
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    user_id    text,                                              -- null: for every user
    task_id    text,                                              -- no foreign key: the log outlives the task
    type       text        NOT NULL,
    version    bigint,
    data       jsonb,                                             -- null: only progress and message changed
    progress   smallint,
    message    text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    source     text                                               -- null: an event; else a fact of this attached table
) WITH (
    -- Rows live for milliseconds. Truncation would lock writers out, so vacuum
    -- leaves the file its size.
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 2000000000
);
-- A primary key would cost each change 67 bytes of WAL for its index. REPLICA
-- IDENTITY FULL costs nothing, or 104 bytes with wal_level = logical. Without
-- either, the table could not be in a publication of deletes.
ALTER TABLE taskfeed.changes REPLICA IDENTITY FULL;
COMMENT ON TABLE taskfeed.changes IS 'Changes not yet in the log; written by capture triggers, emptied by the sequencer.';
COMMENT ON COLUMN taskfeed.changes.id IS 'Order of capture: if one change saw another, its id is higher.';

CREATE INDEX changes_xid ON taskfeed.changes (xid);
COMMENT ON INDEX taskfeed.changes_xid IS 'Limits each look of the sequencer to transactions that it has not seen.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.must_ring() RETURNS boolean
LANGUAGE sql
-- 1952543595 is taskfeed's class of advisory locks, 1 its doorbell. While the
-- sequencer sleeps it holds the exclusive side, so this try fails and the caller
-- must ring. While it is busy the try succeeds, and the shared side, kept to the
-- end of this transaction, keeps it from falling asleep before this commit.
RETURN current_setting('taskfeed.notify', true) IS DISTINCT FROM 'off'
    AND NOT pg_try_advisory_xact_lock_shared(1952543595, 1);
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.must_ring() IS 'Whether the sequencer sleeps, so that this transaction must wake it with NOTIFY.';
REVOKE ALL ON FUNCTION taskfeed.must_ring() FROM PUBLIC;

-- An app that traces its requests sets taskfeed.traceparent in its transaction, and
-- every change of it has that in its data. For the others a change costs one look at a
-- setting and at most one empty concatenation. The condition of a trigger on
-- taskfeed.changes cost five times that: Postgres parses it again for each INSERT.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.is_traced() RETURNS boolean
LANGUAGE sql STABLE
RETURN (current_setting('taskfeed.traceparent', true) ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$') IS TRUE;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.is_traced() IS 'Whether the setting taskfeed.traceparent names a trace, as W3C Trace Context writes it.';
REVOKE ALL ON FUNCTION taskfeed.is_traced() FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.traced(data jsonb) RETURNS jsonb
LANGUAGE sql STABLE
RETURN CASE WHEN taskfeed.is_traced() THEN jsonb_build_object('traceparent', current_setting('taskfeed.traceparent')) ELSE '{}' END || data;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.traced(jsonb) IS 'The data of a change with the trace of the transaction, unless an app''s event has a field of that name.';
REVOKE ALL ON FUNCTION taskfeed.traced(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.status_type(status text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE status WHEN 'running' THEN 'task_started' ELSE 'task_' || status END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.status_type(text) IS 'The event type of a change to this status.';
REVOKE ALL ON FUNCTION taskfeed.status_type(text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.task_fields(status text, kind text, progress smallint, message text, result jsonb, error text)
RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_strip_nulls(jsonb_build_object('kind', kind, 'progress', progress, 'message', message))
    || CASE WHEN result IS NOT NULL OR status = 'completed' THEN jsonb_build_object('result', result) ELSE '{}' END
    || CASE WHEN error IS NOT NULL OR status = 'failed' THEN jsonb_build_object('error', error) ELSE '{}' END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.task_fields(text, text, smallint, text, jsonb, text) IS 'Everything that a user can see of a task, without a limit of size.';
REVOKE ALL ON FUNCTION taskfeed.task_fields(text, text, smallint, text, jsonb, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.text_bytes(value text) RETURNS bigint
LANGUAGE sql STABLE
RETURN CASE
    WHEN octet_length(value) > 262144 THEN octet_length(value) -- the longest texts do not fit into jsonb
    ELSE octet_length(to_jsonb(value)::text)
END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.text_bytes(text) IS 'The length of the text as JSON; beyond 256 KB a lower bound of it.';
REVOKE ALL ON FUNCTION taskfeed.text_bytes(text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.json_bytes(value jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    stored int;
BEGIN
    stored := pg_column_size(jsonb_build_array(value)); -- uncompressed
    IF stored > 8388608 THEN
        RETURN stored; -- its text is far over 256 KB and may not fit into a value
    END IF;
    RETURN octet_length(value::text);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.json_bytes(jsonb) IS 'The length of the value as text; far beyond 256 KB only some larger number.';
REVOKE ALL ON FUNCTION taskfeed.json_bytes(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.json_is_deep(value jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN jsonb_path_exists(value, '$.**{512}');
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.json_is_deep(jsonb) IS 'Whether the value is nested so deeply that clients may be unable to read it.';
REVOKE ALL ON FUNCTION taskfeed.json_is_deep(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.result_bytes(result jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    bytes bigint;
BEGIN
    bytes := taskfeed.json_bytes(result);
    IF bytes BETWEEN 1024 AND 262144 AND taskfeed.json_is_deep(result) THEN
        RETURN 2147483647;
    END IF;
    RETURN bytes;
EXCEPTION WHEN OTHERS THEN -- close to the largest jsonb value; the app's write must not fail
    RETURN 2147483647;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.result_bytes(jsonb) IS 'The length of a result as text; more than fits into an event when clients could not parse it.';
REVOKE ALL ON FUNCTION taskfeed.result_bytes(jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.fit_data(status text, kind text, progress smallint, message text, result jsonb, error text)
RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    nulls     jsonb;
    truncated jsonb;
BEGIN
    IF coalesce(octet_length(message), 0) + coalesce(octet_length(error), 0) <= 40000 -- six times that as JSON at worst
        AND (result IS NULL OR (pg_column_size(result) <= 1000 AND octet_length(result::text) <= 1000))
    THEN
        RETURN taskfeed.task_fields(status, kind, progress, message, result, error);
    END IF;
    SELECT jsonb_object_agg(f.field, NULL), jsonb_agg(f.field ORDER BY f.total DESC) INTO nulls, truncated
    FROM (
        SELECT s.field, sum(s.bytes) OVER (ORDER BY s.bytes, s.field) AS total
        FROM (VALUES
            ('message', taskfeed.text_bytes(message)),
            ('error', taskfeed.text_bytes(error)),
            ('result', taskfeed.result_bytes(result))
        ) AS s (field, bytes)
        WHERE s.bytes IS NOT NULL
    ) AS f
    WHERE f.total > 262144 - 2048; -- 2 KB for the other fields of an event
    IF truncated IS NULL THEN
        RETURN taskfeed.task_fields(status, kind, progress, message, result, error);
    END IF;
    RETURN taskfeed.task_fields(status, kind, progress,
            CASE WHEN NOT truncated ? 'message' THEN message END,
            CASE WHEN NOT truncated ? 'result' THEN result END,
            CASE WHEN NOT truncated ? 'error' THEN error END)
        || nulls
        || jsonb_build_object('truncated', truncated);
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.fit_data(text, text, smallint, text, jsonb, text) IS 'Everything that a user can see of a task, limited to 256 KB: the largest fields become null and "truncated" names them.';
REVOKE ALL ON FUNCTION taskfeed.fit_data(text, text, smallint, text, jsonb, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.task_data(status text, kind text, progress smallint, message text, result jsonb, error text)
RETURNS jsonb
LANGUAGE sql STABLE
RETURN CASE
    WHEN num_nonnulls(message, result, error) = 0 AND status IN ('queued', 'running')
        THEN jsonb_strip_nulls(jsonb_build_object('kind', kind, 'progress', progress)) -- most tasks begin with no more
    ELSE taskfeed.fit_data(status, kind, progress, message, result, error)
END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.task_data(text, text, smallint, text, jsonb, text) IS 'Everything that a user can see of a task, as the data of its event.';
REVOKE ALL ON FUNCTION taskfeed.task_data(text, text, smallint, text, jsonb, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.same_state(
    status text, was_status text, id text, was_id text, user_id text, was_user_id text,
    kind text, was_kind text, error text, was_error text, result jsonb, was_result jsonb)
RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN status = was_status AND id = was_id AND user_id = was_user_id
    AND kind IS NOT DISTINCT FROM was_kind AND error IS NOT DISTINCT FROM was_error AND result IS NOT DISTINCT FROM was_result;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.same_state(text, text, text, text, text, text, text, text, text, text, jsonb, jsonb) IS 'Whether no visible field changed except progress and message.';
REVOKE ALL ON FUNCTION taskfeed.same_state(text, text, text, text, text, text, text, text, text, text, jsonb, jsonb) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.same_progress(progress smallint, was_progress smallint, message text, was_message text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN progress = was_progress AND message IS NOT DISTINCT FROM was_message;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.same_progress(smallint, smallint, text, text) IS 'Whether neither progress nor message changed.';
REVOKE ALL ON FUNCTION taskfeed.same_progress(smallint, smallint, text, text) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.next_version(version bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE
-- At the largest integer of JavaScript the version stays as it is, so that no update
-- fails.
RETURN least(version, 9007199254740990) + 1;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.next_version(bigint) IS 'The version after a visible change.';
REVOKE ALL ON FUNCTION taskfeed.next_version(bigint) FROM PUBLIC;

-- An ORM with optimistic locking writes the version as one more than it has
-- read. That is kept: otherwise its next update would find another version than
-- it expects.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.kept_version(version bigint, was_version bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN CASE version WHEN taskfeed.next_version(was_version) THEN version ELSE was_version END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.kept_version(bigint, bigint) IS 'The version after an update without a visible change: the same, or one more where the app set it so.';
REVOKE ALL ON FUNCTION taskfeed.kept_version(bigint, bigint) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.moved_on(
    progress smallint, was_progress smallint, message text, was_message text, created_at timestamptz, was_created_at timestamptz)
RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN NOT taskfeed.same_progress(progress, was_progress, message, was_message)
    AND progress BETWEEN 0 AND 100
    AND (message IS NULL OR octet_length(message) <= 40000) -- six times that as JSON at worst, so an event has room for it
    AND created_at = was_created_at;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.moved_on(smallint, smallint, text, text, timestamptz, timestamptz) IS 'Whether progress or message changed and both keep the rules.';
REVOKE ALL ON FUNCTION taskfeed.moved_on(smallint, smallint, text, text, timestamptz, timestamptz) FROM PUBLIC;

-- Inserts and updates are captured row by row. An AFTER STATEMENT trigger with a
-- transition table was measured, for updates of 100 rows, 2 cores, processor time
-- in microseconds a row:
--
--                                                  1 writer  4 writers
--   no trigger                                          5.6        7.4
--   this trigger without its INSERT                     8.1       12.1
--   this trigger                                       18.7       19.8
--   one INSERT of all rows at the end                  14.3       15.4
--   one row of arrays at the end                       11.9       11.6
--
-- The sequencer takes another 25 to 35 for each event, most of them for the indexes
-- of the log. So the one INSERT, with a server beside it, gave four writers 0.6 to
-- 1.2 times as many rows, and 16 writers 1.3 to 1.4 times. Arrays, with the move as
-- plain SQL beside them, gave 1.1 to 1.4 and 0.8 to 1.2 times; and everything that
-- reads changes would have to unpack them. Other work shared the machine.
--
-- What runs for each row runs under the app's search_path, because Postgres
-- resolves a search_path of a function again at each call. So every name is
-- qualified, and operators are in functions with RETURN, whose names are bound
-- when they are created.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.capture_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF NOT taskfeed.is_tasks(tg_relid) THEN
        PERFORM taskfeed.refuse_table();
    ELSIF new.source IS NOT NULL THEN
        RETURN NULL; -- the sequencer has written its event
    END IF;
    INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
    VALUES (new.user_id, new.id, taskfeed.status_type(new.status), new.version,
            taskfeed.traced(taskfeed.task_data(new.status, new.kind, new.progress, new.message, new.result, new.error)));
    IF taskfeed.must_ring() THEN
        PERFORM pg_catalog.pg_notify('taskfeed', '');
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.capture_insert() IS 'Captures a new task.';
REVOKE ALL ON FUNCTION taskfeed.capture_insert() FROM PUBLIC;

-- AFTER, because before the insert it is unknown whether ON CONFLICT lets it
-- happen; first by its name, because the app's own triggers may change the row
-- again.
CREATE TRIGGER aa_taskfeed_capture_insert
    AFTER INSERT ON taskfeed.tasks
    FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_insert();
COMMENT ON TRIGGER aa_taskfeed_capture_insert ON taskfeed.tasks IS 'Captures inserted tasks.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.capture_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    same   pg_catalog.bool;
    broken pg_catalog.text;
BEGIN
    IF NOT taskfeed.is_tasks(tg_relid) THEN
        PERFORM taskfeed.refuse_table();
    ELSIF new.source IS NOT NULL OR old.source IS NOT NULL THEN
        PERFORM taskfeed.refuse_source(new.source, old.source);
        new.updated_hour := taskfeed.hour_of(new.updated_at);
        RETURN new;
    END IF;
    same := taskfeed.same_state(new.status, old.status, new.id, old.id, new.user_id, old.user_id,
        new.kind, old.kind, new.error, old.error, new.result, old.result);
    new.updated_at := pg_catalog.clock_timestamp();
    new.updated_hour := taskfeed.hour_of(new.updated_at);
    IF same AND taskfeed.moved_on(new.progress, old.progress, new.message, old.message, new.created_at, old.created_at) AND NOT taskfeed.is_traced() THEN
        new.version := taskfeed.next_version(old.version);
        INSERT INTO taskfeed.changes (user_id, task_id, type, version, progress, message, created_at)
        VALUES (new.user_id, new.id, 'task_progress', new.version, new.progress, new.message, new.updated_at);
    ELSE -- any other update
        broken := taskfeed.broken_rule(new.id, new.user_id, new.kind, new.status, new.progress, new.created_at, new.updated_at,
            NULL);
        IF broken IS NOT NULL THEN
            PERFORM taskfeed.refuse_task(broken);
        ELSIF new.status IS NULL OR new.id IS NULL OR new.user_id IS NULL OR new.progress IS NULL THEN
            RETURN new; -- NOT NULL of the column refuses it
        ELSIF same AND taskfeed.same_progress(new.progress, old.progress, new.message, old.message) THEN
            new.version := taskfeed.kept_version(new.version, old.version); -- no visible change
            new.updated_at := old.updated_at;
            new.updated_hour := taskfeed.hour_of(old.updated_at); -- for a row that was written while triggers were disabled
            RETURN new;
        END IF;
        new.version := taskfeed.next_version(old.version);
        IF same THEN
            INSERT INTO taskfeed.changes (user_id, task_id, type, version, data, created_at)
            VALUES (new.user_id, new.id, 'task_progress', new.version,
                    taskfeed.traced(taskfeed.fit_data(NULL, NULL, new.progress, new.message, NULL, NULL)), new.updated_at);
        ELSE
            IF pg_catalog.textne(new.id, old.id) OR pg_catalog.textne(new.user_id, old.user_id) THEN
                INSERT INTO taskfeed.changes (user_id, task_id, type, version, data, created_at)
                VALUES (old.user_id, old.id, 'task_deleted', new.version, taskfeed.traced('{}'), new.updated_at);
            END IF;
            INSERT INTO taskfeed.changes (user_id, task_id, type, version, data, created_at)
            VALUES (new.user_id, new.id, taskfeed.status_type(new.status), new.version,
                    taskfeed.traced(taskfeed.task_data(new.status, new.kind, new.progress, new.message, new.result, new.error)), new.updated_at);
        END IF;
    END IF;
    IF taskfeed.must_ring() THEN
        PERFORM pg_catalog.pg_notify('taskfeed', '');
    END IF;
    RETURN new;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.capture_update() IS 'Checks an update of a task, gives a visible change the next version and captures it: as one change, or as two when the owner changes.';
REVOKE ALL ON FUNCTION taskfeed.capture_update() FROM PUBLIC;

-- BEFORE, because only then the version can be set. One trigger does
-- everything: a second one would process the row again. By its name it comes
-- last among the BEFORE triggers.
CREATE TRIGGER zz_taskfeed_capture_update
    BEFORE UPDATE ON taskfeed.tasks
    FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_update();
COMMENT ON TRIGGER zz_taskfeed_capture_update ON taskfeed.tasks IS 'Keeps version and updated_at, and captures visible changes of tasks.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.capture_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT taskfeed.is_tasks(tg_relid) THEN
        PERFORM taskfeed.refuse_table();
    END IF;
    INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
    SELECT o.user_id, o.id, 'task_deleted', taskfeed.next_version(o.version), taskfeed.traced('{}')
    FROM old_rows AS o
    WHERE o.source IS NULL
       OR taskfeed.refuse_source(o.source);
    IF found AND taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.capture_delete() IS 'Writes one change for each task that a statement deleted.';
REVOKE ALL ON FUNCTION taskfeed.capture_delete() FROM PUBLIC;

CREATE TRIGGER aa_taskfeed_capture_delete
    AFTER DELETE ON taskfeed.tasks
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture_delete();
COMMENT ON TRIGGER aa_taskfeed_capture_delete ON taskfeed.tasks IS 'Captures deleted tasks.';

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
    ELSIF taskfeed.json_bytes(data) > 262144 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: data is %s bytes long and at most 262144 are allowed; send a reference instead', taskfeed.json_bytes(data));
    ELSIF taskfeed.json_is_deep(data) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: data is nested over 512 levels deep: many clients cannot read that; send a reference instead';
    END IF;
    SELECT k INTO taken
    FROM unnest(ARRAY['id', 'type', 'timestamp', 'task_id', 'version', 'feed']) AS k
    WHERE data ? k
    LIMIT 1;
    IF found THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: data must not have the key "%s": events have a field of that name', taken);
    END IF;
    INSERT INTO taskfeed.changes (user_id, type, data) VALUES (recipient, type, taskfeed.traced(data));
    IF taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.publish(text, text, jsonb) IS 'The common part of notify and broadcast.';
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
CREATE FUNCTION taskfeed.grant_app(app_role regrole, foreign_keys boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    called text;
    here   bigint;
BEGIN
    SELECT r.rolname INTO called FROM pg_roles AS r WHERE r.oid = app_role;
    IF NOT found THEN
        RAISE undefined_object USING
            MESSAGE = 'taskfeed: there is no such role';
    ELSIF grant_app.foreign_keys IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: foreign_keys must be true or false';
    END IF;
    SELECT h.system_identifier INTO here FROM pg_control_system() AS h;
    DELETE FROM taskfeed.app_roles AS r -- an entry of another cluster, or one that this call replaces
    WHERE r.role = called
      AND r.cluster <> here;
    INSERT INTO taskfeed.app_roles (cluster, role_oid, role, foreign_keys)
    VALUES (here, app_role, called, grant_app.foreign_keys)
    ON CONFLICT ON CONSTRAINT app_roles_pkey DO UPDATE SET foreign_keys = excluded.foreign_keys;
    PERFORM taskfeed.restrict_rights();
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.grant_app(regrole, boolean) IS 'Grants an app''s role all that it needs, foreign keys to tasks only when asked, and takes away what others have beyond that.';
REVOKE ALL ON FUNCTION taskfeed.grant_app(regrole, boolean) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.grant_app(regrole, boolean);
DROP FUNCTION taskfeed.broadcast(text, jsonb);
DROP FUNCTION taskfeed.notify(text, text, jsonb);
DROP FUNCTION taskfeed.publish(text, text, jsonb);
DROP TRIGGER aa_taskfeed_capture_delete ON taskfeed.tasks;
DROP TRIGGER zz_taskfeed_capture_update ON taskfeed.tasks;
DROP TRIGGER aa_taskfeed_capture_insert ON taskfeed.tasks;
DROP FUNCTION taskfeed.capture_delete();
DROP FUNCTION taskfeed.capture_update();
DROP FUNCTION taskfeed.capture_insert();
DROP FUNCTION taskfeed.moved_on(smallint, smallint, text, text, timestamptz, timestamptz);
DROP FUNCTION taskfeed.kept_version(bigint, bigint);
DROP FUNCTION taskfeed.next_version(bigint);
DROP FUNCTION taskfeed.same_progress(smallint, smallint, text, text);
DROP FUNCTION taskfeed.same_state(text, text, text, text, text, text, text, text, text, text, jsonb, jsonb);
DROP FUNCTION taskfeed.task_data(text, text, smallint, text, jsonb, text);
DROP FUNCTION taskfeed.fit_data(text, text, smallint, text, jsonb, text);
DROP FUNCTION taskfeed.result_bytes(jsonb);
DROP FUNCTION taskfeed.json_is_deep(jsonb);
DROP FUNCTION taskfeed.json_bytes(jsonb);
DROP FUNCTION taskfeed.text_bytes(text);
DROP FUNCTION taskfeed.task_fields(text, text, smallint, text, jsonb, text);
DROP FUNCTION taskfeed.status_type(text);
DROP FUNCTION taskfeed.traced(jsonb);
DROP FUNCTION taskfeed.is_traced();
DROP FUNCTION taskfeed.must_ring();
DROP TABLE taskfeed.changes;

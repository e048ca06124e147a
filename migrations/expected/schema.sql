-- The schema taskfeed as the migrations make it; checked by a test (-update writes it).

TABLE changes WITH (vacuum_truncate=false, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=5000, autovacuum_vacuum_insert_threshold=-1, autovacuum_analyze_threshold=2000000000)
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY -- Order of capture. Two changes of which one saw the other are in this order.
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CREATE INDEX changes_xid ON taskfeed.changes USING btree (xid) -- Bounds each look of the sequencer to transactions that it has not seen.
    COMMENT Changes not yet in the log; written by capture triggers, emptied by the sequencer.
TABLE commands
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    kind text NOT NULL
    argument text NOT NULL
    CONSTRAINT argument_is_1_to_255_bytes CHECK (((octet_length(argument) >= 1) AND (octet_length(argument) <= 255)))
    CONSTRAINT commands_pkey PRIMARY KEY (id)
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['disconnect_user'::text, 'disconnect_connection'::text])))
    CREATE UNIQUE INDEX commands_pkey ON taskfeed.commands USING btree (id)
    COMMENT What an admin asks of every server, once; servers look every second. Kept for an hour.
TABLE events PARTITION BY RANGE (id)
    id bigint NOT NULL
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL
    CONSTRAINT events_pkey PRIMARY KEY (id)
    CREATE INDEX events_created_at_id ON ONLY taskfeed.events USING btree (created_at, id) -- Reads the log by time, and counts it by the minute.
    CREATE INDEX events_task_id_id ON ONLY taskfeed.events USING btree (task_id, id) -- Reads one task's history.
    CREATE INDEX events_user_id_id ON ONLY taskfeed.events USING btree (user_id, id) -- Replays one user's feed; the nulls are the broadcasts.
    CREATE UNIQUE INDEX events_pkey ON ONLY taskfeed.events USING btree (id)
    COMMENT The log: one immutable row for each change, in the order that every client sees.
TABLE events_0 PARTITION FOR VALUES FROM (MINVALUE) TO ('10000000')
    id bigint NOT NULL
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL
    CONSTRAINT events_0_pkey PRIMARY KEY (id)
    CREATE INDEX events_0_created_at_id_idx ON taskfeed.events_0 USING btree (created_at, id)
    CREATE INDEX events_0_task_id_id_idx ON taskfeed.events_0 USING btree (task_id, id)
    CREATE INDEX events_0_user_id_id_idx ON taskfeed.events_0 USING btree (user_id, id)
    CREATE UNIQUE INDEX events_0_pkey ON taskfeed.events_0 USING btree (id)
    COMMENT Events below 10,000,000; later partitions are made ahead by the sequencer.
TABLE events_default PARTITION DEFAULT
    id bigint NOT NULL
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL
    CONSTRAINT events_default_pkey PRIMARY KEY (id)
    CREATE INDEX events_default_created_at_id_idx ON taskfeed.events_default USING btree (created_at, id)
    CREATE INDEX events_default_task_id_id_idx ON taskfeed.events_default USING btree (task_id, id)
    CREATE INDEX events_default_user_id_id_idx ON taskfeed.events_default USING btree (user_id, id)
    CREATE UNIQUE INDEX events_default_pkey ON taskfeed.events_default USING btree (id)
    COMMENT Takes events for which no partition was made in time, so that an insert never fails.
TABLE log_state
    only_row boolean NOT NULL DEFAULT true
    system_identifier bigint
    timeline bigint
    expired_through bigint NOT NULL DEFAULT 0
    CONSTRAINT log_state_has_one_row CHECK (only_row)
    CONSTRAINT log_state_pkey PRIMARY KEY (only_row)
    CREATE UNIQUE INDEX log_state_pkey ON taskfeed.log_state USING btree (only_row)
    COMMENT One row: what must be remembered of the log besides the events.
TABLE tasks WITH (fillfactor=80)
    id text NOT NULL DEFAULT (gen_random_uuid())::text
    user_id text NOT NULL
    kind text
    status text NOT NULL DEFAULT 'queued'::text
    progress smallint NOT NULL DEFAULT 0
    message text
    result jsonb
    error text
    version bigint NOT NULL DEFAULT 1 -- Grows by one with each change that a user can see; kept by a trigger.
    created_at timestamp with time zone NOT NULL DEFAULT now()
    updated_at timestamp with time zone NOT NULL DEFAULT now() -- When a user could last see a change; kept by a trigger.
    updated_hour timestamp without time zone NOT NULL GENERATED ALWAYS AS date_trunc('hour'::text, (updated_at AT TIME ZONE 'UTC'::text)) -- updated_at to the hour, in UTC, for the indexes: a progress update changes it once an hour at most, so the others stay HOT.
    CONSTRAINT created_at_is_in_the_years_1_to_9998 CHECK (((created_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (created_at < '9999-01-01 00:00:00+00'::timestamp with time zone)))
    CONSTRAINT id_is_1_to_255_bytes_without_control_characters CHECK ((((octet_length(id) >= 1) AND (octet_length(id) <= 255)) AND (id !~ '[\x01-\x1f\x7f]'::text)))
    CONSTRAINT kind_is_at_most_255_bytes CHECK ((octet_length(kind) <= 255))
    CONSTRAINT progress_is_between_0_and_100 CHECK (((progress >= 0) AND (progress <= 100)))
    CONSTRAINT status_is_queued_running_completed_failed_or_canceled CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'failed'::text, 'canceled'::text])))
    CONSTRAINT tasks_pkey PRIMARY KEY (id)
    CONSTRAINT updated_at_is_in_the_years_1_to_9998 CHECK (((updated_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at < '9999-01-01 00:00:00+00'::timestamp with time zone)))
    CONSTRAINT user_id_is_1_to_255_bytes_without_control_characters CHECK ((((octet_length(user_id) >= 1) AND (octet_length(user_id) <= 255)) AND (user_id !~ '[\x01-\x1f\x7f]'::text)))
    CREATE INDEX tasks_created_at_id ON taskfeed.tasks USING btree (created_at, id) -- Lists all tasks.
    CREATE INDEX tasks_status_created_at_id ON taskfeed.tasks USING btree (status, created_at, id) -- Lists the tasks of one status.
    CREATE INDEX tasks_status_updated_hour ON taskfeed.tasks USING btree (status, updated_hour) -- Does so for the tasks of one status; finds those that run and have not changed for long.
    CREATE INDEX tasks_updated_hour ON taskfeed.tasks USING btree (updated_hour) -- Lists tasks by their last change; each hour is sorted when it is read.
    CREATE INDEX tasks_user_id_created_at_id ON taskfeed.tasks USING btree (user_id, created_at, id) -- Lists one user's tasks.
    CREATE UNIQUE INDEX tasks_pkey ON taskfeed.tasks USING btree (id)
    CREATE TRIGGER aa_taskfeed_capture_delete AFTER DELETE ON taskfeed.tasks REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture_delete() -- Captures tasks that go.
    CREATE TRIGGER aa_taskfeed_capture_insert AFTER INSERT ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_insert() -- Captures tasks that appear.
    CREATE TRIGGER aa_taskfeed_capture_update AFTER UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_update() -- Captures visible changes of tasks.
    CREATE TRIGGER zz_taskfeed_stamp BEFORE UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION taskfeed.stamp_task() -- Keeps version and updated_at.
    COMMENT The app's tasks: the app writes them in plain SQL, taskfeed tells each user what happened to theirs.
SEQUENCE changes_id_seq FROM 1 TO 9223372036854775807 CACHE 1
SEQUENCE commands_id_seq FROM 1 TO 9223372036854775807 CACHE 1
SEQUENCE event_id FROM 1 TO 9007199254740991 CACHE 1 -- Ids of events; drawn by the sequencer alone and never set back.
CREATE OR REPLACE FUNCTION taskfeed.broadcast(type text, data jsonb DEFAULT '{}'::jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM taskfeed.publish(NULL, type, data);
END
$function$
-- Sends every user an event that belongs to no task, if the transaction commits.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.capture_delete()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
    SELECT o.user_id, o.id, 'task_deleted', o.version + 1, '{}'
    FROM old_rows AS o;
    IF found AND taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
    RETURN NULL;
END
$function$
-- Writes one change for each task that a statement deleted.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.capture_insert()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
    VALUES (new.user_id, new.id, taskfeed.status_type(new.status), new.version,
            taskfeed.task_data(new.status, new.kind, new.progress, new.message, new.result, new.error));
    IF taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
    RETURN NULL;
END
$function$
-- Writes the change that a new task is.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.capture_update()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF new.version = old.version THEN
        RETURN NULL; -- no user can see this update
    END IF;
    IF (new.status, new.user_id, new.kind, new.error, new.id, new.result)
        IS NOT DISTINCT FROM
       (old.status, old.user_id, old.kind, old.error, old.id, old.result)
    THEN
        INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
        VALUES (new.user_id, new.id, 'task_progress', new.version, taskfeed.progress_data(new.progress, new.message));
    ELSE
        IF new.id <> old.id OR new.user_id <> old.user_id THEN
            INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
            VALUES (old.user_id, old.id, 'task_deleted', new.version, '{}');
        END IF;
        INSERT INTO taskfeed.changes (user_id, task_id, type, version, data)
        VALUES (new.user_id, new.id, taskfeed.status_type(new.status), new.version,
                taskfeed.task_data(new.status, new.kind, new.progress, new.message, new.result, new.error));
    END IF;
    IF taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
    RETURN NULL;
END
$function$
-- Writes the change, or the two, that users see in an update of a task.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.fit_data(status text, kind text, progress smallint, message text, result jsonb, error text)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
AS $function$
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
    WHERE f.total > 262144 - 2048; -- 2 KB for what else an event holds
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
$function$
-- All that a user can see of a task within 256 KB: the largest fields become null and are named in "truncated".
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.grant_app(app_role regrole)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA taskfeed TO %s', app_role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON taskfeed.tasks TO %s', app_role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION taskfeed.notify(text, text, jsonb), taskfeed.broadcast(text, jsonb) TO %s', app_role);
END
$function$
-- Grants an app's role all that it needs, and nothing else.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.json_bytes(value jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE STRICT
AS $function$
DECLARE
    stored int;
BEGIN
    stored := pg_column_size(jsonb_build_array(value)); -- uncompressed
    IF stored > 8388608 THEN
        RETURN stored; -- its text is far over 256 KB and may be too long to make
    END IF;
    RETURN octet_length(value::text);
END
$function$
-- The length of the value as text; only a large number when that is far over 256 KB.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.json_is_deep(value jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN jsonb_path_exists(value, '$.**{512}'::jsonpath)
-- Whether the value is nested so deeply that clients may be unable to read it.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.must_ring()
 RETURNS boolean
 LANGUAGE sql
RETURN ((current_setting('taskfeed.notify'::text, true) IS DISTINCT FROM 'off'::text) AND (NOT pg_try_advisory_xact_lock_shared(1952543595, 1)))
-- The doorbell: whether the sequencer sleeps and only NOTIFY tells it of this transaction.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.notify(user_id text, type text, data jsonb DEFAULT '{}'::jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF user_id IS NULL OR octet_length(user_id) NOT BETWEEN 1 AND 255 OR user_id ~ '[\x01-\x1f\x7f]' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: user_id must be 1 to 255 bytes without control characters; use taskfeed.broadcast to reach everyone';
    END IF;
    PERFORM taskfeed.publish(user_id, type, data);
END
$function$
-- Sends one user an event that belongs to no task, if the transaction commits.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.progress_data(progress smallint, message text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (octet_length(message) > 40000) THEN taskfeed.fit_data(NULL::text, NULL::text, progress, message, NULL::jsonb, NULL::text) ELSE jsonb_strip_nulls(jsonb_build_object('progress', progress, 'message', message)) END
-- What a user can see of a task when only progress or message changed.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.publish(recipient text, type text, data jsonb)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
    FROM unnest(ARRAY['id', 'type', 'timestamp', 'task_id', 'version']) AS k
    WHERE data ? k
    LIMIT 1;
    IF found THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: data must not have the key "%s": every event has a field of that name', taken);
    END IF;
    INSERT INTO taskfeed.changes (user_id, type, data) VALUES (recipient, type, data);
    IF taskfeed.must_ring() THEN
        PERFORM pg_notify('taskfeed', '');
    END IF;
END
$function$
-- What notify and broadcast have in common.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.result_bytes(result jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE STRICT
AS $function$
DECLARE
    bytes bigint;
BEGIN
    bytes := taskfeed.json_bytes(result);
    IF bytes BETWEEN 1024 AND 262144 AND taskfeed.json_is_deep(result) THEN
        RETURN 2147483647;
    END IF;
    RETURN bytes;
EXCEPTION WHEN OTHERS THEN -- on the brink of what jsonb can hold; the app's write must not fail
    RETURN 2147483647;
END
$function$
-- The length of a result as text; more than any event holds when clients could not read it.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.stamp_task()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    -- This runs for every row with the app's rights and search_path: names are
    -- qualified, for SET search_path would cost more than all the rest.
    IF pg_catalog.int2eq(new.progress, old.progress) THEN -- else it changed, as it mostly does
        IF pg_catalog.record_eq(
            ROW (new.message, new.status, new.user_id, new.kind, new.error, new.id, new.result),
            ROW (old.message, old.status, old.user_id, old.kind, old.error, old.id, old.result))
        THEN
            new.version := old.version;
            new.updated_at := old.updated_at;
            RETURN new;
        END IF;
    END IF;
    new.version := pg_catalog.int8inc(old.version);
    new.updated_at := pg_catalog.clock_timestamp();
    RETURN new;
END
$function$
-- Gives a visible change of a task the next version, and leaves any other update without a trace.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.status_type(status text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
RETURN CASE status WHEN 'running'::text THEN 'task_started'::text ELSE ('task_'::text || status) END
-- The type of the event that a task of this status makes.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.task_data(status text, kind text, progress smallint, message text, result jsonb, error text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN ((num_nonnulls(message, result, error) = 0) AND (status = ANY (ARRAY['queued'::text, 'running'::text]))) THEN jsonb_strip_nulls(jsonb_build_object('kind', kind, 'progress', progress)) ELSE taskfeed.fit_data(status, kind, progress, message, result, error) END
-- All that a user can see of a task, as the data of its event.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.task_fields(status text, kind text, progress smallint, message text, result jsonb, error text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN ((jsonb_strip_nulls(jsonb_build_object('kind', kind, 'progress', progress, 'message', message)) || CASE WHEN ((result IS NOT NULL) OR (status = 'completed'::text)) THEN jsonb_build_object('result', result) ELSE '{}'::jsonb END) || CASE WHEN ((error IS NOT NULL) OR (status = 'failed'::text)) THEN jsonb_build_object('error', error) ELSE '{}'::jsonb END)
-- All that a user can see of a task, of any size.
-- EXECUTE: owner
CREATE OR REPLACE FUNCTION taskfeed.text_bytes(value text)
 RETURNS bigint
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (octet_length(value) > 262144) THEN octet_length(value) ELSE octet_length((to_jsonb(value))::text) END
-- The length of the text as JSON; a lower bound of it when that is over 256 KB.
-- EXECUTE: owner

-- The schema taskfeed as the migrations make it; checked by a test (-update writes it).

TABLE app_roles -- Roles that grant_app was called for. A dump without privileges still contains this list.
    cluster bigint NOT NULL
    role_oid oid NOT NULL
    role text NOT NULL
    foreign_keys boolean NOT NULL
    CONSTRAINT app_roles_pkey PRIMARY KEY (cluster, role_oid)
    CREATE UNIQUE INDEX app_roles_pkey ON taskfeed.app_roles USING btree (cluster, role_oid)
TABLE changes -- Changes not yet in the log; written by capture triggers, emptied by the sequencer.
    WITH (vacuum_truncate=false, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=5000, autovacuum_vacuum_insert_threshold=-1, autovacuum_analyze_threshold=2000000000)
    REPLICA IDENTITY FULL
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY -- Order of capture: if one change saw another, its id is higher.
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb
    progress smallint
    message text
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    source text
    CREATE INDEX changes_xid ON taskfeed.changes USING btree (xid) -- Limits each look of the sequencer to transactions that it has not seen.
TABLE clients -- The cursors of clients that connect with a name. Servers move them once a second at most, to what the answers to pings prove to have arrived.
    WITH (fillfactor=60)
    user_id text NOT NULL
    name text NOT NULL
    through bigint NOT NULL
    turn bigint NOT NULL DEFAULT 1
    connected boolean NOT NULL DEFAULT true
    seen_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    seen_hour timestamp with time zone NOT NULL DEFAULT taskfeed.hour_of(clock_timestamp())
    marks bigint[] NOT NULL DEFAULT '{}'::bigint[] -- Earlier cursors, by time; the older, the fewer. With marked_at they are the delivery log.
    marked_at timestamp with time zone[] NOT NULL DEFAULT '{}'::timestamp with time zone[]
    CONSTRAINT clients_pkey PRIMARY KEY (user_id, name)
    CONSTRAINT marks_have_times CHECK ((cardinality(marks) = cardinality(marked_at)))
    CONSTRAINT name_is_1_to_64_bytes CHECK (((octet_length(name) >= 1) AND (octet_length(name) <= 64)))
    CONSTRAINT through_is_an_id CHECK (((through >= 0) AND (through <= '9007199254740991'::bigint)))
    CONSTRAINT user_id_is_1_to_255_bytes CHECK (((octet_length(user_id) >= 1) AND (octet_length(user_id) <= 255)))
    CREATE UNIQUE INDEX clients_pkey ON taskfeed.clients USING btree (user_id, name)
    CREATE INDEX clients_seen_hour ON taskfeed.clients USING btree (seen_hour) -- Forgets clients that have not come back.
TABLE commands -- Commands of admins to all servers. Each server reads them every second and runs each once, unless it is older than an hour. The last 100,000 are kept.
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    kind text NOT NULL
    argument text NOT NULL
    CONSTRAINT argument_is_1_to_255_bytes CHECK (((octet_length(argument) >= 1) AND (octet_length(argument) <= 255)))
    CONSTRAINT commands_pkey PRIMARY KEY (id)
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['disconnect_user'::text, 'disconnect_connection'::text])))
    CREATE UNIQUE INDEX commands_pkey ON taskfeed.commands USING btree (id)
TABLE events PARTITION BY RANGE (id) -- The log: one immutable row for each change, in the order that every client sees.
    id bigint NOT NULL
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL
    CONSTRAINT events_pkey PRIMARY KEY (id)
    CREATE INDEX events_created_at_id ON ONLY taskfeed.events USING btree (created_at, id) -- Reads the log by time and counts its events by the minute.
    CREATE UNIQUE INDEX events_pkey ON ONLY taskfeed.events USING btree (id)
    CREATE INDEX events_task_id_user_id_id ON ONLY taskfeed.events USING btree (task_id, user_id, id) -- Reads one user's events of one task without passing over those of others.
    CREATE INDEX events_user_id_id ON ONLY taskfeed.events USING btree (user_id, id) -- Replays one user's feed; the nulls are the broadcasts.
    CREATE TRIGGER erasure AFTER DELETE OR UPDATE OR TRUNCATE ON taskfeed.events FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.count_erasure() -- Counts the statements that erase events.
TABLE events_0 PARTITION OF taskfeed.events FOR VALUES FROM (MINVALUE) TO ('10000000') -- Events with ids below 10,000,000. The sequencer makes later partitions ahead of time.
    id bigint NOT NULL
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL
    CONSTRAINT events_0_pkey PRIMARY KEY (id)
    CREATE INDEX events_0_created_at_id_idx ON taskfeed.events_0 USING btree (created_at, id)
    CREATE UNIQUE INDEX events_0_pkey ON taskfeed.events_0 USING btree (id)
    CREATE INDEX events_0_task_id_user_id_id_idx ON taskfeed.events_0 USING btree (task_id, user_id, id)
    CREATE INDEX events_0_user_id_id_idx ON taskfeed.events_0 USING btree (user_id, id)
TABLE events_default PARTITION OF taskfeed.events DEFAULT -- Receives events whose partition was not made in time, so that an insert never fails.
    id bigint NOT NULL
    user_id text
    task_id text
    type text NOT NULL
    version bigint
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL
    CONSTRAINT events_default_pkey PRIMARY KEY (id)
    CREATE INDEX events_default_created_at_id_idx ON taskfeed.events_default USING btree (created_at, id)
    CREATE UNIQUE INDEX events_default_pkey ON taskfeed.events_default USING btree (id)
    CREATE INDEX events_default_task_id_user_id_id_idx ON taskfeed.events_default USING btree (task_id, user_id, id)
    CREATE INDEX events_default_user_id_id_idx ON taskfeed.events_default USING btree (user_id, id)
TABLE forward_failures -- Events that an endpoint did not take in time, until they are sent again or deleted.
    name text NOT NULL
    event_id bigint NOT NULL
    user_id text
    type text NOT NULL
    body text NOT NULL
    tries bigint NOT NULL
    reason text NOT NULL
    failed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT forward_failures_pkey PRIMARY KEY (name, event_id)
    CREATE UNIQUE INDEX forward_failures_pkey ON taskfeed.forward_failures USING btree (name, event_id)
    CREATE INDEX forward_failures_user_id ON taskfeed.forward_failures USING btree (user_id) WHERE (user_id IS NOT NULL) -- Erases the failures of a user.
TABLE forwards -- How far the log was sent to each endpoint, by the name that "taskfeed forward" was given, and which process does so.
    WITH (fillfactor=50)
    name text NOT NULL
    cursor bigint NOT NULL
    holder text
    held_until timestamp with time zone NOT NULL DEFAULT '-infinity'::timestamp with time zone
    lost bigint NOT NULL DEFAULT 0 -- How many ids retention had dropped before they were forwarded; some may have had no event.
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT cursor_is_an_id CHECK (((cursor >= 0) AND (cursor <= '9007199254740991'::bigint)))
    CONSTRAINT forwards_pkey PRIMARY KEY (name)
    CONSTRAINT name_is_1_to_64_bytes CHECK (((octet_length(name) >= 1) AND (octet_length(name) <= 64)))
    CREATE UNIQUE INDEX forwards_pkey ON taskfeed.forwards USING btree (name)
TABLE inbox -- Messages of users to the app that it has not received yet. Servers add them; taskfeed.receive takes them out.
    WITH (vacuum_truncate=false, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=5000, autovacuum_vacuum_insert_threshold=-1, autovacuum_analyze_threshold=2000000000)
    id bigint NOT NULL
    user_id text NOT NULL
    ref text NOT NULL
    topic text NOT NULL
    task_id text
    data jsonb NOT NULL
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT inbox_pkey PRIMARY KEY (id)
    CREATE UNIQUE INDEX inbox_pkey ON taskfeed.inbox USING btree (id)
    CREATE INDEX inbox_topic_id ON taskfeed.inbox USING btree (topic, id) -- Receives messages of one topic.
    CREATE INDEX inbox_user_id ON taskfeed.inbox USING btree (user_id) -- Counts the messages of a user that wait.
TABLE inbox_refs -- Which messages were sent, received ones too: a message that is sent again gets the same answer. Kept for a day, and as long as the message waits.
    user_id text NOT NULL
    ref text NOT NULL
    id bigint NOT NULL
    topic text NOT NULL
    task_id text
    digest bigint NOT NULL
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT inbox_refs_pkey PRIMARY KEY (user_id, ref)
    CREATE INDEX inbox_refs_created_at ON taskfeed.inbox_refs USING btree (created_at) -- Finds refs that need not be kept any longer.
    CREATE INDEX inbox_refs_id ON taskfeed.inbox_refs USING btree (id) -- Lists the messages that were sent, newest first.
    CREATE UNIQUE INDEX inbox_refs_pkey ON taskfeed.inbox_refs USING btree (user_id, ref)
    CREATE INDEX inbox_refs_task_id ON taskfeed.inbox_refs USING btree (task_id, id) WHERE (task_id IS NOT NULL) -- Lists the messages about a task.
TABLE log_state -- One row: the state of the log besides its events.
    only_row boolean NOT NULL DEFAULT true
    system_identifier bigint
    timeline bigint
    expired_through bigint NOT NULL DEFAULT 0
    log_id uuid NOT NULL DEFAULT gen_random_uuid()
    epoch bigint NOT NULL DEFAULT 0
    epoch_from bigint NOT NULL DEFAULT 0
    CONSTRAINT log_state_has_one_row CHECK (only_row)
    CONSTRAINT log_state_pkey PRIMARY KEY (only_row)
    CREATE UNIQUE INDEX log_state_pkey ON taskfeed.log_state USING btree (only_row)
TABLE looks -- Snapshots of complete looks of the sequencer, stored now and then. The newest row counts.
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY
    snapshot pg_snapshot NOT NULL
    system_identifier bigint NOT NULL
    changes_oid oid NOT NULL
    CONSTRAINT looks_pkey PRIMARY KEY (id)
    CREATE UNIQUE INDEX looks_pkey ON taskfeed.looks USING btree (id)
TABLE read_marks -- How far each user has read. Servers move a mark forward only, at most once a second.
    WITH (fillfactor=80)
    user_id text NOT NULL
    through bigint NOT NULL -- The id of the last event that the user has read, or a later one; it is never above the last event of the log.
    read_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT read_marks_pkey PRIMARY KEY (user_id)
    CONSTRAINT through_is_an_id CHECK (((through >= 0) AND (through <= '9007199254740991'::bigint)))
    CONSTRAINT user_id_is_1_to_255_bytes CHECK (((octet_length(user_id) >= 1) AND (octet_length(user_id) <= 255)))
    CREATE UNIQUE INDEX read_marks_pkey ON taskfeed.read_marks USING btree (user_id)
TABLE source_states -- The sequencer's state of each attached table. Nobody else writes here, so it waits for nobody.
    name text NOT NULL
    revision bigint NOT NULL DEFAULT 0
    filled boolean NOT NULL DEFAULT false
    place text[]
    errors bigint NOT NULL DEFAULT 0
    unmapped bigint NOT NULL DEFAULT 0
    unowned bigint NOT NULL DEFAULT 0
    unknown jsonb NOT NULL DEFAULT '{}'::jsonb
    last_error text
    error_at timestamp with time zone
    reset_owed boolean NOT NULL DEFAULT false
    reset_at timestamp with time zone
    CONSTRAINT source_states_pkey PRIMARY KEY (name)
    CREATE UNIQUE INDEX source_states_pkey ON taskfeed.source_states USING btree (name)
TABLE sources -- Attached tables: their rows become tasks. Written by attach and detach.
    name text NOT NULL
    relation oid NOT NULL
    table_name text NOT NULL
    mapping jsonb NOT NULL
    resolved jsonb NOT NULL
    fingerprint jsonb NOT NULL
    revision bigint NOT NULL DEFAULT ((pg_current_xact_id())::text)::bigint
    attached_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT sources_pkey PRIMARY KEY (name)
    CREATE UNIQUE INDEX sources_pkey ON taskfeed.sources USING btree (name)
TABLE tasks -- Tasks. The app writes them in plain SQL, and taskfeed notifies each user of the changes of their tasks.
    WITH (fillfactor=80)
    id text NOT NULL DEFAULT (gen_random_uuid())::text
    user_id text NOT NULL
    kind text
    status text NOT NULL DEFAULT 'queued'::text
    progress smallint NOT NULL DEFAULT 0
    message text
    result jsonb
    error text
    version bigint NOT NULL DEFAULT 1 -- Grows by one with each visible change, and when an app sets it to the old value plus one, as ORMs with optimistic locking do. Maintained by a trigger.
    created_at timestamp with time zone NOT NULL DEFAULT now()
    updated_at timestamp with time zone NOT NULL DEFAULT now() -- Time of the last visible change; maintained by a trigger.
    updated_hour timestamp with time zone NOT NULL DEFAULT date_bin('01:00:00'::interval, now(), '0001-01-01 00:00:00+00'::timestamp with time zone) -- updated_at rounded down to the hour, for the indexes. A progress update changes it at most once an hour, so all others are HOT updates. Maintained by triggers.
    source text -- The attached table that the task comes from; null for the app's own. The sequencer alone writes the others.
    owners text[] -- All owners, where an attached table names several; user_id is the first of them. Null otherwise.
    CONSTRAINT tasks_pkey PRIMARY KEY (id)
    CREATE INDEX tasks_created_at_id ON taskfeed.tasks USING btree (created_at, id) -- Lists all tasks.
    CREATE INDEX tasks_owners ON taskfeed.tasks USING gin (owners) WHERE (owners IS NOT NULL) -- Finds the tasks that a user shares with others.
    CREATE UNIQUE INDEX tasks_pkey ON taskfeed.tasks USING btree (id)
    CREATE INDEX tasks_source_updated_hour ON taskfeed.tasks USING btree (source, updated_hour) WHERE (source IS NOT NULL) -- Finds the tasks of an attached table, and those that ended long ago.
    CREATE INDEX tasks_status_created_at_id ON taskfeed.tasks USING btree (status, created_at, id) -- Lists the tasks of one status.
    CREATE INDEX tasks_status_updated_hour ON taskfeed.tasks USING btree (status, updated_hour) -- Lists tasks of one status by their last change, and finds running tasks that have not changed for long.
    CREATE INDEX tasks_updated_hour ON taskfeed.tasks USING btree (updated_hour) -- Lists tasks by their last change; a reader sorts the tasks of each hour.
    CREATE INDEX tasks_user_id_created_at_id ON taskfeed.tasks USING btree (user_id, created_at, id) -- Lists one user's tasks.
    CREATE TRIGGER aa_taskfeed_capture_delete AFTER DELETE ON taskfeed.tasks REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.capture_delete() -- Captures deleted tasks.
    CREATE TRIGGER aa_taskfeed_capture_insert AFTER INSERT ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_insert() -- Captures inserted tasks.
    CREATE TRIGGER zz_taskfeed_capture_update BEFORE UPDATE ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION taskfeed.capture_update() -- Keeps version and updated_at, and captures visible changes of tasks.
    CREATE TRIGGER zz_taskfeed_check_insert BEFORE INSERT ON taskfeed.tasks FOR EACH ROW EXECUTE FUNCTION taskfeed.check_insert() -- Checks new tasks and keeps updated_hour.
SEQUENCE changes_id_seq AS bigint FROM 1 TO 9223372036854775807 BY 1 CACHE 1
SEQUENCE commands_id_seq AS bigint FROM 1 TO 9223372036854775807 BY 1 CACHE 1
SEQUENCE erasures AS bigint FROM 1 TO 9223372036854775807 BY 1 CACHE 1 -- Advances with each statement that deletes or changes events. Servers look every second, and then drop the recent events that they keep in memory.
SEQUENCE event_id AS bigint FROM 1 TO 9007199254740991 BY 1 CACHE 1 -- Ids of events. Only the sequencer draws them, and it is never set back.
SEQUENCE looks_id_seq AS bigint FROM 1 TO 9223372036854775807 BY 1 CACHE 1
SEQUENCE message_id AS bigint FROM 1 TO 9223372036854775807 BY 1 CACHE 1 -- The ids of messages.
CREATE OR REPLACE FUNCTION taskfeed.apps()
 RETURNS TABLE(app oid, name text, foreign_keys boolean, cluster bigint)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT g.oid, g.rolname::text, bool_or(r.foreign_keys), here.system_identifier
    FROM pg_control_system() AS here
    CROSS JOIN taskfeed.app_roles AS r
    JOIN pg_roles AS g ON CASE r.cluster WHEN here.system_identifier THEN g.oid = r.role_oid ELSE g.rolname = r.role END
    GROUP BY g.oid, g.rolname, here.system_identifier
$function$
-- The roles of apps that exist, with their current names.
CREATE OR REPLACE FUNCTION taskfeed.attach(source regclass, name text, mapping jsonb, dry_run boolean DEFAULT false)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '200ms'
AS $function$
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
    stranger := coalesce(taskfeed.source_stranger(source), taskfeed.source_named_stranger(mapping));
    IF stranger IS NOT NULL AND mapping->'trust_owner' IS DISTINCT FROM 'true' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s could run code with the rights of the schema taskfeed, and read what every user is told', stranger),
            HINT = 'Give the mapping "trust_owner": true if that role is to be trusted with it, or give what it owns to a role that has these rights.';
    END IF;
    m := taskfeed.source_mapping(source, name, mapping);
    report := taskfeed.source_report(source, name, m);
    IF report #>> '{sample,failure}' IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: the mapping fails for rows that there are: ' || (report #>> '{sample,failure}'),
            HINT = 'Write expressions that every row passes, for example with CASE, or leave rows out by "when".';
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
$function$
-- Attaches a table, so that its rows become tasks of their owners, or changes its mapping. Repeating a call changes nothing. Returns what it did; a dry run does nothing.
CREATE OR REPLACE FUNCTION taskfeed.bound_by_others()
 RETURNS TABLE(relation regclass, what text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- Triggers and foreign keys of others that act when the owner changes rows of our tables.
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
CREATE OR REPLACE FUNCTION taskfeed.broken_rule(id text, user_id text, kind text, status text, progress smallint, created_at timestamp with time zone, updated_at timestamp with time zone, first_version bigint)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
RETURN CASE WHEN ((octet_length(id) < 1) OR (octet_length(id) > 255) OR (id ~ '[\x01-\x1f\x7f]'::text)) THEN 'id_is_1_to_255_bytes_without_control_characters'::text WHEN ((octet_length(user_id) < 1) OR (octet_length(user_id) > 255) OR (user_id ~ '[\x01-\x1f\x7f]'::text)) THEN 'user_id_is_1_to_255_bytes_without_control_characters'::text WHEN (octet_length(kind) > 255) THEN 'kind_is_at_most_255_bytes'::text WHEN (status <> ALL (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'failed'::text, 'canceled'::text])) THEN 'status_is_queued_running_completed_failed_or_canceled'::text WHEN ((progress < 0) OR (progress > 100)) THEN 'progress_is_between_0_and_100'::text WHEN ((created_at < '0001-01-01 00:00:00+00'::timestamp with time zone) OR (created_at >= '9999-01-01 00:00:00+00'::timestamp with time zone)) THEN 'created_at_is_in_the_years_1_to_9998'::text WHEN ((updated_at < '0001-01-01 00:00:00+00'::timestamp with time zone) OR (updated_at >= '9999-01-01 00:00:00+00'::timestamp with time zone)) THEN 'updated_at_is_in_the_years_1_to_9998'::text WHEN ((first_version < 0) OR (first_version > '4503599627370496'::bigint)) THEN 'version_begins_at_0_to_4503599627370496'::text ELSE NULL::text END
-- The rule that a task breaks, or null. A null value breaks no rule: NOT NULL of its column refuses it.
CREATE OR REPLACE FUNCTION taskfeed.capture_delete()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- Writes one change for each task that a statement deleted.
CREATE OR REPLACE FUNCTION taskfeed.capture_insert()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
AS $function$
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
$function$
-- Captures a new task.
CREATE OR REPLACE FUNCTION taskfeed.capture_update()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
AS $function$
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
$function$
-- Checks an update of a task, gives a visible change the next version and captures it: as one change, or as two when the owner changes.
CREATE OR REPLACE FUNCTION taskfeed.check_insert()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
AS $function$
DECLARE
    broken pg_catalog.text;
BEGIN
    IF NOT taskfeed.is_tasks(tg_relid) THEN
        PERFORM taskfeed.refuse_table();
    END IF;
    broken := taskfeed.broken_rule(new.id, new.user_id, new.kind, new.status, new.progress, new.created_at, new.updated_at,
        new.version);
    IF broken IS NOT NULL THEN
        PERFORM taskfeed.refuse_task(broken);
    ELSIF new.source IS NOT NULL THEN
        PERFORM taskfeed.refuse_source(new.source);
    END IF;
    new.updated_hour := taskfeed.hour_of(new.updated_at);
    RETURN new;
END
$function$
-- Refuses a new task that breaks a rule.
CREATE OR REPLACE FUNCTION taskfeed.count_erasure()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF tg_relid <> 'taskfeed.events'::regclass THEN
        RAISE feature_not_supported USING
            MESSAGE = 'taskfeed: this trigger function serves taskfeed.events alone';
    END IF;
    PERFORM nextval('taskfeed.erasures');
    RETURN NULL;
END
$function$
-- Tells servers that events were erased.
CREATE OR REPLACE FUNCTION taskfeed.detach(name text, tasks text DEFAULT 'keep'::text)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET client_min_messages TO 'warning'
 SET lock_timeout TO '200ms'
AS $function$
#variable_conflict use_column
DECLARE
    table_was text;
    drops     text[];
    reason    text;
BEGIN
    IF tasks IS NULL OR tasks NOT IN ('keep', 'delete') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: tasks must be "keep" or "delete"';
    END IF;
    SELECT s.table_name INTO table_was FROM taskfeed.sources AS s WHERE s.name = detach.name;
    IF NOT found THEN
        RETURN jsonb_build_object('name', name, 'detached', 'unchanged');
    END IF;
    -- From here nothing is captured. This needs no lock on the table.
    EXECUTE format('CREATE OR REPLACE FUNCTION taskfeed.%I() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NULL; END''', 'attached_' || name);
    SELECT array_agg(format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass)) INTO drops
    FROM pg_trigger AS g
    JOIN pg_proc AS p ON p.oid = g.tgfoid
    WHERE p.pronamespace = 'taskfeed'::regnamespace
      AND p.proname = 'attached_' || detach.name
      AND g.tgparentid = 0;
    BEGIN
        FOR i IN 1 .. coalesce(cardinality(drops), 0) LOOP
            EXECUTE drops[i];
        END LOOP;
    EXCEPTION WHEN lock_not_available OR insufficient_privilege THEN
        reason := CASE sqlstate WHEN '55P03' THEN 'the table is in use: call this again' ELSE 'only the owner of the table may drop a trigger' END;
        RETURN jsonb_build_object('name', name, 'table', table_was, 'detached', 'captures no more', 'reason', reason, 'run_as_owner', to_jsonb(drops));
    END;
    IF tasks = 'delete' THEN -- after the facts that were captured before
        INSERT INTO taskfeed.changes (type, data, source) VALUES ('truncate', '{"on_truncate": "deleted"}', detach.name);
        IF taskfeed.must_ring() THEN
            PERFORM pg_notify('taskfeed', '');
        END IF;
    END IF;
    EXECUTE format('DROP FUNCTION taskfeed.%I()', 'attached_' || name);
    EXECUTE format('DROP FUNCTION IF EXISTS taskfeed.%I(text[], text[], integer)', 'attached_' || name || '_rows');
    EXECUTE format('DROP FUNCTION IF EXISTS taskfeed.%I(text, text, text[])', 'attached_' || name || '_joined');
    DELETE FROM taskfeed.sources AS s WHERE s.name = detach.name;
    RETURN jsonb_build_object('name', name, 'table', table_was, 'detached', 'whole');
END
$function$
-- Undoes attach: the app's table is as before. The tasks stay until retention removes them, or are deleted.
CREATE OR REPLACE FUNCTION taskfeed.fact_result(result jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (taskfeed.result_bytes(result) <= 245760) THEN result ELSE NULL::jsonb END
-- A result as a fact contains it: null when it does not fit into an event.
CREATE OR REPLACE FUNCTION taskfeed.fit_data(status text, kind text, progress smallint, message text, result jsonb, error text)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
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
$function$
-- Everything that a user can see of a task, limited to 256 KB: the largest fields become null and "truncated" names them.
CREATE OR REPLACE FUNCTION taskfeed.forget(user_id text, at_most bigint DEFAULT NULL::bigint)
 RETURNS TABLE(tasks bigint, events bigint, changes bigint, commands bigint, marks bigint, messages bigint, failures bigint)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
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
$function$
-- Erases a user's tasks, events, changes on their way, commands, read mark, cursors of clients, messages and events that could not be forwarded; at most as many tasks and events as the limit says. Returns the number of rows; call it until that is 0.
CREATE OR REPLACE FUNCTION taskfeed.grant_app(app_role regrole, foreign_keys boolean DEFAULT false)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- Grants an app's role all that it needs, foreign keys to tasks only when asked, and takes away what others have beyond that.
CREATE OR REPLACE FUNCTION taskfeed.hour_of(at timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
RETURN date_bin('01:00:00'::interval, at, '0001-01-01 00:00:00+00'::timestamp with time zone)
-- The beginning of the hour in UTC.
CREATE OR REPLACE FUNCTION taskfeed.is_folding()
 RETURNS boolean
 LANGUAGE sql
 STABLE
RETURN ((NOT (current_setting('taskfeed.folding'::text, true) IS DISTINCT FROM 'on'::text)) AND pg_has_role(CASE current_setting('role'::text) WHEN 'none'::text THEN SESSION_USER ELSE (current_setting('role'::text))::name END, CURRENT_USER, 'USAGE'::text))
-- Whether the sequencer runs the statement, whatever settings an app makes.
CREATE OR REPLACE FUNCTION taskfeed.is_tasks(relation oid)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN (relation = ('taskfeed.tasks'::regclass)::oid)
-- Whether this is taskfeed.tasks, the only table that our triggers work on.
CREATE OR REPLACE FUNCTION taskfeed.is_traced()
 RETURNS boolean
 LANGUAGE sql
 STABLE
RETURN ((current_setting('taskfeed.traceparent'::text, true) ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'::text) IS TRUE)
-- Whether the setting taskfeed.traceparent names a trace, as W3C Trace Context writes it.
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
        RETURN stored; -- its text is far over 256 KB and may not fit into a value
    END IF;
    RETURN octet_length(value::text);
END
$function$
-- The length of the value as text; far beyond 256 KB only some larger number.
CREATE OR REPLACE FUNCTION taskfeed.json_is_deep(value jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN jsonb_path_exists(value, '$.**{512}'::jsonpath)
-- Whether the value is nested so deeply that clients may be unable to read it.
CREATE OR REPLACE FUNCTION taskfeed.kept_version(version bigint, was_version bigint)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
RETURN CASE version WHEN taskfeed.next_version(was_version) THEN version ELSE was_version END
-- The version after an update without a visible change: the same, or one more where the app set it so.
CREATE OR REPLACE FUNCTION taskfeed.make_source(relation regclass, name text, m jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET client_min_messages TO 'warning'
AS $function$
DECLARE
    function_name text;
BEGIN
    EXECUTE format('DROP FUNCTION IF EXISTS taskfeed.%I(text, text, text[])', 'attached_' || name || '_joined');
    EXECUTE taskfeed.source_functions(relation, name, m);
    FOR function_name IN
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p
        WHERE p.pronamespace = 'taskfeed'::regnamespace
          AND p.proname IN ('attached_' || name, 'attached_' || name || '_rows', 'attached_' || name || '_joined')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %s', function_name, (SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = 'taskfeed.tasks'::regclass));
        PERFORM taskfeed.restrict_rights('routine ' || function_name);
    END LOOP;
END
$function$
-- Creates or replaces the functions of a source. Every session then compiles them again.
CREATE OR REPLACE FUNCTION taskfeed.moved_on(progress smallint, was_progress smallint, message text, was_message text, created_at timestamp with time zone, was_created_at timestamp with time zone)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((NOT taskfeed.same_progress(progress, was_progress, message, was_message)) AND ((progress >= 0) AND (progress <= 100)) AND ((message IS NULL) OR (octet_length(message) <= 40000)) AND (created_at = was_created_at))
-- Whether progress or message changed and both keep the rules.
CREATE OR REPLACE FUNCTION taskfeed.must_ring()
 RETURNS boolean
 LANGUAGE sql
RETURN ((current_setting('taskfeed.notify'::text, true) IS DISTINCT FROM 'off'::text) AND (NOT pg_try_advisory_xact_lock_shared(1952543595, 1)))
-- Whether the sequencer sleeps, so that this transaction must wake it with NOTIFY.
CREATE OR REPLACE FUNCTION taskfeed.next_version(version bigint)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
RETURN (LEAST(version, '9007199254740990'::bigint) + 1)
-- The version after a visible change.
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
CREATE OR REPLACE FUNCTION taskfeed.number_types()
 RETURNS regtype[]
 LANGUAGE sql
 IMMUTABLE
RETURN '{smallint,integer,bigint,numeric}'::regtype[]
-- Types of ids that count from 1 in every table.
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
$function$
-- The common part of notify and broadcast.
CREATE OR REPLACE FUNCTION taskfeed.receive(of_topic text DEFAULT NULL::text, at_most integer DEFAULT 100)
 RETURNS TABLE(id bigint, user_id text, ref text, topic text, task_id text, data jsonb, created_at timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    chosen bigint[];
BEGIN
    IF receive.at_most IS NULL OR receive.at_most NOT BETWEEN 1 AND 10000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: at_most must be from 1 to 10000';
    END IF;
    IF receive.of_topic IS NULL THEN
        chosen := ARRAY(SELECT i.id FROM taskfeed.inbox AS i ORDER BY i.id LIMIT receive.at_most FOR UPDATE SKIP LOCKED);
    ELSE
        chosen := ARRAY(SELECT i.id FROM taskfeed.inbox AS i WHERE i.topic = receive.of_topic ORDER BY i.id LIMIT receive.at_most FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN QUERY
    WITH taken AS (
        DELETE FROM taskfeed.inbox AS i
        WHERE i.id = ANY (chosen)
        RETURNING i.id, i.user_id, i.ref, i.topic, i.task_id, i.data, i.created_at
    )
    SELECT t.id, t.user_id, t.ref, t.topic, t.task_id, t.data, t.created_at
    FROM taken AS t
    ORDER BY t.id;
END
$function$
-- Takes messages of users out of the inbox, those of one topic or of all, oldest first. They are gone when the transaction commits and back when it rolls back; meanwhile nobody else gets them.
CREATE OR REPLACE FUNCTION taskfeed.refuse_bound(tasks boolean DEFAULT true)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- Refuses to go on when a DELETE by the owner would run code that others have bound to our tables, and locks the tables against new bindings until the end of the transaction.
CREATE OR REPLACE FUNCTION taskfeed.refuse_source(source text, was text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF NOT taskfeed.is_folding() THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = pg_catalog.format('taskfeed: this task comes from the attached table "%s" and follows its rows; change the row there, or name the app''s own tasks with "source IS NULL"', coalesce(was, source));
    END IF;
    RETURN false;
END
$function$
-- Refuses a write of an app to a task of an attached table, whatever settings the app makes; false where the sequencer writes.
CREATE OR REPLACE FUNCTION taskfeed.refuse_table()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = 'taskfeed: this trigger function serves taskfeed.tasks alone; drop the trigger';
END
$function$
-- Refuses to run as a trigger of another table: its owner could forge events.
CREATE OR REPLACE FUNCTION taskfeed.refuse_task(rule text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE check_violation USING -- as for a CHECK constraint of this name
        MESSAGE = pg_catalog.format('new row for relation "tasks" violates check constraint "%s"', rule),
        SCHEMA = 'taskfeed',
        TABLE = 'tasks',
        CONSTRAINT = rule;
END
$function$
-- Refuses a task that breaks a rule.
CREATE OR REPLACE FUNCTION taskfeed.restrict_rights(only_of text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    statement text;
    app       record;
BEGIN
    LOCK TABLE taskfeed.app_roles IN SHARE ROW EXCLUSIVE MODE; -- two calls at once would update the same catalog rows
    FOR statement IN SELECT b.remedy FROM taskfeed.rights_beyond() AS b WHERE only_of IS NULL OR b.object = only_of LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN insufficient_privilege THEN
            CONTINUE; -- another role owns it; taskfeed doctor reports this
        END;
    END LOOP;
    IF only_of IS NOT NULL OR to_regprocedure('taskfeed.grant_app(regrole, boolean)') IS NULL THEN
        RETURN; -- the objects to grant rights on come with a later migration
    END IF;
    FOR app IN SELECT quote_ident(a.name) AS role, a.foreign_keys FROM taskfeed.apps() AS a LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA taskfeed TO %s', app.role);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON taskfeed.tasks TO %s', app.role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION taskfeed.notify(text, text, jsonb), taskfeed.broadcast(text, jsonb) TO %s', app.role);
        IF to_regprocedure('taskfeed.receive(text, integer)') IS NOT NULL THEN -- it comes with a later migration
            EXECUTE format('GRANT EXECUTE ON FUNCTION taskfeed.receive(text, integer) TO %s', app.role);
        END IF;
        IF app.foreign_keys THEN
            EXECUTE format('GRANT REFERENCES (id) ON taskfeed.tasks TO %s', app.role);
        END IF;
    END LOOP;
    -- Renamed roles get their current names. A role that a dump names and that does not
    -- exist here yet stays in the list.
    INSERT INTO taskfeed.app_roles (cluster, role_oid, role, foreign_keys)
    SELECT a.cluster, a.app, a.name, a.foreign_keys
    FROM taskfeed.apps() AS a
    ON CONFLICT ON CONSTRAINT app_roles_pkey DO UPDATE SET role = excluded.role
        WHERE app_roles.role <> excluded.role;
    DELETE FROM taskfeed.app_roles AS r
    USING pg_control_system() AS here
    WHERE CASE r.cluster
        WHEN here.system_identifier THEN NOT EXISTS (SELECT FROM pg_roles AS g WHERE g.oid = r.role_oid)
        ELSE EXISTS (SELECT FROM pg_roles AS g WHERE g.rolname = r.role)
    END;
END
$function$
-- Revokes rights: roles of apps keep what they need, others keep what was granted by hand. Every migration ends with it.
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
EXCEPTION WHEN OTHERS THEN -- close to the largest jsonb value; the app's write must not fail
    RETURN 2147483647;
END
$function$
-- The length of a result as text; more than fits into an event when clients could not parse it.
CREATE OR REPLACE FUNCTION taskfeed.rights_beyond()
 RETURNS TABLE(object text, privilege text, role text, remedy text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY
    WITH apps AS MATERIALIZED (
        SELECT a.app, a.foreign_keys
        FROM taskfeed.apps() AS a
    ), objects (kind, name, named, owner, acl, attribute) AS (
        SELECT 'SCHEMA', n.nspname::text, quote_ident(n.nspname), n.nspowner, n.nspacl, NULL::name
        FROM pg_namespace AS n
        WHERE n.nspname = 'taskfeed'
        UNION ALL
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname, c.oid::regclass::text, c.relowner, c.relacl, NULL
        FROM pg_class AS c
        WHERE c.relnamespace = 'taskfeed'::regnamespace
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT 'TABLE', c.relname, c.oid::regclass::text, c.relowner, a.attacl, a.attname
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped
        WHERE c.relnamespace = 'taskfeed'::regnamespace
        UNION ALL
        SELECT 'ROUTINE', p.oid::regprocedure::text, p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)), NULL
        FROM pg_proc AS p
        WHERE p.pronamespace = 'taskfeed'::regnamespace
    ), given AS (
        SELECT o.kind, o.name, o.named, o.attribute, a.privilege_type AS privilege, a.is_grantable,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee,
               -- Rights of apps and rights that were granted by hand are kept. A right that
               -- comes from default privileges alone is not.
               a.grantee <> 0
                   AND (EXISTS (SELECT FROM apps WHERE apps.app = a.grantee)
                       OR NOT EXISTS (
                           SELECT
                           FROM pg_default_acl AS d
                           CROSS JOIN aclexplode(d.defaclacl) AS b
                           WHERE b.grantee = a.grantee
                             AND b.grantee <> d.defaclrole
                             AND d.defaclnamespace IN (0, 'taskfeed'::regnamespace)))
                   AND CASE o.kind
                       WHEN 'SCHEMA' THEN a.privilege_type = 'USAGE'
                       WHEN 'TABLE' THEN o.name = 'tasks'
                           AND (a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
                               OR a.privilege_type = 'REFERENCES'
                                   AND coalesce(o.attribute = 'id', false)
                                   AND EXISTS (SELECT FROM apps WHERE apps.app = a.grantee AND apps.foreign_keys))
                       WHEN 'ROUTINE' THEN o.name IN ('taskfeed.notify(text,text,jsonb)', 'taskfeed.broadcast(text,jsonb)', 'taskfeed.receive(text,integer)')
                       ELSE false
                   END AS meant
        FROM objects AS o
        CROSS JOIN aclexplode(o.acl) AS a
        WHERE a.grantee <> o.owner
    )
    SELECT lower(g.kind) || ' ' || g.name || coalesce(' (' || g.attribute || ')', ''),
           CASE WHEN g.meant THEN 'GRANT OPTION FOR ' ELSE '' END || g.privilege,
           g.grantee,
           format('REVOKE %s%s%s ON %s %s FROM %s CASCADE', CASE WHEN g.meant THEN 'GRANT OPTION FOR ' ELSE '' END,
               g.privilege, coalesce(' (' || quote_ident(g.attribute) || ')', ''), g.kind, g.named, g.grantee)
    FROM given AS g
    WHERE NOT g.meant
       OR g.is_grantable
    ORDER BY g.attribute NULLS FIRST, g.kind, g.name, g.grantee, g.privilege;
END
$function$
-- Rights beyond what an app needs, each with the REVOKE that removes it. The owner is left out.
CREATE OR REPLACE FUNCTION taskfeed.same_progress(progress smallint, was_progress smallint, message text, was_message text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((progress = was_progress) AND (NOT (message IS DISTINCT FROM was_message)))
-- Whether neither progress nor message changed.
CREATE OR REPLACE FUNCTION taskfeed.same_state(status text, was_status text, id text, was_id text, user_id text, was_user_id text, kind text, was_kind text, error text, was_error text, result jsonb, was_result jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((status = was_status) AND (id = was_id) AND (user_id = was_user_id) AND (NOT (kind IS DISTINCT FROM was_kind)) AND (NOT (error IS DISTINCT FROM was_error)) AND (NOT (result IS DISTINCT FROM was_result)))
-- Whether no visible field changed except progress and message.
CREATE OR REPLACE FUNCTION taskfeed.source_backfill(mapping jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO'
AS $function$
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
$function$
-- Which existing rows become tasks: open ones, all, none, or those since a time, in UTC where it has no zone.
CREATE OR REPLACE FUNCTION taskfeed.source_column(relation regclass, key text, candidates text[])
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The one column of these that the table has, as the default of a mapping.
CREATE OR REPLACE FUNCTION taskfeed.source_fact(m jsonb, target text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The statements that map the row r to a fact.
CREATE OR REPLACE FUNCTION taskfeed.source_fill(template text, parts jsonb)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT string_agg(CASE WHEN p.n % 2 = 1 THEN p.piece WHEN p.piece = '' THEN '{}' ELSE parts->>p.piece END, '' ORDER BY p.n)
    FROM regexp_split_to_table(template, '[{}]') WITH ORDINALITY AS p (piece, n)
$function$
-- A template with its {parts} filled in, in one pass: what is filled in is not looked at again.
CREATE OR REPLACE FUNCTION taskfeed.source_fingerprint(relation regclass, m jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(jsonb_agg(jsonb_build_object('relation', t.relation::text, 'number', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY t.relation, a.attnum), '[]')
    FROM (
        SELECT source_fingerprint.relation::oid, (m - 'joins')::text
        UNION ALL
        SELECT (j->>'relation')::oid, jsonb_build_array(j->'key', j->'found', j #> '{then,keys}')::text
        FROM jsonb_path_query(m->'joins', '$.** ? (exists (@.relation))') AS j
    ) AS t (relation, code)
    JOIN pg_attribute AS a ON a.attrelid = t.relation
    WHERE a.attnum > 0
      AND NOT a.attisdropped
      AND (t.code ~ ('\mr\.' || regexp_replace(a.attname, '(\W)', '\\\1', 'g') || '\M') OR position('r.\"' || a.attname || '\"' IN t.code) > 0)
$function$
-- The columns that a mapping reads.
CREATE OR REPLACE FUNCTION taskfeed.source_found(m jsonb, field text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT format('(SELECT coalesce(jsonb_agg(DISTINCT l.value), ''[]'') FROM jsonb_array_elements_text(%s) AS k (key) CROSS JOIN LATERAL (%s) AS l)',
        j->>'keys', format(taskfeed.source_lookup(j, 'k.key', 1), j->>'table', j #>> '{then,table}'))
    FROM (SELECT m->'joins'->field) AS g (j)
$function$
-- What is found for the row r, as an expression, for a look at some rows.
CREATE OR REPLACE FUNCTION taskfeed.source_functions(relation regclass, name text, m jsonb)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    made text;
BEGIN
    made := format(
        E'CREATE OR REPLACE FUNCTION taskfeed.%1$I() RETURNS trigger\n'
            'LANGUAGE plpgsql SECURITY DEFINER\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'SET enable_nestloop = off\n'
            'AS %2$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%1$I() FROM PUBLIC;\n'
            'CREATE OR REPLACE FUNCTION taskfeed.%3$I(ids text[], after text[], at_most integer)\n'
            'RETURNS TABLE (task_id text, data jsonb, failure text, place text[])\n'
            'LANGUAGE plpgsql STABLE\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'AS %4$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%3$I(text[], text[], integer) FROM PUBLIC',
        'attached_' || name, taskfeed.source_trigger_code(name, m),
        'attached_' || name || '_rows', taskfeed.source_rows_code(relation, m));
    IF m ? 'joins' THEN
        made := made || E';\n' || taskfeed.source_joined_code(name, m);
    END IF;
    RETURN made;
END
$function$
-- The statements that make the functions of a source.
CREATE OR REPLACE FUNCTION taskfeed.source_guarded(m jsonb, target text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN m->>'when' IS NULL THEN taskfeed.source_fact(m, target)
        ELSE format(E'IF (%s\n) THEN\n%s\nEND IF;', m->>'when', taskfeed.source_fact(m, target)) END
$function$
-- The same, for the rows that pass the filter.
CREATE OR REPLACE FUNCTION taskfeed.source_join(relation regclass, path text, given jsonb, trusted boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    wanted   text := substring(path FROM '[a-z]+$');
    refusal  text := taskfeed.source_join_refusal(path, given, trusted);
    other    regclass;
    key      text;
    via      text;
    via_type text;
    made     jsonb;
BEGIN
    IF refusal IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: ' || refusal;
    END IF;
    other := to_regclass(given->>'from');
    key := quote_ident(coalesce(given->>'key', taskfeed.source_key(other) #>> '{0,column}'));
    via := taskfeed.source_value(relation, path || '.via', given->'via');
    SELECT format_type(CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END, NULL) INTO via_type
    FROM pg_type AS t
    WHERE t.oid = taskfeed.source_type(relation, via);
    BEGIN
        EXECUTE format('EXPLAIN SELECT FROM (SELECT (NULL::%s).*) AS r WHERE r.%s = NULL::%s', other, key, via_type);
    EXCEPTION WHEN OTHERS THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s.via has the type %s and cannot be compared with the column %s of %s', path, via_type, key, other),
            HINT = format('Write a cast, for example "(r.args->>''%s'')::%s".', key, taskfeed.source_type(other, 'r.' || key));
    END;
    made := jsonb_build_object('relation', other::oid::text, 'table', other::text, 'key', 'r.' || key, 'type', via_type, 'keys', taskfeed.source_list(relation, via));
    IF jsonb_typeof(given->wanted) <> 'object' THEN
        RETURN made || jsonb_build_object('found', taskfeed.source_list(other, taskfeed.source_value(other, path || '.' || wanted, given->wanted)));
    ELSIF path <> wanted THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskfeed: %s goes through more than two tables', wanted);
    END IF;
    RETURN made || jsonb_build_object('then', taskfeed.source_join(other, path || '.' || wanted, given->wanted, trusted));
END
$function$
-- A value of a mapping that is found in another table, as SQL. Refuses what would not work and says what to write.
CREATE OR REPLACE FUNCTION taskfeed.source_join_refusal(path text, given jsonb, trusted boolean)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN EXISTS (SELECT FROM jsonb_object_keys(given) AS k WHERE k NOT IN ('via', 'from', 'key', g.wanted)) OR NOT given ?& ARRAY['via', 'from', g.wanted]
            THEN format('%s as a join has "via", "from", "key" and "%s", for example {"via": "project_id", "from": "app.projects", "key": "id", "%2$s": "owner_id"}', path, g.wanted)
        WHEN c.oid IS NULL
            THEN format('%s.from names no table: %s; write it with its schema, for example app.projects', path, given->'from')
        WHEN c.relkind NOT IN ('r', 'p') OR c.relpersistence = 't'
            THEN format('%s.from must be a table, and %s is none that stays: name the table that it reads', path, c.oid::regclass)
        WHEN NOT has_table_privilege(o.relowner, c.oid, 'SELECT') OR NOT has_schema_privilege(o.relowner, c.relnamespace, 'USAGE')
            THEN format('the role of the schema taskfeed may not read %s: run GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %1$s TO %3$s', c.oid::regclass, c.relnamespace::regnamespace, o.relowner::regrole)
        WHEN NOT trusted AND taskfeed.source_stranger(c.oid) IS NOT NULL
            THEN format('%s could run code with the rights of the schema taskfeed: give the mapping "trust_owner": true if that role is to be trusted, or give what it owns to a role that has these rights', taskfeed.source_stranger(c.oid))
        WHEN c.relrowsecurity AND NOT w.rolbypassrls AND NOT w.rolsuper AND (c.relforcerowsecurity OR NOT pg_has_role(o.relowner, c.relowner, 'USAGE'))
            THEN format('row security hides rows of %s from the role of the schema taskfeed: run ALTER ROLE %s BYPASSRLS', c.oid::regclass, o.relowner::regrole)
        WHEN a.attnum IS NULL
            THEN format('%s.key must be a column of %s: %s', path, c.oid::regclass, coalesce(given->>'key', 'say which, for its primary key has not one column'))
        WHEN NOT EXISTS (
                SELECT
                FROM pg_index AS i
                WHERE i.indrelid = c.oid
                  AND i.indkey[0] = a.attnum
                  AND i.indisvalid
                  AND i.indpred IS NULL)
            THEN format('%s cannot be looked up in %s without an index: run CREATE INDEX ON %2$s (%I)', path, c.oid::regclass, a.attname)
    END
    FROM (SELECT substring(path FROM '[a-z]+$')) AS g (wanted)
    JOIN pg_class AS o ON o.oid = 'taskfeed.tasks'::regclass
    JOIN pg_roles AS w ON w.oid = o.relowner
    LEFT JOIN pg_class AS c ON c.oid = to_regclass(given->>'from')
    LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid
        AND a.attname = coalesce(given->>'key', CASE jsonb_array_length(taskfeed.source_key(c.oid)) WHEN 1 THEN taskfeed.source_key(c.oid) #>> '{0,column}' END)
        AND a.attnum > 0
        AND NOT a.attisdropped
$function$
-- Why a value cannot be found in another table and what to do; null when it can.
CREATE OR REPLACE FUNCTION taskfeed.source_joined_code(name text, m jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT format(
        E'CREATE OR REPLACE FUNCTION taskfeed.%1$I(field text, mark text, keys text[])\n'
            'RETURNS TABLE (key text, value jsonb, failure text)\n'
            'LANGUAGE plpgsql STABLE\n'
            'SET search_path = pg_catalog, pg_temp\n'
            'SET lock_timeout = ''200ms''\n'
            'AS %2$L;\n'
            'REVOKE ALL ON FUNCTION taskfeed.%1$I(text, text, text[]) FROM PUBLIC',
        'attached_' || name || '_joined',
        taskfeed.source_fill($template$
DECLARE
    lookup text := 'SELECT jsonb_object_agg(k.key, (SELECT coalesce(jsonb_agg(v.value), ''[]'') FROM (SELECT DISTINCT l.value FROM ('
        || CASE field {lookups} END || ') AS l ORDER BY l.value LIMIT 65) AS v)) FROM unnest($1) AS k (key)';
    whole  jsonb;
BEGIN
    IF mark <> {mark} THEN
        RETURN;
    END IF;
    BEGIN
        EXECUTE lookup INTO whole USING keys;
        RETURN QUERY SELECT k, whole->k, NULL::text FROM unnest(keys) AS k;
        RETURN;
    EXCEPTION WHEN data_exception OR plpgsql_error THEN
        NULL; -- of one row, so one by one
    END;
    FOREACH key IN ARRAY keys LOOP
        value := NULL;
        failure := NULL;
        BEGIN
            EXECUTE lookup INTO whole USING ARRAY[key];
            value := whole->key;
        EXCEPTION WHEN data_exception OR plpgsql_error THEN
            failure := sqlstate || ' ' || left(sqlerrm, 200);
        END;
        RETURN NEXT;
    END LOOP;
END
$template$, jsonb_build_object(
            'mark', quote_literal(md5((m->'joins')::text)),
            'lookups', (
                SELECT string_agg(format('WHEN %L THEN format(%L, %s)', j.key, taskfeed.source_lookup(j.value, 'k.key', 1),
                    concat_ws(', ', (j.value->>'relation') || '::regclass', (j.value #>> '{then,relation}') || '::regclass')), ' ')
                FROM jsonb_each(m->'joins') AS j))))
$function$
-- The statements that make the function which looks values up in other tables.
CREATE OR REPLACE FUNCTION taskfeed.source_joins(relation regclass, mapping jsonb)
 RETURNS jsonb
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT jsonb_object_agg(k.key, taskfeed.source_join(relation, k.key, mapping->k.key, mapping->'trust_owner' IS NOT DISTINCT FROM 'true'))
    FROM unnest(ARRAY['user', 'kind']) AS k (key)
    WHERE jsonb_typeof(mapping->k.key) = 'object'
$function$
-- The values of a mapping that are found in other tables.
CREATE OR REPLACE FUNCTION taskfeed.source_key(relation regclass)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The columns by which rows are read in pages: the primary key, or else a unique one. Null where there is none.
CREATE OR REPLACE FUNCTION taskfeed.source_list(relation regclass, value text)
 RETURNS text
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN t.typcategory = 'A' THEN format('to_jsonb((%s)::text[])', value)
                WHEN t.oid IN ('json'::regtype, 'jsonb'::regtype) THEN format('to_jsonb(%s)', value)
                ELSE format('jsonb_build_array((%s)::text)', value)
           END
    FROM pg_type AS t
    WHERE t.oid = taskfeed.source_type(relation, value)
$function$
-- An expression that may give several values, as one that gives JSON.
CREATE OR REPLACE FUNCTION taskfeed.source_lookup(j jsonb, key text, nth integer)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF j ? 'then' THEN
        RETURN format('SELECT l%1$s.value FROM %%%1$s$s AS r CROSS JOIN LATERAL jsonb_array_elements_text(%2$s) AS k%1$s (key) CROSS JOIN LATERAL (%3$s) AS l%1$s WHERE %4$s = (%5$s)::%6$s',
            nth, replace(j #>> '{then,keys}', '%', '%%'), taskfeed.source_lookup(j->'then', format('k%s.key', nth), nth + 1), replace(j->>'key', '%', '%%'), key, j->>'type');
    END IF;
    RETURN format('SELECT v%1$s.value FROM %%%1$s$s AS r CROSS JOIN LATERAL (SELECT (%2$s) AS value) AS f%1$s'
        ' CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(f%1$s.value) WHEN ''array'' THEN f%1$s.value ELSE jsonb_build_array(f%1$s.value) END) AS v%1$s WHERE %3$s = (%4$s)::%5$s',
        nth, replace(j->>'found', '%', '%%'), replace(j->>'key', '%', '%%'), key, j->>'type');
END
$function$
-- The query that finds the values of one key, for format with the names of the tables.
CREATE OR REPLACE FUNCTION taskfeed.source_map(given jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The map from the app's status values to ours, with its default. Refuses anything else.
CREATE OR REPLACE FUNCTION taskfeed.source_mapped(m jsonb, rows_table text, whole boolean)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The query that maps the rows of a transition table: their key, id, what a fact says of them as texts, and the fact.
CREATE OR REPLACE FUNCTION taskfeed.source_mapping(relation regclass, name text, mapping jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- A mapping with defaults and with its values as SQL over the row r. Refuses a mapping that would not work and says what to write.
CREATE OR REPLACE FUNCTION taskfeed.source_named_stranger(mapping jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH named AS (
        SELECT n.oid AS schema, g.name
        FROM (
            SELECT array_agg(CASE WHEN p.part LIKE '"%' THEN replace(substr(p.part, 2, length(p.part) - 2), '""', '"') ELSE lower(p.part) END ORDER BY p.n)
            FROM jsonb_path_query(source_named_stranger.mapping, '$.** ? (@.type() == "string")') WITH ORDINALITY AS v (value, i)
            CROSS JOIN regexp_matches(v.value #>> '{}', '([[:alpha:]_][\w$]*|"(?:[^"]|"")+")\s*\.\s*([[:alpha:]_][\w$]*|"(?:[^"]|"")+")', 'g') WITH ORDINALITY AS m (parts, j)
            CROSS JOIN unnest(m.parts) WITH ORDINALITY AS p (part, n)
            GROUP BY v.i, m.j
        ) AS w (parts)
        CROSS JOIN LATERAL (SELECT w.parts[1], w.parts[2]) AS g (schema, name)
        JOIN pg_namespace AS n ON n.nspname = g.schema
    )
    SELECT format('the role %s, which owns the %s,', s.owner::regrole, s.what)
    FROM (
        SELECT p.proowner, format('function %s', p.oid::regprocedure) FROM pg_proc AS p JOIN named AS n ON n.schema = p.pronamespace AND n.name = p.proname
        UNION ALL
        SELECT t.typowner, format('%s %s', CASE t.typrelid WHEN 0 THEN 'type' ELSE 'table' END, t.oid::regtype) FROM pg_type AS t JOIN named AS n ON n.schema = t.typnamespace AND n.name = t.typname
    ) AS s (owner, what)
    JOIN pg_class AS o ON o.oid = 'taskfeed.tasks'::regclass
    WHERE NOT pg_has_role(s.owner, o.relowner, 'USAGE')
    ORDER BY 1
    LIMIT 1
$function$
-- A role without the rights of the owner of this schema that owns a function or a type which a mapping names; null when there is none.
CREATE OR REPLACE FUNCTION taskfeed.source_on_delete(given jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- What the deletion of a row means, by the status of its task, with defaults. Refuses anything else.
CREATE OR REPLACE FUNCTION taskfeed.source_problems()
 RETURNS TABLE(name text, problem text, remedy text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- Problems of attached tables, and what to do about each.
CREATE OR REPLACE FUNCTION taskfeed.source_query(m jsonb, which text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The query that reads rows of a source by their ids, or the next in the order of the key.
CREATE OR REPLACE FUNCTION taskfeed.source_refusal(relation regclass, name text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN source_refusal.name IS NULL OR source_refusal.name !~ '^[a-z][a-z0-9_]{0,29}$'
            THEN format('"%s" is no name for a source: it has 1 to 30 of a-z, 0-9 and "_" and begins with a letter', source_refusal.name)
        WHEN c.oid IS NULL
            THEN 'there is no such table: name it with its schema, for example app.exports'
        WHEN c.relkind IN ('v', 'm')
            THEN format('%s is a view: attach the table that it reads', source_refusal.relation)
        WHEN c.relkind NOT IN ('r', 'p')
            THEN format('%s is not a table of this database: attach it in the database where its rows are', source_refusal.relation)
        WHEN c.relpersistence = 't'
            THEN format('%s is a temporary table, which no other session sees: attach one that stays', source_refusal.relation)
        WHEN c.relnamespace IN ('taskfeed'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace)
            THEN format('%s belongs to taskfeed or to Postgres: attach a table of the app', source_refusal.relation)
        WHEN c.relispartition
            THEN format('%s is a partition: attach %s', source_refusal.relation, pg_partition_root(source_refusal.relation))
        WHEN NOT has_table_privilege(c.oid, 'TRIGGER')
            THEN format('the role may not make a trigger: run GRANT TRIGGER, SELECT ON %s TO %I', source_refusal.relation, current_user)
        WHEN NOT has_table_privilege(o.relowner, c.oid, 'SELECT') OR NOT has_schema_privilege(o.relowner, c.relnamespace, 'USAGE')
            THEN format('the role of the schema taskfeed may not read the rows: run GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %2$s', c.relnamespace::regnamespace, o.relowner::regrole, source_refusal.relation)
        WHEN NOT pg_has_role(o.relowner, 'USAGE')
            THEN format('the role has not the rights of %s, which owns the schema taskfeed: connect as that role, or run GRANT %1$s TO %I', o.relowner::regrole, current_user)
        WHEN bound.what IS NOT NULL
            THEN format('%s is bound to taskfeed.tasks and could run code with the rights of the sequencer: drop it first', bound.what)
        WHEN to_regclass(same_name.table_name) = same_name.relation
            THEN format('the source %s is attached to %s: detach it first, or choose another name', source_refusal.name, same_name.table_name)
        WHEN same_table.name IS NOT NULL
            THEN format('%s is attached already, as the source %s: use that name to change its mapping, or run taskfeed detach %2$s first', source_refusal.relation, same_table.name)
    END
    FROM pg_class AS o
    LEFT JOIN pg_class AS c ON c.oid = source_refusal.relation
    LEFT JOIN taskfeed.sources AS same_name ON same_name.name = source_refusal.name AND same_name.relation <> source_refusal.relation
    LEFT JOIN taskfeed.sources AS same_table ON same_table.name <> source_refusal.name AND same_table.relation = source_refusal.relation
    LEFT JOIN LATERAL (
        SELECT b.what
        FROM taskfeed.bound_by_others() AS b
        WHERE b.relation = 'taskfeed.tasks'::regclass
        LIMIT 1
    ) AS bound ON true
    WHERE o.oid = 'taskfeed.tasks'::regclass
    LIMIT 1
$function$
-- Why a table cannot be attached and what to do; null when it can.
CREATE OR REPLACE FUNCTION taskfeed.source_report(relation regclass, name text, m jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH found AS MATERIALIZED (
        SELECT taskfeed.source_sample(relation, m) AS sample
    )
    SELECT jsonb_build_object(
        'name', name,
        'table', relation::text,
        'partitioned', c.relkind = 'p',
        'rows_about', greatest(c.reltuples, 0)::bigint,
        'may_detach', pg_has_role(c.relowner, 'USAGE'),
        'mapping', m,
        'sample', f.sample,
        'unmapped', (
            SELECT coalesce(jsonb_agg(v), '[]')
            FROM jsonb_object_keys(CASE jsonb_typeof(f.sample->'values') WHEN 'object' THEN f.sample->'values' ELSE '{}' END) AS v
            WHERE NOT m->'map' ?| ARRAY[v, '*']),
        'sql', taskfeed.source_functions(relation, name, m) || E';\n' || array_to_string(taskfeed.source_triggers(relation, name), E';\n') || ';')
    FROM pg_class AS c
    CROSS JOIN found AS f
    WHERE c.oid = relation
$function$
-- What attach would do, and what the mapping produces from existing rows.
CREATE OR REPLACE FUNCTION taskfeed.source_rows_code(relation regclass, m jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The body of the function that reads rows of a source as facts: some by their ids, or a page.
CREATE OR REPLACE FUNCTION taskfeed.source_sample(relation regclass, m jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    latest text;
    users  text := m #>> '{values,users}';
    sample jsonb;
BEGIN
    IF m->'joins' ? 'user' THEN
        users := taskfeed.source_found(m, 'user');
    END IF;
    latest := coalesce((
        SELECT 'ORDER BY ' || string_agg(format('t.%I DESC', e.k->>'column'), ', ' ORDER BY e.n)
        FROM jsonb_array_elements(CASE jsonb_typeof(m->'key') WHEN 'array' THEN m->'key' ELSE '[]' END) WITH ORDINALITY AS e (k, n)), '');
    EXECUTE format('
        WITH mapped AS (
            SELECT %L || (%s)::text AS id, coalesce((%s)::text, ''null'') AS status, %s AS users
            FROM (SELECT t.* FROM %s AS t %s LIMIT 1000) AS r
            WHERE %s
        )
        SELECT jsonb_build_object(
            ''rows'', (SELECT count(*) FROM mapped),
            ''values'', (SELECT jsonb_object_agg(v.status, v.n) FROM (SELECT status, count(*) AS n FROM mapped GROUP BY status ORDER BY n DESC LIMIT 50) AS v),
            ''crowded'', (SELECT count(*) FROM mapped WHERE jsonb_typeof(users) = ''array'' AND jsonb_array_length(users) > 64),
            ''without_owner'', (SELECT count(*) FROM mapped WHERE users IN (''[]'', ''[null]'', ''null'') OR users IS NULL),
            ''owners'', (SELECT jsonb_agg(o.users) FROM (SELECT DISTINCT users FROM mapped WHERE users NOT IN (''[]'', ''[null]'') LIMIT 5) AS o),
            ''ids'', (SELECT jsonb_agg(i.id) FROM (SELECT id FROM mapped LIMIT 5) AS i))',
        m->>'prefix', m->>'id', m->>'status', users, relation, latest, coalesce(m->>'when', 'true'))
    INTO sample;
    RETURN sample;
EXCEPTION WHEN OTHERS THEN
    RETURN jsonb_build_object('failure', sqlstate || ' ' || sqlerrm);
END
$function$
-- What a mapping produces from the latest 1,000 rows.
CREATE OR REPLACE FUNCTION taskfeed.source_state(m jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN bool_and(s.key = '*') THEN max(quote_literal(s.value))
        ELSE format('CASE (%s)::text ', m->>'status') || string_agg(format('WHEN %L THEN %L', s.key, s.value), ' ' ORDER BY s.key) FILTER (WHERE s.key <> '*')
            || coalesce(max(format(' ELSE %L', s.value)) FILTER (WHERE s.key = '*'), '') || ' END'
        END
    FROM jsonb_each_text(m->'map') AS s
$function$
-- The expression that maps the status of the row r to one of ours.
CREATE OR REPLACE FUNCTION taskfeed.source_statement_code(name text, m jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The part of the trigger function of a source that captures all rows of a statement at once; null for a table without a key.
CREATE OR REPLACE FUNCTION taskfeed.source_stranger(relation regclass)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH RECURSIVE tables AS (
        SELECT c.oid, c.relowner
        FROM pg_class AS c
        WHERE c.oid = source_stranger.relation
           OR c.oid IN (SELECT t.relid FROM pg_partition_tree(source_stranger.relation) AS t)
    ), types (oid) AS (
        SELECT a.atttypid
        FROM pg_attribute AS a
        JOIN tables AS c ON c.oid = a.attrelid
        WHERE a.attnum > 0
          AND NOT a.attisdropped
        UNION
        SELECT part.oid
        FROM types AS whole
        JOIN pg_type AS t ON t.oid = whole.oid
        CROSS JOIN LATERAL (
            SELECT t.typelem
            UNION ALL SELECT t.typbasetype
            UNION ALL SELECT r.rngsubtype FROM pg_range AS r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
            UNION ALL SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS part (oid)
        WHERE part.oid <> 0
    )
    SELECT format('the role %s, which owns the %s,', s.owner::regrole, s.what)
    FROM (
        SELECT c.relowner, format('table %s', c.oid::regclass) FROM tables AS c
        UNION ALL
        SELECT t.typowner, format('type %s', t.oid::regtype) FROM types AS u JOIN pg_type AS t ON t.oid = u.oid
    ) AS s (owner, what)
    JOIN pg_class AS o ON o.oid = 'taskfeed.tasks'::regclass
    WHERE NOT pg_has_role(s.owner, o.relowner, 'USAGE')
    ORDER BY 1
    LIMIT 1
$function$
-- A role without the rights of the owner of this schema whose code the mapping of a table could run; null when there is none.
CREATE OR REPLACE FUNCTION taskfeed.source_time(relation regclass, given jsonb, zone jsonb)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The SQL of the time when a row was created.
CREATE OR REPLACE FUNCTION taskfeed.source_trigger_code(name text, m jsonb)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The body of the trigger function of a source.
CREATE OR REPLACE FUNCTION taskfeed.source_triggers(relation regclass, name text)
 RETURNS text[]
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN by_row THEN ARRAY[format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name, relation, 'attached_' || name)]
            ELSE ARRAY[
                format('CREATE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_insert', relation, 'attached_' || name),
                format('CREATE TRIGGER %I AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_update', relation, 'attached_' || name),
                format('CREATE TRIGGER %I AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_delete', relation, 'attached_' || name)]
            END
        || format('CREATE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.%I()', 'aa_taskfeed_' || name || '_truncate', relation, 'attached_' || name)
    FROM (
        SELECT NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND g.tgname = 'aa_taskfeed_' || name || '_update')
            AND (c.relkind <> 'r'
                OR taskfeed.source_key(relation) IS NULL
                OR EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent))
                OR EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND g.tgname = 'aa_taskfeed_' || name)) -- as it was when it was attached
        FROM pg_class AS c
        WHERE c.oid = relation
    ) AS t (by_row)
$function$
-- The statements that make the triggers of a source, the only objects on the app's table.
CREATE OR REPLACE FUNCTION taskfeed.source_type(relation regclass, value text)
 RETURNS regtype
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    found_type regtype;
BEGIN
    EXECUTE format('SELECT pg_typeof((%s%s)) FROM (SELECT (NULL::%s).*) AS r', value, E'\n', relation) INTO found_type;
    RETURN found_type;
END
$function$
-- The type of an expression over a row of the table.
CREATE OR REPLACE FUNCTION taskfeed.source_value(relation regclass, key text, given jsonb)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- One value of a mapping as an SQL expression over the row r. Refuses anything else.
CREATE OR REPLACE FUNCTION taskfeed.source_values(relation regclass, name text, mapping jsonb, joins jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$
-- The SQL of all values of a fact except its id and status, and those that are found in other tables.
CREATE OR REPLACE FUNCTION taskfeed.source_vias(joins jsonb)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT jsonb_object_agg('via_' || j.key, j.value->>'keys') || jsonb_build_object('joins', quote_literal(md5(joins::text)))
    FROM jsonb_each(joins) AS j
$function$
-- The values of a fact by which others are found, and the mark of the joins.
CREATE OR REPLACE FUNCTION taskfeed.status_type(status text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
RETURN CASE status WHEN 'running'::text THEN 'task_started'::text ELSE ('task_'::text || status) END
-- The event type of a change to this status.
CREATE OR REPLACE FUNCTION taskfeed.task_data(status text, kind text, progress smallint, message text, result jsonb, error text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN ((num_nonnulls(message, result, error) = 0) AND (status = ANY (ARRAY['queued'::text, 'running'::text]))) THEN jsonb_strip_nulls(jsonb_build_object('kind', kind, 'progress', progress)) ELSE taskfeed.fit_data(status, kind, progress, message, result, error) END
-- Everything that a user can see of a task, as the data of its event.
CREATE OR REPLACE FUNCTION taskfeed.task_fields(status text, kind text, progress smallint, message text, result jsonb, error text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN ((jsonb_strip_nulls(jsonb_build_object('kind', kind, 'progress', progress, 'message', message)) || CASE WHEN ((result IS NOT NULL) OR (status = 'completed'::text)) THEN jsonb_build_object('result', result) ELSE '{}'::jsonb END) || CASE WHEN ((error IS NOT NULL) OR (status = 'failed'::text)) THEN jsonb_build_object('error', error) ELSE '{}'::jsonb END)
-- Everything that a user can see of a task, without a limit of size.
CREATE OR REPLACE FUNCTION taskfeed.text_bytes(value text)
 RETURNS bigint
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (octet_length(value) > 262144) THEN octet_length(value) ELSE octet_length((to_jsonb(value))::text) END
-- The length of the text as JSON; beyond 256 KB a lower bound of it.
CREATE OR REPLACE FUNCTION taskfeed.traced(data jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN (CASE WHEN taskfeed.is_traced() THEN jsonb_build_object('traceparent', current_setting('taskfeed.traceparent'::text)) ELSE '{}'::jsonb END || data)
-- The data of a change with the trace of the transaction, unless an app's event has a field of that name.

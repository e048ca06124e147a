-- +goose Up
CREATE TABLE taskfeed.tasks (
    id           text        NOT NULL DEFAULT gen_random_uuid()::text,
    user_id      text        NOT NULL,
    kind         text,
    status       text        NOT NULL DEFAULT 'queued',
    progress     smallint    NOT NULL DEFAULT 0,
    message      text,
    result       jsonb,
    error        text,
    version      bigint      NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    updated_hour timestamptz NOT NULL DEFAULT date_bin('1 hour', now(), '0001-01-01 00:00:00+00'),
    CONSTRAINT tasks_pkey PRIMARY KEY (id)
) WITH (fillfactor = 80);
COMMENT ON TABLE taskfeed.tasks IS 'The app''s tasks: the app writes them in plain SQL, taskfeed tells each user what happened to theirs.';
COMMENT ON COLUMN taskfeed.tasks.version IS 'Grows by one with each change that a user can see; kept by a trigger.';
COMMENT ON COLUMN taskfeed.tasks.updated_at IS 'When a user could last see a change; kept by a trigger.';
COMMENT ON COLUMN taskfeed.tasks.updated_hour IS 'updated_at to the hour, for the indexes: a progress update changes it once an hour at most, so the others stay HOT; kept by triggers.';

-- No index holds a column that a progress update touches, so those stay HOT.
CREATE INDEX tasks_user_id_created_at_id ON taskfeed.tasks (user_id, created_at, id);
COMMENT ON INDEX taskfeed.tasks_user_id_created_at_id IS 'Lists one user''s tasks.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.hour_of(at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN date_bin('1 hour', at, '0001-01-01 00:00:00+00');
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.hour_of(timestamptz) IS 'The beginning of the hour in UTC.';
REVOKE ALL ON FUNCTION taskfeed.hour_of(timestamptz) FROM PUBLIC;

-- The rules for a task are checked by triggers, which look at what has changed.
-- CHECK constraints would be read and prepared anew by each statement, whatever
-- it changes; what two of them cost, taskfeed bench shows ("no CHECK").

-- +goose StatementBegin
CREATE FUNCTION taskfeed.broken_rule(
    id text, user_id text, kind text, status text, progress smallint, created_at timestamptz, updated_at timestamptz)
RETURNS text
LANGUAGE sql IMMUTABLE
-- The names are what an app's developer reads when a write is refused.
RETURN CASE
    WHEN octet_length(id) NOT BETWEEN 1 AND 255 OR id ~ '[\x01-\x1f\x7f]'
        THEN 'id_is_1_to_255_bytes_without_control_characters'
    WHEN octet_length(user_id) NOT BETWEEN 1 AND 255 OR user_id ~ '[\x01-\x1f\x7f]'
        THEN 'user_id_is_1_to_255_bytes_without_control_characters'
    WHEN octet_length(kind) > 255
        THEN 'kind_is_at_most_255_bytes'
    WHEN status NOT IN ('queued', 'running', 'completed', 'failed', 'canceled')
        THEN 'status_is_queued_running_completed_failed_or_canceled'
    WHEN progress NOT BETWEEN 0 AND 100
        THEN 'progress_is_between_0_and_100'
    -- What a client could not be told: RFC 3339 and JSON end there.
    WHEN created_at < '0001-01-01 00:00:00+00' OR created_at >= '9999-01-01 00:00:00+00'
        THEN 'created_at_is_in_the_years_1_to_9998'
    WHEN updated_at < '0001-01-01 00:00:00+00' OR updated_at >= '9999-01-01 00:00:00+00'
        THEN 'updated_at_is_in_the_years_1_to_9998'
END;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.broken_rule(text, text, text, text, smallint, timestamptz, timestamptz) IS 'The rule that a task breaks, or null. What is null breaks none: columns have NOT NULL.';
REVOKE ALL ON FUNCTION taskfeed.broken_rule(text, text, text, text, smallint, timestamptz, timestamptz) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION taskfeed.refuse_task(rule text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE check_violation USING -- as for a CHECK constraint of this name
        MESSAGE = pg_catalog.format('new row for relation "tasks" violates check constraint "%s"', rule),
        SCHEMA = 'taskfeed',
        TABLE = 'tasks',
        CONSTRAINT = rule;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.refuse_task(text) IS 'Refuses a task that breaks a rule.';
REVOKE ALL ON FUNCTION taskfeed.refuse_task(text) FROM PUBLIC;

-- Triggers fire in the order of their names. Those before a row is written come
-- last: they judge what the app's own have left of it.

-- +goose StatementBegin
CREATE FUNCTION taskfeed.check_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    broken pg_catalog.text;
BEGIN
    broken := taskfeed.broken_rule(new.id, new.user_id, new.kind, new.status, new.progress, new.created_at, new.updated_at);
    IF broken IS NOT NULL THEN
        PERFORM taskfeed.refuse_task(broken);
    END IF;
    new.updated_hour := taskfeed.hour_of(new.updated_at);
    RETURN new;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.check_insert() IS 'Refuses a new task that breaks a rule.';
REVOKE ALL ON FUNCTION taskfeed.check_insert() FROM PUBLIC;

CREATE TRIGGER zz_taskfeed_check_insert
    BEFORE INSERT ON taskfeed.tasks
    FOR EACH ROW EXECUTE FUNCTION taskfeed.check_insert();
COMMENT ON TRIGGER zz_taskfeed_check_insert ON taskfeed.tasks IS 'Checks new tasks and keeps updated_hour.';
-- Rows that replication brings, or that are loaded in its role so as to make no
-- events, are kept in order all the same.
ALTER TABLE taskfeed.tasks ENABLE ALWAYS TRIGGER zz_taskfeed_check_insert;

-- +goose Down
DROP TABLE taskfeed.tasks;
DROP FUNCTION taskfeed.check_insert();
DROP FUNCTION taskfeed.refuse_task(text);
DROP FUNCTION taskfeed.broken_rule(text, text, text, text, smallint, timestamptz, timestamptz);
DROP FUNCTION taskfeed.hour_of(timestamptz);

-- +goose Up
CREATE TABLE taskfeed.tasks (
    id         text        NOT NULL DEFAULT gen_random_uuid()::text,
    user_id    text        NOT NULL,
    kind       text,
    status     text        NOT NULL DEFAULT 'queued',
    progress   smallint    NOT NULL DEFAULT 0,
    message    text,
    result     jsonb,
    error      text,
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tasks_pkey PRIMARY KEY (id),
    -- The names below are what an app's developer reads when a write is refused.
    CONSTRAINT id_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(id) BETWEEN 1 AND 255 AND id !~ '[\x01-\x1f\x7f]'),
    CONSTRAINT user_id_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(user_id) BETWEEN 1 AND 255 AND user_id !~ '[\x01-\x1f\x7f]'),
    CONSTRAINT kind_is_at_most_255_bytes
        CHECK (octet_length(kind) <= 255),
    CONSTRAINT status_is_queued_running_completed_failed_or_canceled
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'canceled')),
    CONSTRAINT progress_is_between_0_and_100
        CHECK (progress BETWEEN 0 AND 100)
) WITH (fillfactor = 80);
COMMENT ON TABLE taskfeed.tasks IS 'The app''s tasks: the app writes them in plain SQL, taskfeed tells each user what happened to theirs.';
COMMENT ON COLUMN taskfeed.tasks.version IS 'Grows by one with each change that a user can see; kept by a trigger.';
COMMENT ON COLUMN taskfeed.tasks.updated_at IS 'When a user could last see a change; kept by a trigger.';

-- No index holds a column that a progress update touches, so those stay HOT.
CREATE INDEX tasks_user_id_created_at_id ON taskfeed.tasks (user_id, created_at, id);
COMMENT ON INDEX taskfeed.tasks_user_id_created_at_id IS 'Lists one user''s tasks.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.stamp_task() RETURNS trigger
LANGUAGE plpgsql
AS $$
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
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.stamp_task() IS 'Gives a visible change of a task the next version, and leaves any other update without a trace.';
REVOKE ALL ON FUNCTION taskfeed.stamp_task() FROM PUBLIC;

-- Triggers fire in the order of their names: this one judges what the app's own
-- triggers have left of the row.
CREATE TRIGGER zz_taskfeed_stamp
    BEFORE UPDATE ON taskfeed.tasks
    FOR EACH ROW EXECUTE FUNCTION taskfeed.stamp_task();
COMMENT ON TRIGGER zz_taskfeed_stamp ON taskfeed.tasks IS 'Keeps version and updated_at.';

-- +goose Down
DROP TABLE taskfeed.tasks;
DROP FUNCTION taskfeed.stamp_task();

-- +goose Up
-- A stored column is computed when the row is written, so this rewrites the
-- table and holds the app's writers for that long.
ALTER TABLE taskfeed.tasks
    ADD COLUMN updated_hour timestamp NOT NULL
        GENERATED ALWAYS AS (date_trunc('hour', updated_at AT TIME ZONE 'UTC')) STORED,
    -- What a client could not be told: RFC 3339 and JSON end there.
    ADD CONSTRAINT created_at_is_in_the_years_1_to_9998
        CHECK (created_at >= '0001-01-01 00:00:00+00' AND created_at < '9999-01-01 00:00:00+00'),
    ADD CONSTRAINT updated_at_is_in_the_years_1_to_9998
        CHECK (updated_at >= '0001-01-01 00:00:00+00' AND updated_at < '9999-01-01 00:00:00+00');
COMMENT ON COLUMN taskfeed.tasks.updated_hour IS 'updated_at to the hour, in UTC, for the indexes: a progress update changes it once an hour at most, so the others stay HOT.';

CREATE INDEX tasks_created_at_id ON taskfeed.tasks (created_at, id);
COMMENT ON INDEX taskfeed.tasks_created_at_id IS 'Lists all tasks.';

CREATE INDEX tasks_status_created_at_id ON taskfeed.tasks (status, created_at, id);
COMMENT ON INDEX taskfeed.tasks_status_created_at_id IS 'Lists the tasks of one status.';

CREATE INDEX tasks_updated_hour ON taskfeed.tasks (updated_hour);
COMMENT ON INDEX taskfeed.tasks_updated_hour IS 'Lists tasks by their last change; each hour is sorted when it is read.';

CREATE INDEX tasks_status_updated_hour ON taskfeed.tasks (status, updated_hour);
COMMENT ON INDEX taskfeed.tasks_status_updated_hour IS 'Does so for the tasks of one status; finds those that run and have not changed for long.';

CREATE INDEX events_created_at_id ON taskfeed.events (created_at, id);
COMMENT ON INDEX taskfeed.events_created_at_id IS 'Reads the log by time, and counts it by the minute.';

-- +goose Down
DROP INDEX taskfeed.events_created_at_id;
DROP INDEX taskfeed.tasks_status_updated_hour;
DROP INDEX taskfeed.tasks_updated_hour;
DROP INDEX taskfeed.tasks_status_created_at_id;
DROP INDEX taskfeed.tasks_created_at_id;
ALTER TABLE taskfeed.tasks
    DROP CONSTRAINT updated_at_is_in_the_years_1_to_9998,
    DROP CONSTRAINT created_at_is_in_the_years_1_to_9998,
    DROP COLUMN updated_hour;

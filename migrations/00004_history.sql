-- +goose Up
CREATE INDEX tasks_created_at_id ON taskfeed.tasks (created_at, id);
COMMENT ON INDEX taskfeed.tasks_created_at_id IS 'Lists all tasks.';

CREATE INDEX tasks_status_created_at_id ON taskfeed.tasks (status, created_at, id);
COMMENT ON INDEX taskfeed.tasks_status_created_at_id IS 'Lists the tasks of one status.';

CREATE INDEX tasks_updated_hour ON taskfeed.tasks (updated_hour);
COMMENT ON INDEX taskfeed.tasks_updated_hour IS 'Lists tasks by their last change; a reader sorts the tasks of each hour.';

CREATE INDEX tasks_status_updated_hour ON taskfeed.tasks (status, updated_hour);
COMMENT ON INDEX taskfeed.tasks_status_updated_hour IS 'Lists tasks of one status by their last change, and finds running tasks that have not changed for long.';

CREATE INDEX events_created_at_id ON taskfeed.events (created_at, id);
COMMENT ON INDEX taskfeed.events_created_at_id IS 'Reads the log by time and counts its events by the minute.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP INDEX taskfeed.events_created_at_id;
DROP INDEX taskfeed.tasks_status_updated_hour;
DROP INDEX taskfeed.tasks_updated_hour;
DROP INDEX taskfeed.tasks_status_created_at_id;
DROP INDEX taskfeed.tasks_created_at_id;

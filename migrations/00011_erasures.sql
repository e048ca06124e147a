-- +goose Up
-- Servers keep recent events in memory for clients that come back. A sequence tells
-- them that events were erased: it takes no lock, and no row names whose they were.
-- Partitions past retention are dropped, which runs no trigger.
CREATE SEQUENCE taskfeed.erasures;
COMMENT ON SEQUENCE taskfeed.erasures IS 'Advances with each statement that deletes or changes events. Servers look every second, and then drop the recent events that they keep in memory.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.count_erasure() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF tg_relid <> 'taskfeed.events'::regclass THEN
        RAISE feature_not_supported USING
            MESSAGE = 'taskfeed: this trigger function serves taskfeed.events alone';
    END IF;
    PERFORM nextval('taskfeed.erasures');
    RETURN NULL;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.count_erasure() IS 'Tells servers that events were erased.';
REVOKE ALL ON FUNCTION taskfeed.count_erasure() FROM PUBLIC;

CREATE TRIGGER erasure AFTER DELETE OR UPDATE OR TRUNCATE ON taskfeed.events
    FOR EACH STATEMENT EXECUTE FUNCTION taskfeed.count_erasure();
COMMENT ON TRIGGER erasure ON taskfeed.events IS 'Counts the statements that erase events.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP TRIGGER erasure ON taskfeed.events;
DROP FUNCTION taskfeed.count_erasure();
DROP SEQUENCE taskfeed.erasures;

-- +goose Up
CREATE TABLE taskfeed.events (
    id         bigint      NOT NULL, -- drawn from event_id by the sequencer alone: id order is commit order
    user_id    text,                 -- null: for every user
    task_id    text,
    type       text        NOT NULL,
    version    bigint,
    data       jsonb       NOT NULL,
    created_at timestamptz NOT NULL, -- when the change was captured; orders nothing
    CONSTRAINT events_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);
COMMENT ON TABLE taskfeed.events IS 'The log: one immutable row for each change, in the order that every client sees.';

CREATE INDEX events_user_id_id ON taskfeed.events (user_id, id);
COMMENT ON INDEX taskfeed.events_user_id_id IS 'Replays one user''s feed; the nulls are the broadcasts.';

CREATE INDEX events_task_id_user_id_id ON taskfeed.events (task_id, user_id, id);
COMMENT ON INDEX taskfeed.events_task_id_user_id_id IS 'Reads one user''s events of one task without passing over those of others.';

-- 2^53 - 1 is the largest integer that JavaScript represents exactly.
CREATE SEQUENCE taskfeed.event_id AS bigint MAXVALUE 9007199254740991 OWNED BY taskfeed.events.id;
COMMENT ON SEQUENCE taskfeed.event_id IS 'Ids of events. Only the sequencer draws them, and it is never set back.';

CREATE TABLE taskfeed.events_default PARTITION OF taskfeed.events DEFAULT;
COMMENT ON TABLE taskfeed.events_default IS 'Receives events whose partition was not made in time, so that an insert never fails.';

CREATE TABLE taskfeed.events_0 PARTITION OF taskfeed.events FOR VALUES FROM (MINVALUE) TO (10000000);
COMMENT ON TABLE taskfeed.events_0 IS 'Events with ids below 10,000,000. The sequencer makes later partitions ahead of time.';

CREATE TABLE taskfeed.log_state (
    only_row          boolean NOT NULL DEFAULT true,
    system_identifier bigint,                     -- of the cluster that the log was last written on
    timeline          bigint,                     -- of its write-ahead log
    expired_through   bigint  NOT NULL DEFAULT 0, -- retention has dropped events up to this id
    log_id            uuid    NOT NULL DEFAULT gen_random_uuid(), -- names the log to servers without a database
    epoch             bigint  NOT NULL DEFAULT 0, -- rises whenever ids jump, because the log may have lost its last events
    epoch_from        bigint  NOT NULL DEFAULT 0, -- where they jumped to: no event at or below it will be added
    CONSTRAINT log_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT log_state_has_one_row CHECK (only_row)
);
COMMENT ON TABLE taskfeed.log_state IS 'One row: the state of the log besides its events.';
INSERT INTO taskfeed.log_state DEFAULT VALUES;

-- A row is inserted and the one before it is deleted by its id. The newest is
-- at the end of the index, however many dead rows an old snapshot keeps. If one row
-- were updated instead, each read would pass over all its dead versions.
CREATE TABLE taskfeed.looks (
    id                bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    snapshot          pg_snapshot NOT NULL, -- changes that are visible in it are in the log
    system_identifier bigint      NOT NULL, -- of the cluster whose transactions it names
    changes_oid       oid         NOT NULL, -- of the table taskfeed.changes; after a restore it has another oid
    CONSTRAINT looks_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE taskfeed.looks IS 'Snapshots of complete looks of the sequencer, stored now and then. The newest row counts.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP TABLE taskfeed.looks;
DROP TABLE taskfeed.log_state;
DROP TABLE taskfeed.events;

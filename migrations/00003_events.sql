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
COMMENT ON INDEX taskfeed.events_task_id_user_id_id IS 'Reads what one user was told of one task, and nobody else''s part on the way.';

-- 2^53 - 1 is the largest integer that JavaScript represents exactly.
CREATE SEQUENCE taskfeed.event_id AS bigint MAXVALUE 9007199254740991 OWNED BY taskfeed.events.id;
COMMENT ON SEQUENCE taskfeed.event_id IS 'Ids of events; drawn by the sequencer alone and never set back.';

CREATE TABLE taskfeed.events_default PARTITION OF taskfeed.events DEFAULT;
COMMENT ON TABLE taskfeed.events_default IS 'Takes events for which no partition was made in time, so that an insert never fails.';

CREATE TABLE taskfeed.events_0 PARTITION OF taskfeed.events FOR VALUES FROM (MINVALUE) TO (10000000);
COMMENT ON TABLE taskfeed.events_0 IS 'Events below 10,000,000; later partitions are made ahead by the sequencer.';

CREATE TABLE taskfeed.log_state (
    only_row          boolean NOT NULL DEFAULT true,
    system_identifier bigint,                     -- of the cluster that the log was last written on
    timeline          bigint,                     -- of its write-ahead log
    expired_through   bigint  NOT NULL DEFAULT 0, -- retention has dropped events up to this id
    CONSTRAINT log_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT log_state_has_one_row CHECK (only_row)
);
COMMENT ON TABLE taskfeed.log_state IS 'One row: what must be remembered of the log besides the events.';
INSERT INTO taskfeed.log_state DEFAULT VALUES;

-- A row is inserted and the one before it is deleted by its id. The newest is
-- at the end of the index, however many dead rows an old snapshot keeps. The
-- versions of one row that is updated would all have to be passed.
CREATE TABLE taskfeed.looks (
    id                bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    snapshot          pg_snapshot NOT NULL, -- changes that are visible in it are in the log
    system_identifier bigint      NOT NULL, -- of the cluster whose transactions it names
    changes_oid       oid         NOT NULL, -- of the table; one that a dump was loaded into has another
    CONSTRAINT looks_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE taskfeed.looks IS 'How far the sequencer has looked, written down now and then; the newest row counts.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP TABLE taskfeed.looks;
DROP TABLE taskfeed.log_state;
DROP TABLE taskfeed.events;

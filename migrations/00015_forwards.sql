-- +goose Up
CREATE TABLE taskfeed.forwards (
    name       text        NOT NULL,
    cursor     bigint      NOT NULL,                     -- every event up to it was delivered or is a failure
    holder     text,                                     -- the process that forwards; null: none
    held_until timestamptz NOT NULL DEFAULT '-infinity', -- then another process may take over
    lost       bigint      NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT forwards_pkey PRIMARY KEY (name),
    CONSTRAINT name_is_1_to_64_bytes CHECK (octet_length(name) BETWEEN 1 AND 64),
    CONSTRAINT cursor_is_an_id CHECK (cursor BETWEEN 0 AND 9007199254740991)
) WITH (fillfactor = 50);
COMMENT ON TABLE taskfeed.forwards IS 'How far the log was sent to each endpoint, by the name that "taskfeed forward" was given, and which process does so.';
COMMENT ON COLUMN taskfeed.forwards.lost IS 'How many ids retention had dropped before they were forwarded; some may have had no event.';

CREATE TABLE taskfeed.forward_failures (
    name      text        NOT NULL, -- no foreign key: failures outlive the forward
    event_id  bigint      NOT NULL,
    user_id   text,                 -- null: a broadcast
    type      text        NOT NULL,
    body      text        NOT NULL, -- as it was sent; the log may have dropped the event
    tries     bigint      NOT NULL,
    reason    text        NOT NULL, -- of the last failure
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT forward_failures_pkey PRIMARY KEY (name, event_id)
);
COMMENT ON TABLE taskfeed.forward_failures IS 'Events that an endpoint did not take in time, until they are sent again or deleted.';

CREATE INDEX forward_failures_user_id ON taskfeed.forward_failures (user_id) WHERE user_id IS NOT NULL;
COMMENT ON INDEX taskfeed.forward_failures_user_id IS 'Erases the failures of a user.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP TABLE taskfeed.forward_failures;
DROP TABLE taskfeed.forwards;

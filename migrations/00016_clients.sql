-- +goose Up
-- No index contains a column that a mark changes, but for the hour, so marks are HOT
-- updates.
CREATE TABLE taskfeed.clients (
    user_id   text        NOT NULL,
    name      text        NOT NULL,
    through   bigint      NOT NULL,                           -- the client's cursor
    turn      bigint      NOT NULL DEFAULT 1,                 -- number of the connection that moves it
    connected boolean     NOT NULL DEFAULT true,
    seen_at   timestamptz NOT NULL DEFAULT clock_timestamp(), -- when it was last there
    seen_hour timestamptz NOT NULL DEFAULT taskfeed.hour_of(clock_timestamp()),
    marks     bigint[]    NOT NULL DEFAULT '{}',              -- up to where the client had everything …
    marked_at timestamptz[] NOT NULL DEFAULT '{}',            -- … and when it was known to
    CONSTRAINT clients_pkey PRIMARY KEY (user_id, name),
    CONSTRAINT user_id_is_1_to_255_bytes CHECK (octet_length(user_id) BETWEEN 1 AND 255),
    CONSTRAINT name_is_1_to_64_bytes CHECK (octet_length(name) BETWEEN 1 AND 64),
    CONSTRAINT through_is_an_id CHECK (through BETWEEN 0 AND 9007199254740991),
    CONSTRAINT marks_have_times CHECK (cardinality(marks) = cardinality(marked_at))
) WITH (fillfactor = 60);
COMMENT ON TABLE taskfeed.clients IS 'The cursors of clients that connect with a name. Servers move them once a second at most, to what the answers to pings prove to have arrived.';
COMMENT ON COLUMN taskfeed.clients.marks IS 'Earlier cursors, by time; the older, the fewer. With marked_at they are the delivery log.';

CREATE INDEX clients_seen_hour ON taskfeed.clients (seen_hour);
COMMENT ON INDEX taskfeed.clients_seen_hour IS 'Forgets clients that have not come back.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP TABLE taskfeed.clients;

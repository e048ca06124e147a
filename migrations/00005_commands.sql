-- +goose Up
CREATE TABLE taskfeed.commands (
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind       text        NOT NULL,
    argument   text        NOT NULL,
    CONSTRAINT commands_pkey PRIMARY KEY (id),
    CONSTRAINT kind_is_known CHECK (kind IN ('disconnect_user', 'disconnect_connection')),
    CONSTRAINT argument_is_1_to_255_bytes CHECK (octet_length(argument) BETWEEN 1 AND 255)
);
COMMENT ON TABLE taskfeed.commands IS 'Commands of admins to all servers. Each server reads them every second and runs each once, unless it is older than an hour. The last 100,000 are kept.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP TABLE taskfeed.commands;

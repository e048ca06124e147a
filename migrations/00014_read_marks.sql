-- +goose Up
-- One row a user. No index contains the mark, so moving it is a HOT update.
CREATE TABLE taskfeed.read_marks (
    user_id text        NOT NULL,
    through bigint      NOT NULL, -- the user has read all events up to this id
    read_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT read_marks_pkey PRIMARY KEY (user_id),
    CONSTRAINT user_id_is_1_to_255_bytes CHECK (octet_length(user_id) BETWEEN 1 AND 255),
    CONSTRAINT through_is_an_id CHECK (through BETWEEN 0 AND 9007199254740991)
) WITH (fillfactor = 80);
COMMENT ON TABLE taskfeed.read_marks IS 'How far each user has read. Servers move a mark forward only, at most once a second.';
COMMENT ON COLUMN taskfeed.read_marks.through IS 'The id of the last event that the user has read, or a later one; it is never above the last event of the log.';

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP TABLE taskfeed.read_marks;

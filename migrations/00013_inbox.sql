-- +goose Up
CREATE SEQUENCE taskfeed.message_id;
COMMENT ON SEQUENCE taskfeed.message_id IS 'The ids of messages.';

CREATE TABLE taskfeed.inbox (
    id         bigint      NOT NULL, -- that of its row in inbox_refs
    user_id    text        NOT NULL,
    ref        text        NOT NULL,
    topic      text        NOT NULL,
    task_id    text,                 -- no foreign key: the message outlives the task
    data       jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_pkey PRIMARY KEY (id)
) WITH (
    -- Most rows live for milliseconds.
    vacuum_truncate = false,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 2000000000
);
COMMENT ON TABLE taskfeed.inbox IS 'Messages of users to the app that it has not received yet. Servers add them; taskfeed.receive takes them out.';

CREATE INDEX inbox_topic_id ON taskfeed.inbox (topic, id);
COMMENT ON INDEX taskfeed.inbox_topic_id IS 'Receives messages of one topic.';

CREATE INDEX inbox_user_id ON taskfeed.inbox (user_id);
COMMENT ON INDEX taskfeed.inbox_user_id IS 'Counts the messages of a user that wait.';

-- The refs are in a table of their own because the app's transaction deletes from the
-- inbox: a client that sends a message again must not wait for that transaction.
CREATE TABLE taskfeed.inbox_refs (
    user_id    text        NOT NULL,
    ref        text        NOT NULL,
    id         bigint      NOT NULL,
    topic      text        NOT NULL,
    task_id    text,
    digest     bigint      NOT NULL, -- of the data
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_refs_pkey PRIMARY KEY (user_id, ref)
);
COMMENT ON TABLE taskfeed.inbox_refs IS 'Which messages were sent, received ones too: a message that is sent again gets the same answer. Kept for a day, and as long as the message waits.';

CREATE INDEX inbox_refs_created_at ON taskfeed.inbox_refs (created_at);
COMMENT ON INDEX taskfeed.inbox_refs_created_at IS 'Finds refs that need not be kept any longer.';

CREATE INDEX inbox_refs_id ON taskfeed.inbox_refs (id);
COMMENT ON INDEX taskfeed.inbox_refs_id IS 'Lists the messages that were sent, newest first.';

CREATE INDEX inbox_refs_task_id ON taskfeed.inbox_refs (task_id, id) WHERE task_id IS NOT NULL;
COMMENT ON INDEX taskfeed.inbox_refs_task_id IS 'Lists the messages about a task.';

-- +goose StatementBegin
CREATE FUNCTION taskfeed.receive(of_topic text DEFAULT NULL, at_most integer DEFAULT 100)
RETURNS TABLE (id bigint, user_id text, ref text, topic text, task_id text, data jsonb, created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET row_security = off -- an error in place of a part of the rows
SET enable_seqscan = off -- the statistics may be of an empty table
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
    chosen bigint[];
BEGIN
    IF receive.at_most IS NULL OR receive.at_most NOT BETWEEN 1 AND 10000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'taskfeed: at_most must be from 1 to 10000';
    END IF;
    IF receive.of_topic IS NULL THEN
        chosen := ARRAY(SELECT i.id FROM taskfeed.inbox AS i ORDER BY i.id LIMIT receive.at_most FOR UPDATE SKIP LOCKED);
    ELSE
        chosen := ARRAY(SELECT i.id FROM taskfeed.inbox AS i WHERE i.topic = receive.of_topic ORDER BY i.id LIMIT receive.at_most FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN QUERY
    WITH taken AS (
        DELETE FROM taskfeed.inbox AS i
        WHERE i.id = ANY (chosen)
        RETURNING i.id, i.user_id, i.ref, i.topic, i.task_id, i.data, i.created_at
    )
    SELECT t.id, t.user_id, t.ref, t.topic, t.task_id, t.data, t.created_at
    FROM taken AS t
    ORDER BY t.id;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION taskfeed.receive(text, integer) IS 'Takes messages of users out of the inbox, those of one topic or of all, oldest first. They are gone when the transaction commits and back when it rolls back; meanwhile nobody else gets them.';
REVOKE ALL ON FUNCTION taskfeed.receive(text, integer) FROM PUBLIC;

SELECT taskfeed.restrict_rights();

-- +goose Down
DROP FUNCTION taskfeed.receive(text, integer);
DROP TABLE taskfeed.inbox_refs;
DROP TABLE taskfeed.inbox;
DROP SEQUENCE taskfeed.message_id;

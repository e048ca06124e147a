-- A page of a list of events: time_groups_many.

SELECT EXISTS (
    SELECT
    FROM (
        (SELECT walked.*
        FROM unnest(@users::text[]) WITH ORDINALITY AS users (owner, place)
        CROSS JOIN LATERAL (
            (SELECT id
            FROM taskfeed.events
            WHERE user_id = ANY (ARRAY[owner::text])
            ORDER BY user_id DESC, id DESC
            LIMIT @scan + 1)) AS walked)) AS walked
    OFFSET @scan);

-- Result
--   InitPlan 1 (returns $1)
--     ->  Limit
--           ->  Nested Loop
--                 ->  Function Scan on unnest users
--                 ->  Limit
--                       ->  Merge Append
--                             Sort Key: events.user_id DESC, events.id DESC
--                             ->  Index Only Scan Backward using events_0_user_id_id_idx on events_0 events_1
--                                   Index Cond: (user_id = ANY (ARRAY[users.owner]))
--                             ->  Index Only Scan Backward using events_default_user_id_id_idx on events_default events_2
--                                   Index Cond: (user_id = ANY (ARRAY[users.owner]))

SELECT id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, CASE WHEN fits THEN data END AS data, created_at, candidates, fits, ends
FROM (
    SELECT id, user_id, task_id, type, version, data, created_at, fits, ends, sum(size) OVER (ORDER BY created_at DESC, id DESC ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, task_id, type, version, data, created_at, fits, ends, CASE WHEN fits THEN least(pg_column_size(data) * CASE WHEN pg_column_compression(data) IS NULL THEN 1 ELSE 16 END, 262144) ELSE 0 END AS size
        FROM (
            (SELECT id, user_id, task_id, type, version, data, created_at, fits, ends
            FROM (
                SELECT id, user_id, task_id, type, version, data, created_at, (user_id = ANY (@users::text[])) IS TRUE AS fits, row_number() OVER (ORDER BY created_at DESC, id DESC) = @scan AS ends
                FROM (
                    (SELECT id, user_id, task_id, type, version, data, created_at
                    FROM taskfeed.events
                    WHERE (created_at, id) < (@at, @id)
                      AND created_at >= @from
                      AND created_at < @to
                    ORDER BY created_at DESC, id DESC
                    LIMIT @scan)) AS scanned) AS numbered
            WHERE fits OR ends
            ORDER BY created_at DESC, id DESC
            LIMIT @limit + 1)) AS walked
        ORDER BY created_at DESC, id DESC
        LIMIT @limit + 1) AS sized) AS summed
WHERE earlier < @bytes
ORDER BY created_at DESC, id DESC
LIMIT @limit;

-- Limit
--   ->  Subquery Scan on summed
--         Filter: (summed.earlier < '4194304'::bigint)
--         ->  WindowAgg
--               ->  WindowAgg
--                     ->  Subquery Scan on sized
--                           ->  Limit
--                                 ->  Subquery Scan on walked
--                                       ->  Limit
--                                             ->  Subquery Scan on numbered
--                                                   Filter: (numbered.fits OR numbered.ends)
--                                                   ->  WindowAgg
--                                                         ->  Subquery Scan on scanned
--                                                               ->  Limit
--                                                                     ->  Merge Append
--                                                                           Sort Key: events.created_at DESC, events.id DESC
--                                                                           ->  Index Scan Backward using events_0_created_at_id_idx on events_0 events_1
--                                                                                 Index Cond: ((ROW(created_at, id) < ROW('9999-01-01 00:00:00+00'::timestamp with time zone, '9007199254740992'::bigint)) AND (created_at >= '…'::timestamp with time zone) AND (created_at < '…'::timestamp with time zone))
--                                                                           ->  Index Scan Backward using events_default_created_at_id_idx on events_default events_2
--                                                                                 Index Cond: ((ROW(created_at, id) < ROW('9999-01-01 00:00:00+00'::timestamp with time zone, '9007199254740992'::bigint)) AND (created_at >= '…'::timestamp with time zone) AND (created_at < '…'::timestamp with time zone))

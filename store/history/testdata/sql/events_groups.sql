-- A page of a list of events: groups.

SELECT id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, CASE WHEN fits THEN data END AS data, created_at, candidates, fits, ends
FROM (
    SELECT id, user_id, task_id, type, version, data, created_at, fits, ends, sum(size) OVER (ORDER BY id DESC ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, task_id, type, version, data, created_at, fits, ends, CASE WHEN fits THEN least(pg_column_size(data) * CASE WHEN pg_column_compression(data) IS NULL THEN 1 ELSE 16 END, 262144) ELSE 0 END AS size
        FROM (
            (SELECT walked.*
            FROM unnest(@users::text[]) WITH ORDINALITY AS users (owner, place)
            CROSS JOIN LATERAL (
                (SELECT id, user_id, task_id, type, version, data, created_at, true AS fits, false AS ends
                FROM taskfeed.events
                WHERE user_id = ANY (ARRAY[owner::text])
                  AND id < @id
                ORDER BY user_id DESC, id DESC
                LIMIT @limit + 1)) AS walked)
            UNION ALL
            (SELECT id, user_id, task_id, type, version, data, created_at, true AS fits, false AS ends
            FROM taskfeed.events
            WHERE user_id IS NULL
              AND id < @id
            ORDER BY user_id DESC, id DESC
            LIMIT @limit + 1)) AS walked
        ORDER BY id DESC
        LIMIT @limit + 1) AS sized) AS summed
WHERE earlier < @bytes
ORDER BY id DESC
LIMIT @limit;

-- Limit
--   ->  Subquery Scan on summed
--         Filter: (summed.earlier < '4194304'::bigint)
--         ->  WindowAgg
--               ->  WindowAgg
--                     ->  Limit
--                           ->  Sort
--                                 Sort Key: events.id DESC
--                                 ->  Result
--                                       ->  Append
--                                             ->  Nested Loop
--                                                   ->  Function Scan on unnest users
--                                                   ->  Limit
--                                                         ->  Merge Append
--                                                               Sort Key: events.user_id DESC, events.id DESC
--                                                               ->  Index Scan Backward using events_0_user_id_id_idx on events_0 events_1
--                                                                     Index Cond: ((user_id = ANY (ARRAY[users.owner])) AND (id < '9007199254740992'::bigint))
--                                                               ->  Index Scan Backward using events_default_user_id_id_idx on events_default events_2
--                                                                     Index Cond: ((user_id = ANY (ARRAY[users.owner])) AND (id < '9007199254740992'::bigint))
--                                             ->  Limit
--                                                   ->  Merge Append
--                                                         Sort Key: events_3.user_id DESC, events_3.id DESC
--                                                         ->  Index Scan Backward using events_0_user_id_id_idx on events_0 events_4
--                                                               Index Cond: ((user_id IS NULL) AND (id < '9007199254740992'::bigint))
--                                                         ->  Index Scan Backward using events_default_user_id_id_idx on events_default events_5
--                                                               Index Cond: ((user_id IS NULL) AND (id < '9007199254740992'::bigint))

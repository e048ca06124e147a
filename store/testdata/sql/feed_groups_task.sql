-- A page of a feed: groups_task.

SELECT coalesce(min(id), 0)
FROM (
    (SELECT walked.*
    FROM unnest(@users::text[]) WITH ORDINALITY AS users (owner, place)
    CROSS JOIN LATERAL (
        (SELECT id
        FROM taskfeed.events
        WHERE task_id = ANY (ARRAY[@task_id::text])
          AND user_id = owner
          AND id > @after
        ORDER BY task_id, id
        OFFSET (@quotas::int[])[place]
        LIMIT 1)) AS walked)
    UNION ALL
    (SELECT id
    FROM taskfeed.events
    WHERE task_id = ANY (ARRAY[@task_id::text])
      AND user_id IS NULL
      AND id > @after
    ORDER BY task_id, user_id, id
    OFFSET @scan
    LIMIT 1)) AS ends;

-- Aggregate
--   ->  Append
--         ->  Nested Loop
--               ->  Function Scan on unnest users
--               ->  Limit
--                     ->  Merge Append
--                           Sort Key: events.task_id, events.id
--                           ->  Index Only Scan using events_0_task_id_user_id_id_idx on events_0 events_1
--                                 Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id = users.owner) AND (id > '100'::bigint))
--                           ->  Index Only Scan using events_1_task_id_user_id_id_idx on events_1 events_2
--                                 Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id = users.owner) AND (id > '100'::bigint))
--                           ->  Index Only Scan using events_default_task_id_user_id_id_idx on events_default events_3
--                                 Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id = users.owner) AND (id > '100'::bigint))
--         ->  Subquery Scan on "*SELECT* 2"
--               ->  Limit
--                     ->  Merge Append
--                           Sort Key: events_4.task_id, events_4.user_id, events_4.id
--                           ->  Index Only Scan using events_0_task_id_user_id_id_idx on events_0 events_5
--                                 Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id IS NULL) AND (id > '100'::bigint))
--                           ->  Index Only Scan using events_1_task_id_user_id_id_idx on events_1 events_6
--                                 Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id IS NULL) AND (id > '100'::bigint))
--                           ->  Index Only Scan using events_default_task_id_user_id_id_idx on events_default events_7
--                                 Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id IS NULL) AND (id > '100'::bigint))

SELECT id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, data, created_at, candidates
FROM (
    SELECT id, user_id, task_id, type, version, data, created_at, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, task_id, type, version, data, created_at, least(pg_column_size(data) * CASE WHEN pg_column_compression(data) IS NULL THEN 1 ELSE 16 END, 262144) AS size
        FROM (
            (SELECT walked.*
            FROM unnest(@users::text[]) WITH ORDINALITY AS users (owner, place)
            CROSS JOIN LATERAL (
                (SELECT id, user_id, task_id, type, version, data, created_at
                FROM taskfeed.events
                WHERE task_id = ANY (ARRAY[@task_id::text])
                  AND user_id = owner
                  AND id > @after
                  AND id <= @reach
                ORDER BY task_id, id
                LIMIT @limit)) AS walked)
            UNION ALL
            (SELECT id, user_id, task_id, type, version, data, created_at
            FROM taskfeed.events
            WHERE task_id = ANY (ARRAY[@task_id::text])
              AND user_id IS NULL
              AND id > @after
              AND id <= @reach
            ORDER BY task_id, user_id, id
            LIMIT @limit)) AS feed
        ORDER BY id
        LIMIT @limit) AS sized) AS summed
WHERE earlier < @bytes
ORDER BY id;

-- Subquery Scan on summed
--   Filter: (summed.earlier < '524288'::bigint)
--   ->  WindowAgg
--         ->  WindowAgg
--               ->  Limit
--                     ->  Sort
--                           Sort Key: events.id
--                           ->  Result
--                                 ->  Append
--                                       ->  Nested Loop
--                                             ->  Function Scan on unnest users
--                                             ->  Limit
--                                                   ->  Merge Append
--                                                         Sort Key: events.task_id, events.id
--                                                         ->  Index Scan using events_0_task_id_user_id_id_idx on events_0 events_1
--                                                               Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id = users.owner) AND (id > '100'::bigint) AND (id <= '9007199254740991'::bigint))
--                                                         ->  Index Scan using events_1_task_id_user_id_id_idx on events_1 events_2
--                                                               Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id = users.owner) AND (id > '100'::bigint) AND (id <= '9007199254740991'::bigint))
--                                                         ->  Index Scan using events_default_task_id_user_id_id_idx on events_default events_3
--                                                               Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id = users.owner) AND (id > '100'::bigint) AND (id <= '9007199254740991'::bigint))
--                                       ->  Limit
--                                             ->  Merge Append
--                                                   Sort Key: events_4.task_id, events_4.user_id, events_4.id
--                                                   ->  Index Scan using events_0_task_id_user_id_id_idx on events_0 events_5
--                                                         Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id IS NULL) AND (id > '100'::bigint) AND (id <= '9007199254740991'::bigint))
--                                                   ->  Index Scan using events_1_task_id_user_id_id_idx on events_1 events_6
--                                                         Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id IS NULL) AND (id > '100'::bigint) AND (id <= '9007199254740991'::bigint))
--                                                   ->  Index Scan using events_default_task_id_user_id_id_idx on events_default events_7
--                                                         Index Cond: ((task_id = ANY ('{task7}'::text[])) AND (user_id IS NULL) AND (id > '100'::bigint) AND (id <= '9007199254740991'::bigint))

SELECT expired_through
FROM taskfeed.log_state;

-- Seq Scan on log_state

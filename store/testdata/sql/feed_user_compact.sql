-- A page of a feed: user_compact.

WITH passed AS MATERIALIZED (
    (SELECT id, user_id, task_id, type
    FROM taskfeed.events
    WHERE user_id = ANY (ARRAY[@user_id::text])
      AND id > @after
    ORDER BY user_id, id
    LIMIT @scan)
    UNION ALL
    (SELECT id, user_id, task_id, type
    FROM taskfeed.events
    WHERE user_id IS NULL
      AND id > @after
    ORDER BY user_id, id
    LIMIT @scan)
), complete AS (
    SELECT coalesce(min(last), 0) AS through
    FROM (
        SELECT max(id) AS last
        FROM passed
        GROUP BY user_id
        HAVING count(*) >= @scan) AS ends
), wanted AS MATERIALIZED (
    SELECT id, user_id, task_id, type
    FROM passed
    WHERE (id <= (SELECT through FROM complete) OR (SELECT through FROM complete) = 0)
), last AS (
    SELECT max(id) FILTER (WHERE type = ANY (@states::text[])) AS state,
           max(id) FILTER (WHERE type = ANY (@progress::text[])) AS progress,
           max(id) FILTER (WHERE type = ANY (@stalled::text[])) AS stalled
    FROM wanted
    WHERE task_id IS NOT NULL
    GROUP BY user_id, task_id
), picked AS (
    SELECT id
    FROM wanted
    WHERE task_id IS NULL
       OR type <> ALL (@states::text[] || @progress::text[] || @stalled::text[])
    UNION ALL
    SELECT state FROM last WHERE state IS NOT NULL
    UNION ALL
    SELECT progress FROM last WHERE progress > coalesce(state, 0)
    UNION ALL
    SELECT stalled FROM last WHERE stalled > coalesce(greatest(state, progress), 0)
)
SELECT coalesce(id, 0) AS id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, coalesce(type, '') AS type,
       coalesce(version, 0) AS version, data, coalesce(created_at, '2000-01-01') AS created_at, coalesce(candidates, 0) AS candidates, through
FROM complete
LEFT JOIN (
    SELECT id, user_id, task_id, type, version, data, created_at, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT e.id, e.user_id, e.task_id, e.type, e.version, e.data, e.created_at, e.size
        FROM (
            SELECT id
            FROM picked
            ORDER BY id
            LIMIT @limit) AS p
        CROSS JOIN LATERAL (
            SELECT id, user_id, task_id, type, version, data, created_at, least(pg_column_size(data) * CASE WHEN pg_column_compression(data) IS NULL THEN 1 ELSE 16 END, 262144) AS size
            FROM taskfeed.events
            WHERE id BETWEEN p.id AND p.id
            ORDER BY id
            LIMIT 1) AS e) AS sized) AS summed ON earlier < @bytes
ORDER BY id;

-- Sort
--   Sort Key: (COALESCE(summed.id, '0'::bigint))
--   CTE passed
--     ->  Append
--           ->  Limit
--                 ->  Merge Append
--                       Sort Key: events_4.user_id, events_4.id
--                       ->  Index Scan using events_0_user_id_id_idx on events_0 events_5
--                             Index Cond: ((user_id = ANY ('{user7}'::text[])) AND (id > '100'::bigint))
--                       ->  Index Scan using events_1_user_id_id_idx on events_1 events_6
--                             Index Cond: ((user_id = ANY ('{user7}'::text[])) AND (id > '100'::bigint))
--                       ->  Index Scan using events_default_user_id_id_idx on events_default events_7
--                             Index Cond: ((user_id = ANY ('{user7}'::text[])) AND (id > '100'::bigint))
--           ->  Limit
--                 ->  Merge Append
--                       Sort Key: events_8.user_id, events_8.id
--                       ->  Index Scan using events_0_user_id_id_idx on events_0 events_9
--                             Index Cond: ((user_id IS NULL) AND (id > '100'::bigint))
--                       ->  Index Scan using events_1_user_id_id_idx on events_1 events_10
--                             Index Cond: ((user_id IS NULL) AND (id > '100'::bigint))
--                       ->  Index Scan using events_default_user_id_id_idx on events_default events_11
--                             Index Cond: ((user_id IS NULL) AND (id > '100'::bigint))
--   CTE complete
--     ->  Aggregate
--           ->  HashAggregate
--                 Group Key: passed.user_id
--                 Filter: (count(*) >= '20000'::bigint)
--                 ->  CTE Scan on passed
--   CTE wanted
--     ->  CTE Scan on passed passed_1
--           Filter: ((id <= $2) OR ($3 = 0))
--           InitPlan 3 (returns $2)
--             ->  CTE Scan on complete complete_1
--           InitPlan 4 (returns $3)
--             ->  CTE Scan on complete complete_2
--   CTE last
--     ->  HashAggregate
--           Group Key: wanted_1.user_id, wanted_1.task_id
--           ->  CTE Scan on wanted wanted_1
--                 Filter: (task_id IS NOT NULL)
--   ->  Nested Loop Left Join
--         ->  CTE Scan on complete
--         ->  Subquery Scan on summed
--               Filter: (summed.earlier < '524288'::bigint)
--               ->  WindowAgg
--                     ->  WindowAgg
--                           ->  Sort
--                                 Sort Key: events.id
--                                 ->  Nested Loop
--                                       ->  Limit
--                                             ->  Sort
--                                                   Sort Key: wanted.id
--                                                   ->  Append
--                                                         ->  CTE Scan on wanted
--                                                               Filter: ((task_id IS NULL) OR (type <> ALL ('{task_queued,task_started,task_completed,task_failed,task_canceled,task_deleted,task_progress,task_stalled}'::text[])))
--                                                         ->  CTE Scan on last
--                                                               Filter: (state IS NOT NULL)
--                                                         ->  CTE Scan on last last_1
--                                                               Filter: (progress > COALESCE(state, '0'::bigint))
--                                                         ->  CTE Scan on last last_2
--                                                               Filter: (stalled > COALESCE(GREATEST(state, progress), '0'::bigint))
--                                       ->  Limit
--                                             ->  Merge Append
--                                                   Sort Key: events.id
--                                                   ->  Index Scan using events_0_pkey on events_0 events_1
--                                                         Index Cond: ((id >= wanted.id) AND (id <= wanted.id))
--                                                   ->  Index Scan using events_1_pkey on events_1 events_2
--                                                         Index Cond: ((id >= wanted.id) AND (id <= wanted.id))
--                                                   ->  Index Scan using events_default_pkey on events_default events_3
--                                                         Index Cond: ((id >= wanted.id) AND (id <= wanted.id))

SELECT expired_through
FROM taskfeed.log_state;

-- Seq Scan on log_state

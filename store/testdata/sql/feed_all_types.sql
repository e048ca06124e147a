-- A page of a feed: all_types.

SELECT coalesce(min(id), 0)
FROM (
    (SELECT id
    FROM taskfeed.events
    WHERE id > @after
    ORDER BY id
    OFFSET @scan
    LIMIT 1)) AS ends;

-- Aggregate
--   ->  Limit
--         ->  Merge Append
--               Sort Key: events.id
--               ->  Index Only Scan using events_0_pkey on events_0 events_1
--                     Index Cond: (id > '100'::bigint)
--               ->  Index Only Scan using events_1_pkey on events_1 events_2
--                     Index Cond: (id > '100'::bigint)
--               ->  Index Only Scan using events_default_pkey on events_default events_3
--                     Index Cond: (id > '100'::bigint)

SELECT id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, data, created_at, candidates
FROM (
    SELECT id, user_id, task_id, type, version, data, created_at, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, task_id, type, version, data, created_at, least(pg_column_size(data) * CASE WHEN pg_column_compression(data) IS NULL THEN 1 ELSE 16 END, 262144) AS size
        FROM (
            (SELECT id, user_id, task_id, type, version, data, created_at
            FROM taskfeed.events
            WHERE id > @after
              AND type = ANY (@types::text[])
              AND id <= @reach
            ORDER BY id
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
--                     ->  Subquery Scan on feed
--                           ->  Limit
--                                 ->  Index Scan using events_0_pkey on events_0 events
--                                       Index Cond: ((id > '100'::bigint) AND (id <= '5100'::bigint))
--                                       Filter: (type = ANY ('{task_queued,feed_reset}'::text[]))

SELECT expired_through
FROM taskfeed.log_state;

-- Seq Scan on log_state

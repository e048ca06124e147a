-- The timeline of a task: its summary, and a page of its events.

WITH told AS (
    SELECT id, type, created_at,
        type = 'task_deleted' AND lead(version) OVER (ORDER BY id) IS NOT DISTINCT FROM version AS handed_over
    FROM taskfeed.events
    WHERE task_id = @task_id
      AND (@everybody OR user_id = ANY (@users::text[]))
), steps AS (
    SELECT type, created_at,
        lag(type) OVER (ORDER BY id) AS before,
        lead(created_at) OVER (ORDER BY id) AS until
    FROM told
    WHERE type NOT IN ('task_progress', 'task_stalled')
      AND NOT handed_over
), present AS (
    SELECT EXISTS (SELECT FROM taskfeed.tasks WHERE id = @task_id AND (@everybody OR user_id = ANY (@users::text[]))) AS there
), spent AS (
    SELECT type, before,
        greatest(extract(epoch FROM coalesce(until, CASE WHEN there THEN clock_timestamp() ELSE created_at END) - created_at), 0) AS seconds
    FROM steps
    CROSS JOIN present
)
SELECT (SELECT there FROM present),
    (SELECT count(*) FROM told),
    (SELECT count(*) FROM told WHERE type = 'task_progress'),
    (SELECT min(created_at) FROM told),
    (SELECT max(created_at) FROM told),
    count(*) FILTER (WHERE type = 'task_started' AND before IS DISTINCT FROM type),
    coalesce(sum(seconds * 1000000) FILTER (WHERE type = 'task_queued'), 0)::bigint,
    coalesce(sum(seconds * 1000000) FILTER (WHERE type = 'task_started'), 0)::bigint
FROM spent;

-- Aggregate
--   CTE told
--     ->  WindowAgg
--           ->  Sort
--                 Sort Key: events.id
--                 ->  Append
--                       ->  Bitmap Heap Scan on events_0 events_1
--                             Recheck Cond: (task_id = 'short'::text)
--                             ->  Bitmap Index Scan on events_0_task_id_user_id_id_idx
--                                   Index Cond: (task_id = 'short'::text)
--                       ->  Seq Scan on events_default events_2
--                             Filter: (task_id = 'short'::text)
--   CTE present
--     ->  Result
--           InitPlan 2 (returns $1)
--             ->  Index Only Scan using tasks_pkey on tasks
--                   Index Cond: (id = 'short'::text)
--   CTE spent
--     ->  Nested Loop
--           ->  CTE Scan on present
--           ->  WindowAgg
--                 ->  Sort
--                       Sort Key: told.id
--                       ->  CTE Scan on told
--                             Filter: ((NOT handed_over) AND (type <> ALL ('{task_progress,task_stalled}'::text[])))
--   InitPlan 5 (returns $4)
--     ->  CTE Scan on present present_1
--   InitPlan 6 (returns $5)
--     ->  Aggregate
--           ->  CTE Scan on told told_1
--   InitPlan 7 (returns $6)
--     ->  Aggregate
--           ->  CTE Scan on told told_2
--                 Filter: (type = 'task_progress'::text)
--   InitPlan 8 (returns $7)
--     ->  Aggregate
--           ->  CTE Scan on told told_3
--   InitPlan 9 (returns $8)
--     ->  Aggregate
--           ->  CTE Scan on told told_4
--   ->  CTE Scan on spent

SELECT id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, CASE WHEN fits THEN data END AS data, created_at, candidates, fits, ends
FROM (
    SELECT id, user_id, task_id, type, version, data, created_at, fits, ends, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, task_id, type, version, data, created_at, fits, ends, CASE WHEN fits THEN least(pg_column_size(data) * CASE WHEN pg_column_compression(data) IS NULL THEN 1 ELSE 16 END, 262144) ELSE 0 END AS size
        FROM (
            (SELECT walked.*
            FROM (
                WITH RECURSIVE owners AS (
                    (SELECT user_id AS owner
                    FROM taskfeed.events
                    WHERE task_id = ANY (ARRAY[@task_id::text])
                      AND user_id IS NOT NULL
                    ORDER BY task_id, user_id
                    LIMIT 1)
                    UNION ALL
                    SELECT (
                        SELECT user_id
                        FROM taskfeed.events
                        WHERE task_id = ANY (ARRAY[@task_id::text])
                          AND user_id > owner
                        ORDER BY task_id, user_id
                        LIMIT 1)
                    FROM owners
                    WHERE owner IS NOT NULL)
                SELECT owner
                FROM owners) AS owners
            CROSS JOIN LATERAL (
                (SELECT id, user_id, task_id, type, version, data, created_at, true AS fits, false AS ends
                FROM taskfeed.events
                WHERE task_id = ANY (ARRAY[@task_id::text])
                  AND user_id = owner
                  AND id > @id
                ORDER BY task_id, id
                LIMIT @limit + 1)) AS walked)
            UNION ALL
            (SELECT id, user_id, task_id, type, version, data, created_at, true AS fits, false AS ends
            FROM taskfeed.events
            WHERE task_id = ANY (ARRAY[@task_id::text])
              AND user_id IS NULL
              AND id > @id
            ORDER BY task_id, user_id, id
            LIMIT @limit + 1)) AS walked
        ORDER BY id
        LIMIT @limit + 1) AS sized) AS summed
WHERE earlier < @bytes
ORDER BY id
LIMIT @limit;

-- Limit
--   ->  Subquery Scan on summed
--         Filter: (summed.earlier < '4194304'::bigint)
--         ->  WindowAgg
--               ->  WindowAgg
--                     ->  Limit
--                           ->  Sort
--                                 Sort Key: events.id
--                                 ->  Result
--                                       ->  Append
--                                             ->  Nested Loop
--                                                   ->  CTE Scan on owners
--                                                         CTE owners
--                                                           ->  Recursive Union
--                                                                 ->  Subquery Scan on "*SELECT* 1"
--                                                                       ->  Limit
--                                                                             ->  Merge Append
--                                                                                   Sort Key: events_6.task_id, events_6.user_id
--                                                                                   ->  Index Only Scan using events_0_task_id_user_id_id_idx on events_0 events_7
--                                                                                         Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NOT NULL))
--                                                                                   ->  Index Only Scan using events_default_task_id_user_id_id_idx on events_default events_8
--                                                                                         Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NOT NULL))
--                                                                 ->  WorkTable Scan on owners owners_1
--                                                                       Filter: (owner IS NOT NULL)
--                                                   ->  Limit
--                                                         ->  Merge Append
--                                                               Sort Key: events.task_id, events.id
--                                                               ->  Index Scan using events_0_task_id_user_id_id_idx on events_0 events_1
--                                                                     Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id = owners.owner) AND (id > '0'::bigint))
--                                                               ->  Index Scan using events_default_task_id_user_id_id_idx on events_default events_2
--                                                                     Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id = owners.owner) AND (id > '0'::bigint))
--                                             ->  Limit
--                                                   ->  Merge Append
--                                                         Sort Key: events_3.task_id, events_3.user_id, events_3.id
--                                                         ->  Index Scan using events_0_task_id_user_id_id_idx on events_0 events_4
--                                                               Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NULL) AND (id > '0'::bigint))
--                                                         ->  Index Scan using events_default_task_id_user_id_id_idx on events_default events_5
--                                                               Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NULL) AND (id > '0'::bigint))

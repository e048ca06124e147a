-- A page of a list of events: time_task_few.

SELECT EXISTS (
    SELECT
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
            (SELECT id
            FROM taskfeed.events
            WHERE task_id = ANY (ARRAY[@task_id::text])
              AND user_id = owner
            ORDER BY task_id DESC, id DESC
            LIMIT @scan + 1)) AS walked)) AS walked
    OFFSET @scan) OR EXISTS (
    SELECT
    FROM (
        (SELECT id
        FROM taskfeed.events
        WHERE task_id = ANY (ARRAY[@task_id::text])
          AND user_id IS NULL
        ORDER BY task_id DESC, user_id DESC, id DESC
        LIMIT @scan + 1)) AS walked
    OFFSET @scan);

-- Result
--   InitPlan 3 (returns $4)
--     ->  Limit
--           ->  Nested Loop
--                 ->  CTE Scan on owners owners_1
--                       CTE owners
--                         ->  Recursive Union
--                               ->  Subquery Scan on "*SELECT* 1"
--                                     ->  Limit
--                                           ->  Merge Append
--                                                 Sort Key: events.task_id, events.user_id
--                                                 ->  Index Only Scan using events_0_task_id_user_id_id_idx on events_0 events_1
--                                                       Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NOT NULL))
--                                                 ->  Index Only Scan using events_default_task_id_user_id_id_idx on events_default events_2
--                                                       Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NOT NULL))
--                               ->  WorkTable Scan on owners
--                                     Filter: (owner IS NOT NULL)
--                 ->  Limit
--                       ->  Merge Append
--                             Sort Key: events_3.task_id DESC, events_3.id DESC
--                             ->  Index Only Scan Backward using events_0_task_id_user_id_id_idx on events_0 events_4
--                                   Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id = owners_1.owner))
--                             ->  Index Only Scan Backward using events_default_task_id_user_id_id_idx on events_default events_5
--                                   Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id = owners_1.owner))
--   InitPlan 4 (returns $5)
--     ->  Limit
--           ->  Subquery Scan on walked
--                 ->  Limit
--                       ->  Merge Append
--                             Sort Key: events_6.task_id DESC, events_6.user_id DESC, events_6.id DESC
--                             ->  Index Only Scan Backward using events_0_task_id_user_id_id_idx on events_0 events_7
--                                   Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NULL))
--                             ->  Index Only Scan Backward using events_default_task_id_user_id_id_idx on events_default events_8
--                                   Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NULL))

SELECT id, coalesce(user_id, '') AS user_id, coalesce(task_id, '') AS task_id, type, coalesce(version, 0) AS version, CASE WHEN fits THEN data END AS data, created_at, candidates, fits, ends
FROM (
    SELECT id, user_id, task_id, type, version, data, created_at, fits, ends, sum(size) OVER (ORDER BY created_at DESC, id DESC ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
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
                FROM (
                    (SELECT id, user_id, task_id, type, version, data, created_at
                    FROM taskfeed.events
                    WHERE task_id = ANY (ARRAY[@task_id::text])
                      AND user_id = owner
                    ORDER BY task_id DESC, id DESC
                    LIMIT @scan)) AS scanned
                WHERE (created_at, id) < (@at, @id)
                  AND created_at >= @from
                  AND created_at < @to
                ORDER BY created_at DESC, id DESC
                LIMIT @limit + 1)) AS walked)
            UNION ALL
            (SELECT id, user_id, task_id, type, version, data, created_at, true AS fits, false AS ends
            FROM (
                (SELECT id, user_id, task_id, type, version, data, created_at
                FROM taskfeed.events
                WHERE task_id = ANY (ARRAY[@task_id::text])
                  AND user_id IS NULL
                ORDER BY task_id DESC, user_id DESC, id DESC
                LIMIT @scan)) AS scanned
            WHERE (created_at, id) < (@at, @id)
              AND created_at >= @from
              AND created_at < @to
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
--                                 ->  Sort
--                                       Sort Key: scanned.created_at DESC, scanned.id DESC
--                                       ->  Result
--                                             ->  Append
--                                                   ->  Nested Loop
--                                                         ->  CTE Scan on owners
--                                                               CTE owners
--                                                                 ->  Recursive Union
--                                                                       ->  Subquery Scan on "*SELECT* 1"
--                                                                             ->  Limit
--                                                                                   ->  Merge Append
--                                                                                         Sort Key: events_6.task_id, events_6.user_id
--                                                                                         ->  Index Only Scan using events_0_task_id_user_id_id_idx on events_0 events_7
--                                                                                               Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NOT NULL))
--                                                                                         ->  Index Only Scan using events_default_task_id_user_id_id_idx on events_default events_8
--                                                                                               Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NOT NULL))
--                                                                       ->  WorkTable Scan on owners owners_1
--                                                                             Filter: (owner IS NOT NULL)
--                                                         ->  Limit
--                                                               ->  Sort
--                                                                     Sort Key: scanned.created_at DESC, scanned.id DESC
--                                                                     ->  Subquery Scan on scanned
--                                                                           Filter: ((scanned.created_at >= '…'::timestamp with time zone) AND (scanned.created_at < '…'::timestamp with time zone) AND (ROW(scanned.created_at, scanned.id) < ROW('9999-01-01 00:00:00+00'::timestamp with time zone, '9007199254740992'::bigint)))
--                                                                           ->  Limit
--                                                                                 ->  Merge Append
--                                                                                       Sort Key: events.task_id DESC, events.id DESC
--                                                                                       ->  Index Scan Backward using events_0_task_id_user_id_id_idx on events_0 events_1
--                                                                                             Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id = owners.owner))
--                                                                                       ->  Index Scan Backward using events_default_task_id_user_id_id_idx on events_default events_2
--                                                                                             Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id = owners.owner))
--                                                   ->  Limit
--                                                         ->  Sort
--                                                               Sort Key: scanned_1.created_at DESC, scanned_1.id DESC
--                                                               ->  Subquery Scan on scanned_1
--                                                                     Filter: ((scanned_1.created_at >= '…'::timestamp with time zone) AND (scanned_1.created_at < '…'::timestamp with time zone) AND (ROW(scanned_1.created_at, scanned_1.id) < ROW('9999-01-01 00:00:00+00'::timestamp with time zone, '9007199254740992'::bigint)))
--                                                                     ->  Limit
--                                                                           ->  Merge Append
--                                                                                 Sort Key: events_3.task_id DESC, events_3.user_id DESC, events_3.id DESC
--                                                                                 ->  Index Scan Backward using events_0_task_id_user_id_id_idx on events_0 events_4
--                                                                                       Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NULL))
--                                                                                 ->  Index Scan Backward using events_default_task_id_user_id_id_idx on events_default events_5
--                                                                                       Index Cond: ((task_id = ANY ('{short}'::text[])) AND (user_id IS NULL))

-- A page of a list of tasks: groups.

SELECT id, user_id, coalesce(kind, '') AS kind, status, progress,
    CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN coalesce(message, '') ELSE '' END AS message,
    CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN coalesce(result, NULL) ELSE NULL END AS result,
    CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN coalesce(error, '') ELSE '' END AS error,
    version, created_at, updated_at,
    array_remove(ARRAY[
        CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN NULL ELSE 'message' END,
        CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN NULL ELSE 'result' END,
        CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN NULL ELSE 'error' END], NULL) AS truncated,
    coalesce(source, '') AS source, candidates, fits, ends
FROM (
    SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, fits, ends, sum(size) OVER (ORDER BY created_at DESC, id DESC ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, fits, ends, CASE WHEN fits THEN least(coalesce(pg_column_size(message) * CASE WHEN pg_column_compression(message) IS NULL THEN 1 ELSE 16 END, 0), 1048576) + least(coalesce(pg_column_size(result) * CASE WHEN pg_column_compression(result) IS NULL THEN 1 ELSE 16 END, 0), 1048576) + least(coalesce(pg_column_size(error) * CASE WHEN pg_column_compression(error) IS NULL THEN 1 ELSE 16 END, 0), 1048576) ELSE 0 END AS size
        FROM (
            (SELECT walked.*
            FROM unnest(@users::text[]) WITH ORDINALITY AS users (owner, place)
            CROSS JOIN LATERAL (
                (SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, true AS fits, false AS ends
                FROM taskfeed.tasks
                WHERE user_id = ANY (ARRAY[owner::text])
                  AND (created_at, id) < (@at, @key)
                ORDER BY user_id DESC, created_at DESC, id DESC
                LIMIT @limit + 1)) AS walked)) AS walked
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
--                                 ->  Result
--                                       ->  Sort
--                                             Sort Key: tasks.created_at DESC, tasks.id DESC
--                                             ->  Nested Loop
--                                                   ->  Function Scan on unnest users
--                                                   ->  Limit
--                                                         ->  Sort
--                                                               Sort Key: tasks.user_id DESC, tasks.created_at DESC, tasks.id DESC
--                                                               ->  Bitmap Heap Scan on tasks
--                                                                     Recheck Cond: ((user_id = ANY (ARRAY[users.owner])) AND (ROW(created_at, id) < ROW('9999-01-01 00:00:00+00'::timestamp with time zone, ''::text)))
--                                                                     ->  Bitmap Index Scan on tasks_user_id_created_at_id
--                                                                           Index Cond: ((user_id = ANY (ARRAY[users.owner])) AND (ROW(created_at, id) < ROW('9999-01-01 00:00:00+00'::timestamp with time zone, ''::text)))

SELECT greatest(expired_through, (
    SELECT id
    FROM taskfeed.events
    ORDER BY id DESC
    LIMIT 1))
FROM taskfeed.log_state;

-- Seq Scan on log_state
--   InitPlan 1 (returns $0)
--     ->  Limit
--           ->  Merge Append
--                 Sort Key: events.id DESC
--                 ->  Index Only Scan Backward using events_0_pkey on events_0 events_1
--                 ->  Index Only Scan Backward using events_default_pkey on events_default events_2

-- Tasks that run without a change.

SELECT clock_timestamp();

-- Result

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
    SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, fits, ends, sum(size) OVER (ORDER BY updated_hour, updated_at, id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, fits, ends, CASE WHEN fits THEN least(coalesce(pg_column_size(message) * CASE WHEN pg_column_compression(message) IS NULL THEN 1 ELSE 16 END, 0), 1048576) + least(coalesce(pg_column_size(result) * CASE WHEN pg_column_compression(result) IS NULL THEN 1 ELSE 16 END, 0), 1048576) + least(coalesce(pg_column_size(error) * CASE WHEN pg_column_compression(error) IS NULL THEN 1 ELSE 16 END, 0), 1048576) ELSE 0 END AS size
        FROM (
            (SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, true AS fits, false AS ends
            FROM taskfeed.tasks
            WHERE status = ANY (ARRAY[@status_0::text])
              AND updated_at < @updated_to
              AND updated_hour <= taskfeed.hour_of(@updated_to)
              AND updated_hour >= taskfeed.hour_of(@at)
              AND NOT (updated_hour = taskfeed.hour_of(@at) AND (updated_at, id) <= (@at, @key))
            ORDER BY status, updated_hour, updated_at, id
            LIMIT @limit + 1)) AS walked
        ORDER BY updated_hour, updated_at, id
        LIMIT @limit + 1) AS sized) AS summed
WHERE earlier < @bytes
ORDER BY updated_hour, updated_at, id
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
--                                             Sort Key: tasks.updated_hour, tasks.updated_at, tasks.id
--                                             ->  Limit
--                                                   ->  Incremental Sort
--                                                         Sort Key: tasks.status, tasks.updated_hour, tasks.updated_at, tasks.id
--                                                         Presorted Key: tasks.status, tasks.updated_hour
--                                                         ->  Index Scan using tasks_status_updated_hour on tasks
--                                                               Index Cond: ((status = ANY ('{running}'::text[])) AND (updated_hour <= '…'::timestamp with time zone) AND (updated_hour >= '0001-01-01 00:00:00+00'::timestamp with time zone))
--                                                               Filter: ((updated_at < '…'::timestamp with time zone) AND ((updated_hour <> '0001-01-01 00:00:00+00'::timestamp with time zone) OR (NOT (ROW(updated_at, id) <= ROW('0001-01-01 00:00:00+00'::timestamp with time zone, ''::text)))))

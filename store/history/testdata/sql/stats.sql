-- Statistics: the counts of tasks, the events of the last hour, the oldest running task.

SELECT status, coalesce(kind, ''), coalesce(source, ''), count(*)
FROM taskfeed.tasks
GROUP BY status, kind, source
ORDER BY array_position(@statuses::text[], status), count(*) DESC, kind, source
LIMIT @limit;

-- Limit
--   ->  Sort
--         Sort Key: (array_position('{queued,running,completed,failed,canceled}'::text[], status)), (count(*)) DESC, kind, source
--         ->  HashAggregate
--               Group Key: status, kind, source
--               ->  Seq Scan on tasks

SELECT minute, coalesce(count, 0)
FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()), '1 minute') AS minute
LEFT JOIN (
    SELECT date_trunc('minute', created_at) AS minute, count(*) AS count
    FROM taskfeed.events
    WHERE created_at >= date_trunc('minute', now()) - interval '59 minutes'
    GROUP BY 1) AS counted USING (minute)
ORDER BY minute
LIMIT 60;

-- Limit
--   ->  Merge Left Join
--         Merge Cond: (minute.minute = counted.minute)
--         ->  Sort
--               Sort Key: minute.minute
--               ->  Function Scan on generate_series minute
--         ->  Sort
--               Sort Key: counted.minute
--               ->  Subquery Scan on counted
--                     ->  HashAggregate
--                           Group Key: (date_trunc('minute'::text, events.created_at))
--                           ->  Append
--                                 ->  Index Only Scan using events_0_created_at_id_idx on events_0 events_1
--                                       Index Cond: (created_at >= (date_trunc('minute'::text, now()) - '00:59:00'::interval))
--                                 ->  Seq Scan on events_default events_2
--                                       Filter: (created_at >= (date_trunc('minute'::text, now()) - '00:59:00'::interval))

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
    SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, fits, ends, sum(size) OVER (ORDER BY created_at, id ROWS UNBOUNDED PRECEDING) - size AS earlier, count(*) OVER () AS candidates
    FROM (
        SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, fits, ends, CASE WHEN fits THEN least(coalesce(pg_column_size(message) * CASE WHEN pg_column_compression(message) IS NULL THEN 1 ELSE 16 END, 0), 1048576) + least(coalesce(pg_column_size(result) * CASE WHEN pg_column_compression(result) IS NULL THEN 1 ELSE 16 END, 0), 1048576) + least(coalesce(pg_column_size(error) * CASE WHEN pg_column_compression(error) IS NULL THEN 1 ELSE 16 END, 0), 1048576) ELSE 0 END AS size
        FROM (
            (SELECT id, user_id, kind, status, progress, message, result, error, version, created_at, updated_at, source, updated_hour, true AS fits, false AS ends
            FROM taskfeed.tasks
            WHERE status = ANY (ARRAY[@status_0::text])
              AND (created_at, id) > (@at, @key)
            ORDER BY status, created_at, id
            LIMIT @limit + 1)) AS walked
        ORDER BY created_at, id
        LIMIT @limit + 1) AS sized) AS summed
WHERE earlier < @bytes
ORDER BY created_at, id
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
--                                             Sort Key: tasks.created_at, tasks.id
--                                             ->  Limit
--                                                   ->  Index Scan using tasks_status_created_at_id on tasks
--                                                         Index Cond: ((status = ANY ('{running}'::text[])) AND (ROW(created_at, id) > ROW('0001-01-01 00:00:00+00'::timestamp with time zone, ''::text)))

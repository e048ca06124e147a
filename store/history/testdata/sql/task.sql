-- One task, and one that has to be the user's own.

SELECT id, user_id, coalesce(kind, '') AS kind, status, progress,
    CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN coalesce(message, '') ELSE '' END AS message,
    CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN coalesce(result, NULL) ELSE NULL END AS result,
    CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN coalesce(error, '') ELSE '' END AS error,
    version, created_at, updated_at,
    array_remove(ARRAY[
        CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN NULL ELSE 'message' END,
        CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN NULL ELSE 'result' END,
        CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN NULL ELSE 'error' END], NULL) AS truncated,
    coalesce(source, '') AS source,
    ARRAY[
        CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN NULL ELSE hashtextextended(message::text, 0) END,
        CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN NULL ELSE hashtextextended(result::text, 0) END,
        CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN NULL ELSE hashtextextended(error::text, 0) END] AS marks
FROM taskfeed.tasks
WHERE id = @id;

-- Index Scan using tasks_pkey on tasks
--   Index Cond: (id = 't7'::text)

SELECT id, user_id, coalesce(kind, '') AS kind, status, progress,
    CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN coalesce(message, '') ELSE '' END AS message,
    CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN coalesce(result, NULL) ELSE NULL END AS result,
    CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN coalesce(error, '') ELSE '' END AS error,
    version, created_at, updated_at,
    array_remove(ARRAY[
        CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN NULL ELSE 'message' END,
        CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN NULL ELSE 'result' END,
        CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN NULL ELSE 'error' END], NULL) AS truncated,
    coalesce(source, '') AS source,
    ARRAY[
        CASE WHEN pg_column_compression(message) IS NULL AND coalesce(pg_column_size(message), 0) <= 131072 OR pg_column_size(message) <= 1048576 AND octet_length(message::text) <= 1048576 THEN NULL ELSE hashtextextended(message::text, 0) END,
        CASE WHEN pg_column_compression(result) IS NULL AND coalesce(pg_column_size(result), 0) <= 131072 OR pg_column_size(result) <= 1048576 AND octet_length(result::text) <= 1048576 THEN NULL ELSE hashtextextended(result::text, 0) END,
        CASE WHEN pg_column_compression(error) IS NULL AND coalesce(pg_column_size(error), 0) <= 131072 OR pg_column_size(error) <= 1048576 AND octet_length(error::text) <= 1048576 THEN NULL ELSE hashtextextended(error::text, 0) END] AS marks
FROM taskfeed.tasks
WHERE id = @id
  AND user_id = ANY (@users::text[]);

-- Index Scan using tasks_pkey on tasks
--   Index Cond: (id = 't7'::text)
--   Filter: (user_id = ANY ('{u7}'::text[]))

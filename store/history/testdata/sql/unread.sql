-- What is unread beyond a mark: unread.

SELECT coalesce((SELECT through FROM taskfeed.read_marks WHERE user_id = @reader), 0);

-- Result
--   InitPlan 1 (returns $0)
--     ->  Index Scan using read_marks_pkey on read_marks
--           Index Cond: (user_id = 'alice'::text)

SELECT type, count(*), bool_or(ends)
FROM (
    (SELECT type, row_number() OVER () = @scan AS ends
    FROM (SELECT user_id, id, type
    FROM taskfeed.events
    WHERE user_id = ANY (ARRAY[@user_id::text])
      AND id > @mark
      AND id <= @through
    ORDER BY user_id, id
    LIMIT @scan) AS scanned)
    UNION ALL
    (SELECT type, row_number() OVER () = @scan AS ends
    FROM (SELECT user_id, id, type
    FROM taskfeed.events
    WHERE user_id IS NULL
      AND id > @mark
      AND id <= @through
    ORDER BY user_id, id
    LIMIT @scan) AS scanned)) AS unread
GROUP BY type;

-- HashAggregate
--   Group Key: scanned.type
--   ->  Append
--         ->  WindowAgg
--               ->  Subquery Scan on scanned
--                     ->  Limit
--                           ->  Index Scan using events_0_user_id_id_idx on events_0 events
--                                 Index Cond: ((user_id = ANY ('{alice}'::text[])) AND (id > '0'::bigint) AND (id <= '119000'::bigint))
--         ->  WindowAgg
--               ->  Subquery Scan on scanned_1
--                     ->  Limit
--                           ->  Index Scan using events_0_user_id_id_idx on events_0 events_1
--                                 Index Cond: ((user_id IS NULL) AND (id > '0'::bigint) AND (id <= '119000'::bigint))

-- What is unread beyond a mark: unread_groups.

SELECT coalesce((SELECT through FROM taskfeed.read_marks WHERE user_id = @reader), 0);

-- Result
--   InitPlan 1 (returns $0)
--     ->  Index Scan using read_marks_pkey on read_marks
--           Index Cond: (user_id = 'alice'::text)

SELECT type, count(*), bool_or(ends)
FROM (
    (SELECT walked.*
    FROM unnest(@users::text[]) WITH ORDINALITY AS users (owner, place)
    CROSS JOIN LATERAL (
        (SELECT type, row_number() OVER () = @scan AS ends
        FROM (SELECT user_id, id, type
        FROM taskfeed.events
        WHERE user_id = ANY (ARRAY[owner::text])
          AND id > @mark
          AND id <= @through
        ORDER BY user_id, id
        LIMIT @scan) AS scanned)) AS walked)
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
--         ->  Nested Loop
--               ->  Function Scan on unnest users
--               ->  WindowAgg
--                     ->  Subquery Scan on scanned
--                           ->  Limit
--                                 ->  Index Scan using events_0_user_id_id_idx on events_0 events
--                                       Index Cond: ((user_id = ANY (ARRAY[users.owner])) AND (id > '0'::bigint) AND (id <= '119000'::bigint))
--         ->  WindowAgg
--               ->  Subquery Scan on scanned_1
--                     ->  Limit
--                           ->  Index Scan using events_0_user_id_id_idx on events_0 events_1
--                                 Index Cond: ((user_id IS NULL) AND (id > '0'::bigint) AND (id <= '119000'::bigint))

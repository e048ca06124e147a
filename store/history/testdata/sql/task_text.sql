-- A piece of a large field.

SELECT CASE WHEN octet_length(piece) > @bytes THEN substring(piece FROM 1 FOR @chars / 4) ELSE piece END,
    char_length(whole)
FROM taskfeed.tasks AS t
CROSS JOIN LATERAL (SELECT t."result"::text AS whole OFFSET 0) AS made
CROSS JOIN LATERAL (SELECT substring(whole FROM @at::integer FOR @chars::integer) AS piece OFFSET 0) AS cut
WHERE t.id = @id
  AND t.user_id = @user_id
  AND hashtextextended(whole, 0) = @mark;

-- Nested Loop
--   ->  Nested Loop
--         ->  Index Scan using tasks_pkey on tasks t
--               Index Cond: (id = 't7'::text)
--               Filter: (user_id = 'u7'::text)
--         ->  Subquery Scan on made
--               Filter: (hashtextextended(made.whole, '0'::bigint) = '0'::bigint)
--               ->  Result
--   ->  Result

-- The state of all campaigns that are not deleted, a statement per gauge.

-- name: reviews
SELECT uid, state, COUNT(*) AS items FROM review GROUP BY uid, state;

-- name: oldest_open
-- When the draw, or in streaming mode the block, was made that chose the item which waits the longest.
SELECT r.uid, MIN(COALESCE(b.created_at, d.created_at)) AS chosen_at
FROM review r
JOIN draw d ON d.uid = r.uid AND d.draw = r.draw
LEFT JOIN decision c ON c.uid = r.uid AND c.item_id = r.item_id AND c.draw = r.draw AND c.block > 0
LEFT JOIN block b ON b.uid = c.uid AND b.block = c.block
WHERE r.state IN ('waiting', 'leased') GROUP BY r.uid;

-- name: at_work
SELECT uid, COUNT(DISTINCT leased_by) AS reviewers FROM review WHERE state = 'leased' AND leased_until >= $1 GROUP BY uid;

-- name: budgets
SELECT uid, budget, taken FROM budget;

-- name: money
SELECT uid, SUM(spent_usd) AS spent, SUM(CASE WHEN expires_at >= $1 THEN reserved_usd ELSE 0 END) AS held,
       SUM(CASE WHEN expires_at < $1 THEN reserved_usd ELSE 0 END) AS lost
FROM spend GROUP BY uid;

-- name: pauses
SELECT uid, stage, created_at FROM campaign_pause;

-- name: dead
SELECT d.uid, d.stage, d.reason, COUNT(*) AS items FROM dead d
WHERE d.replayed_at IS NULL AND NOT EXISTS (SELECT 1 FROM dead_purge p WHERE p.uid = d.uid AND p.item_id = d.item_id)
GROUP BY d.uid, d.stage, d.reason;

-- name: emissions
SELECT uid, SUM(end_offset - next_offset) AS records FROM emission GROUP BY uid;

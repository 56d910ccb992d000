-- name: registered
SELECT COUNT(*) AS items FROM item WHERE uid = $1;

-- name: dead
SELECT stage, COUNT(*) AS items FROM dead WHERE uid = $1 GROUP BY stage;

-- name: results
-- Distinct answers paid for, per stage, and what they cost.
SELECT stage, COUNT(*) AS answers, SUM(cost_usd) AS cost_usd FROM result WHERE uid = $1 GROUP BY stage;

-- name: candidates
SELECT COUNT(*) AS items FROM candidate WHERE uid = $1;

-- name: draws
SELECT draw, batch, complete FROM draw WHERE uid = $1 ORDER BY draw;

-- name: late
-- Items that came after the draw of their batch, a replay mostly, and wait for one that is not made.
SELECT COUNT(*) AS items FROM candidate AS c WHERE c.uid = $1 AND c.batch < c.draw_batch
AND NOT EXISTS (SELECT 1 FROM draw AS d WHERE d.uid = c.uid AND d.batch = c.draw_batch);

-- name: emission
SELECT COALESCE(SUM(next_offset), 0) AS emitted, COALESCE(SUM(end_offset), 0) AS total FROM emission WHERE uid = $1;

-- name: reviews
SELECT state, COUNT(*) AS items FROM review WHERE uid = $1 GROUP BY state;

-- name: outbox
SELECT COUNT(*) AS items FROM review WHERE uid = $1 AND publish_after IS NOT NULL;

-- name: budget
SELECT budget, taken FROM budget WHERE uid = $1;

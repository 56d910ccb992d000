-- name: registered
-- What was taken in, with the true label where the user knows it: the page after an id.
SELECT item_id, gold, created_at FROM item WHERE uid = $1 AND item_id > $2 ORDER BY item_id LIMIT $3;

-- name: dead
SELECT item_id FROM dead WHERE uid = $1 AND replayed_at IS NULL;

-- name: open_reviews
SELECT item_id FROM review WHERE uid = $1 AND state IN ('waiting', 'leased');

-- name: draws
SELECT draw, batch, mode, rule, budget, selected, population, calibration_version, parameters FROM draw
WHERE uid = $1 AND complete ORDER BY draw;

-- name: decisions
-- Of one draw: the page after an id.
SELECT item_id, block, cell, cell_selected, cell_size, epsilon_q16, selected FROM decision
WHERE uid = $1 AND item_id > $2 AND draw = $4 ORDER BY item_id LIMIT $3;

-- name: costs
SELECT stage, COUNT(*) AS answers, SUM(cost_usd) AS cost_usd, MAX(created_at) AS last_at FROM result WHERE uid = $1 GROUP BY stage ORDER BY stage;

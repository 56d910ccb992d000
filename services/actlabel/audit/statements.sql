-- Tables are read in pages by their key, so that memory does not grow with them.

-- name: registered
SELECT item_id, revision, produced FROM item WHERE uid = $1 AND item_id > $2 ORDER BY item_id LIMIT $3;

-- name: registered_count
SELECT COUNT(*) AS items FROM item WHERE uid = $1;

-- name: dead
SELECT d.item_id, d.topic, d.partition, d.record_offset, d.replayed_at, p.purged_at
FROM dead AS d LEFT JOIN dead_purge AS p ON p.uid = d.uid AND p.item_id = d.item_id
WHERE d.uid = $1 AND d.item_id > $2 ORDER BY d.item_id LIMIT $3;

-- name: queue
SELECT item_id, content_revision, draw, state, revision, published_draw, publish_after FROM review
WHERE uid = $1 AND item_id > $2 ORDER BY item_id LIMIT $3;

-- name: answers
SELECT item_id, revision, label, reviewer FROM review_answer
WHERE uid = $1 AND (item_id, revision) > ($2, $3) ORDER BY item_id, revision LIMIT $4;

-- name: candidates
SELECT item_id, revision, epsilon_q16, block FROM candidate WHERE uid = $1 AND item_id > $2 ORDER BY item_id LIMIT $3;

-- name: decisions
SELECT item_id, draw, block, cell, cell_selected, cell_size, epsilon_q16, selected FROM decision
WHERE uid = $1 AND (item_id, draw) > ($2, $3) ORDER BY item_id, draw LIMIT $4;

-- name: complete_draws
SELECT draw FROM draw WHERE uid = $1 AND complete;

-- name: open_emissions
SELECT partition, next_offset, end_offset FROM emission WHERE uid = $1 AND next_offset < end_offset;

-- name: open_budget
INSERT INTO budget (uid, mode, budget, taken, seen) VALUES ($1, $2, 0, 0, 0) ON CONFLICT DO NOTHING;

-- name: share_budget
-- Held while candidates are written: a draw or a block that freezes its population waits for them.
SELECT mode FROM budget WHERE uid = $1 /*postgres: FOR SHARE */;

-- name: lock_budget
SELECT mode, budget, taken, seen FROM budget WHERE uid = $1 /*postgres: FOR UPDATE */;

-- name: budget
SELECT mode, budget, taken, seen FROM budget WHERE uid = $1;

-- name: set_budget
UPDATE budget SET budget = $2, taken = $3, seen = $4 WHERE uid = $1;

-- name: put_candidate
-- First write wins; a newer revision replaces an older one that nothing has decided.
INSERT INTO candidate (uid, item_id, batch, draw_batch, revision, epsilon_q16, label, arrived_at, block)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (uid, item_id) DO UPDATE SET revision = excluded.revision, epsilon_q16 = excluded.epsilon_q16, label = excluded.label
WHERE candidate.revision < excluded.revision AND COALESCE(candidate.block, 0) = 0
AND NOT EXISTS (SELECT 1 FROM draw WHERE draw.uid = candidate.uid AND draw.batch = candidate.draw_batch);

-- name: candidate
SELECT draw_batch, block FROM candidate WHERE uid = $1 AND item_id = $2;

-- name: candidates_of_batch
SELECT COUNT(*) AS items FROM candidate WHERE uid = $1 AND draw_batch = $2 AND batch = $2;

-- name: dead_of_batch
-- Put aside, not replayed, and not critiqued either.
SELECT COUNT(*) AS items FROM dead JOIN item ON item.uid = dead.uid AND item.item_id = dead.item_id
WHERE dead.uid = $1 AND item.batch = $2 AND dead.replayed_at IS NULL
AND NOT EXISTS (SELECT 1 FROM candidate WHERE candidate.uid = dead.uid AND candidate.item_id = dead.item_id
                AND candidate.draw_batch = $2 AND candidate.batch = $2);

-- name: outdated_of_batch
-- Critiqued in an older revision than registered: the newer one is on its way.
SELECT COUNT(*) AS items FROM item JOIN candidate ON candidate.uid = item.uid AND candidate.item_id = item.item_id
WHERE item.uid = $1 AND item.batch = $2 AND item.revision > 1 AND candidate.revision < item.revision
AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.uid = item.uid AND dead.item_id = item.item_id AND dead.replayed_at IS NULL);

-- name: withdraw_of_batch
-- A copy of an item may have been put aside while another went on; what is decided upon is not dead.
DELETE FROM dead WHERE uid = $1 AND stage IN ('annotator', 'criticizer') AND EXISTS (
    SELECT 1 FROM candidate AS c JOIN item AS i ON i.uid = c.uid AND i.item_id = c.item_id
    WHERE c.uid = dead.uid AND c.item_id = dead.item_id AND c.draw_batch = $2 AND c.revision >= i.revision
);

-- name: withdraw_of_block
-- The same for the members of a block.
DELETE FROM dead WHERE uid = $1 AND stage IN ('annotator', 'criticizer') AND item_id = ANY($2) AND EXISTS (
    SELECT 1 FROM candidate AS c JOIN item AS i ON i.uid = c.uid AND i.item_id = c.item_id
    WHERE c.uid = dead.uid AND c.item_id = dead.item_id AND c.revision >= i.revision
);

-- name: population_size
SELECT COUNT(*) AS items FROM candidate WHERE uid = $1 AND draw_batch = $2;

-- name: population
SELECT item_id, epsilon_q16 FROM candidate WHERE uid = $1 AND draw_batch = $2 AND item_id > $3 ORDER BY item_id LIMIT $4;

-- name: draws
SELECT draw, batch, mode, rule, budget, selected, population, raises, parameters, complete FROM draw WHERE uid = $1 ORDER BY draw;

-- name: drawn_batches
SELECT DISTINCT batch FROM draw WHERE uid = $1;

-- name: put_draw
INSERT INTO draw (uid, draw, batch, mode, rule, budget, selected, calibration_version, population, raises, parameters, manifest, complete, created_at)
VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7, $8, $9, '', $10, $11) ON CONFLICT DO NOTHING;

-- name: drop_undesigned_draw
DELETE FROM draw WHERE uid = $1 AND draw = $2 AND manifest = '' AND NOT complete;

-- name: put_manifest
UPDATE draw SET manifest = $3 WHERE uid = $1 AND draw = $2 AND manifest = '';

-- name: manifest
SELECT manifest FROM draw WHERE uid = $1 AND draw = $2;

-- name: complete_draw
UPDATE draw SET complete = TRUE, selected = $3 WHERE uid = $1 AND draw = $2 AND NOT complete;

-- name: grow_stream_draw
UPDATE draw SET budget = $3, selected = $4, population = $5 WHERE uid = $1 AND draw = $2;

-- name: put_cell
INSERT INTO cell (uid, draw, block, lowest, highest, cell, size, selected, cut_off_number, cut_off_item)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING;

-- name: kept_cells
SELECT lowest, selected FROM cell WHERE uid = $1 AND draw = $2 AND block = 0 ORDER BY cell;

-- name: put_decision
INSERT INTO decision (uid, draw, block, item_id, cell, cell_selected, cell_size, epsilon_q16, selected)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING;

-- name: put_unselected
-- Everything of the population between two ids that is not stored yet; what is selected is stored before.
INSERT INTO decision (uid, draw, item_id, block, cell, cell_selected, cell_size, epsilon_q16, selected)
SELECT c.uid, k.draw, c.item_id, 0, k.cell, k.selected, k.size, c.epsilon_q16, FALSE
FROM candidate AS c JOIN cell AS k ON k.uid = c.uid AND k.draw = $2 AND k.block = 0 AND k.lowest =
  (SELECT MAX(b.lowest) FROM cell AS b WHERE b.uid = c.uid AND b.draw = $2 AND b.block = 0 AND b.lowest <= c.epsilon_q16)
WHERE c.uid = $1 AND c.draw_batch = $3 AND c.item_id > $4 AND c.item_id <= $5
ON CONFLICT DO NOTHING;

-- name: decision_counts
SELECT COUNT(*) AS items, COUNT(*) FILTER (WHERE selected) AS selected FROM decision WHERE uid = $1 AND draw = $2;

-- name: exact_decisions
-- For emission: the decisions of one draw, with the revision that was decided upon, and whether a reviewer may have the item already.
SELECT d.item_id, d.draw, d.block, d.cell, d.cell_selected, d.cell_size, d.epsilon_q16, d.selected, w.rule, w.calibration_version, c.revision,
       EXISTS (SELECT 1 FROM decision AS e WHERE e.uid = d.uid AND e.item_id = d.item_id AND e.draw < d.draw AND e.selected) AS was_selected
FROM decision AS d JOIN draw AS w ON w.uid = d.uid AND w.draw = d.draw
JOIN candidate AS c ON c.uid = d.uid AND c.item_id = d.item_id
WHERE d.uid = $1 AND d.draw = $2 AND d.item_id = ANY($3);

-- name: stored_decisions
-- For an item that comes again after its draw: the decisions of complete draws, the latest one last.
SELECT d.item_id, d.draw, d.block, d.cell, d.cell_selected, d.cell_size, d.epsilon_q16, d.selected, w.rule, w.calibration_version, c.revision,
       EXISTS (SELECT 1 FROM decision AS e WHERE e.uid = d.uid AND e.item_id = d.item_id AND e.draw < d.draw AND e.selected) AS was_selected
FROM decision AS d JOIN draw AS w ON w.uid = d.uid AND w.draw = d.draw AND w.complete
JOIN candidate AS c ON c.uid = d.uid AND c.item_id = d.item_id
WHERE d.uid = $1 AND d.item_id = ANY($2) ORDER BY d.draw;

-- name: block_decisions
SELECT d.item_id, d.draw, d.block, d.cell, d.cell_selected, d.cell_size, d.epsilon_q16, d.selected, b.rule, 0 AS calibration_version, c.revision,
       FALSE AS was_selected
FROM decision AS d JOIN candidate AS c ON c.uid = d.uid AND c.item_id = d.item_id
JOIN block AS b ON b.uid = d.uid AND b.block = d.block
WHERE d.uid = $1 AND d.item_id = ANY($2);

-- name: explain
-- The decision of the latest complete draw.
SELECT d.item_id, d.draw, d.block, d.cell, d.cell_selected, d.cell_size, d.epsilon_q16, d.selected,
       COALESCE(b.rule, w.rule) AS rule, w.calibration_version, w.population, w.parameters, b.manifest AS block_manifest,
       k.lowest, k.highest, k.cut_off_number, k.cut_off_item
FROM decision AS d JOIN draw AS w ON w.uid = d.uid AND w.draw = d.draw AND w.complete
JOIN cell AS k ON k.uid = d.uid AND k.draw = d.draw AND k.block = d.block AND k.cell = d.cell
LEFT JOIN block AS b ON b.uid = d.uid AND b.block = d.block
WHERE d.uid = $1 AND d.item_id = $2 ORDER BY d.draw DESC LIMIT 1;

-- name: put_emission
INSERT INTO emission (uid, draw, partition, next_offset, end_offset) VALUES ($1, $2, $3, 0, $4) ON CONFLICT DO NOTHING;

-- name: drop_emission
DELETE FROM emission WHERE uid = $1 AND draw = $2;

-- name: open_emissions
SELECT uid, draw, partition, next_offset, end_offset FROM emission WHERE uid = $1 AND next_offset < end_offset ORDER BY draw, partition;

-- name: open_emission
SELECT next_offset, end_offset FROM emission WHERE uid = $1 AND draw = $2 AND partition = $3 AND next_offset < end_offset;

-- name: advance_emission
UPDATE emission SET next_offset = $4 WHERE uid = $1 AND draw = $2 AND partition = $3 AND next_offset = $5;

-- name: waiting
SELECT item_id, epsilon_q16, arrived_at FROM candidate WHERE uid = $1 AND block IS NULL ORDER BY arrived_at, item_id LIMIT $2;

-- name: put_block
INSERT INTO block (uid, block, draw, rule, items, quota, manifest, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: last_block
SELECT COALESCE(MAX(block), 0) AS block FROM block WHERE uid = $1;

-- name: assign_block
UPDATE candidate SET block = $2 WHERE uid = $1 AND item_id = ANY($3);

-- name: sealed_total
-- Items of all sealed batches that were not put aside, or were critiqued as well; and whether items came after the last seal.
SELECT COALESCE((SELECT SUM(items) FROM seal WHERE uid = $1), 0)
       - (SELECT COUNT(*) FROM dead WHERE uid = $1 AND replayed_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM candidate AS c WHERE c.uid = dead.uid AND c.item_id = dead.item_id)) AS items,
       EXISTS (SELECT 1 FROM seal WHERE uid = $1) AS sealed,
       EXISTS (SELECT 1 FROM item JOIN campaign ON campaign.uid = item.uid AND campaign.batch = item.batch WHERE item.uid = $1) AS open;

-- name: answered
SELECT COUNT(*) AS items FROM review WHERE uid = $1 AND state IN ('answered', 'undecidable');

-- name: latest_draw
SELECT COALESCE(MAX(draw), 0) AS draw FROM draw WHERE uid = $1 AND complete;

-- name: hold_decisions
-- No draw and no block freezes its population until this transaction ends.
SELECT uid FROM budget WHERE uid = $1 /*postgres: FOR UPDATE */;

-- name: put
-- First write wins. A row whose replay has begun makes way for the death of the record that the replay made, which lies elsewhere.
-- What a model stage puts aside of an item that the sampler has, in its newest revision, is the fate of a copy and not of the item.
INSERT INTO dead (uid, item_id, stage, reason, detail, topic, partition, record_offset, created_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
WHERE $3 NOT IN ('annotator', 'criticizer') OR NOT EXISTS (
    SELECT 1 FROM candidate AS c JOIN item AS i ON i.uid = c.uid AND i.item_id = c.item_id
    WHERE c.uid = $1 AND c.item_id = $2 AND c.revision >= i.revision
)
ON CONFLICT (uid, item_id) DO UPDATE SET
    stage = excluded.stage, reason = excluded.reason, detail = excluded.detail, topic = excluded.topic, partition = excluded.partition,
    record_offset = excluded.record_offset, created_at = excluded.created_at, replayed_at = NULL
WHERE dead.replayed_at IS NOT NULL
    AND (dead.topic <> excluded.topic OR dead.partition <> excluded.partition OR dead.record_offset <> excluded.record_offset);

-- name: recent
-- How many a stage has put aside since a moment.
SELECT COUNT(*) AS letters FROM dead WHERE uid = $1 AND stage = $2 AND created_at > $3;

-- name: offsets
-- What an earlier owner of a partition has put aside, from an offset on.
SELECT record_offset FROM dead WHERE uid = $1 AND topic = $2 AND partition = $3 AND record_offset >= $4;

-- name: buried
-- Every record of a partition that is put aside, wherever a group stands: copies of it may still come.
SELECT item_id, record_offset FROM dead WHERE uid = $1 AND topic = $2 AND partition = $3;

-- name: place
-- Where an item was put aside in a partition, unless a replay sends it round.
SELECT record_offset FROM dead WHERE uid = $1 AND item_id = $2 AND topic = $3 AND partition = $4 AND replayed_at IS NULL;

-- name: list
SELECT d.uid, d.item_id, d.stage, d.reason, d.detail, d.topic, d.partition, d.record_offset, d.created_at, d.replayed_at, p.purged_at
FROM dead AS d LEFT JOIN dead_purge AS p ON p.uid = d.uid AND p.item_id = d.item_id
WHERE d.uid = $1 ORDER BY d.created_at, d.item_id;

-- name: begin_replay
-- What was purged stays where it is.
UPDATE dead SET replayed_at = $3 WHERE uid = $1 AND item_id = $2
AND NOT EXISTS (SELECT 1 FROM dead_purge AS p WHERE p.uid = dead.uid AND p.item_id = dead.item_id);

-- name: replaying
-- Of those whose replay was to begin: the ones that were not purged at the same moment.
SELECT item_id FROM dead WHERE uid = $1 AND replayed_at IS NOT NULL AND item_id = ANY($2)
AND NOT EXISTS (SELECT 1 FROM dead_purge AS p WHERE p.uid = dead.uid AND p.item_id = dead.item_id);

-- name: keep_purged
-- A purge that came at the same moment as the beginning of a replay wins.
UPDATE dead SET replayed_at = NULL WHERE uid = $1
AND EXISTS (SELECT 1 FROM dead_purge AS p WHERE p.uid = dead.uid AND p.item_id = dead.item_id);

-- name: end_replay
-- Leaves a row that has died again meanwhile.
DELETE FROM dead
WHERE uid = $1 AND item_id = $2 AND topic = $3 AND partition = $4 AND record_offset = $5 AND replayed_at IS NOT NULL;

-- name: purge
-- What a replay has begun with is on its way and cannot be given up any more.
INSERT INTO dead_purge (uid, item_id, purged_at)
SELECT uid, item_id, $3 FROM dead WHERE uid = $1 AND item_id = $2 AND replayed_at IS NULL /*postgres: FOR UPDATE */
ON CONFLICT DO NOTHING;

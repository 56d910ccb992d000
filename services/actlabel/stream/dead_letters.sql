-- name: put
-- First write wins. A row whose replay has begun makes way for the death of the record that the replay made, which lies elsewhere.
INSERT INTO dead (uid, item_id, stage, reason, detail, topic, partition, record_offset, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
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

-- name: list
SELECT uid, item_id, stage, reason, detail, topic, partition, record_offset, created_at FROM dead WHERE uid = $1 ORDER BY created_at, item_id;

-- name: begin_replay
UPDATE dead SET replayed_at = $3 WHERE uid = $1 AND item_id = $2;

-- name: end_replay
-- Leaves a row that has died again meanwhile.
DELETE FROM dead
WHERE uid = $1 AND item_id = $2 AND topic = $3 AND partition = $4 AND record_offset = $5 AND replayed_at IS NOT NULL;

-- name: by_name
SELECT uid, name, state, partitions, batch, created_at FROM campaign WHERE name = $1 AND state <> 'deleted';

-- name: by_uid
SELECT uid, name, state, partitions, batch, created_at FROM campaign WHERE uid = $1;

-- name: by_uid_locked
-- Waits for registrations in progress, so that a seal counts all of them.
SELECT uid, name, batch FROM campaign WHERE uid = $1 /*postgres: FOR UPDATE */;

-- name: all
SELECT uid, name, state, partitions, batch, created_at FROM campaign WHERE state <> 'deleted' ORDER BY created_at;

-- name: insert
INSERT INTO campaign (uid, name, state, partitions, batch, created_at) VALUES ($1, $2, 'open', $3, 1, $4);

-- name: mark_deleted
UPDATE campaign SET state = 'deleted' WHERE uid = $1;

-- name: newest_version
SELECT version, document FROM campaign_version WHERE uid = $1 ORDER BY version DESC LIMIT 1;

-- name: version
SELECT document FROM campaign_version WHERE uid = $1 AND version = $2;

-- name: insert_version
INSERT INTO campaign_version (uid, version, document, created_at) VALUES ($1, $2, $3, $4);

-- name: deleted
SELECT uid FROM campaign WHERE state = 'deleted';

-- name: pauses
SELECT uid, stage, reason FROM campaign_pause;

-- name: pause
-- The first reason stays.
INSERT INTO campaign_pause (uid, stage, reason, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: resume
DELETE FROM campaign_pause WHERE uid = $1;

-- name: lift
DELETE FROM campaign_pause WHERE uid = $1 AND stage = $2 AND reason = $3;

-- name: dedicated
SELECT uid, stage, state FROM dedicated WHERE stage = $1;

-- name: dedicate
INSERT INTO dedicated (uid, stage, state) VALUES ($1, $2, $3) ON CONFLICT (uid, stage) DO UPDATE SET state = excluded.state;

-- name: share
DELETE FROM dedicated WHERE uid = $1 AND stage = $2;

-- name: seals
SELECT batch, items FROM seal WHERE uid = $1 ORDER BY batch;

-- name: unproduced
SELECT COUNT(*) AS items FROM item WHERE uid = $1 AND NOT produced;

-- name: batch_size
SELECT COUNT(*) AS items FROM item WHERE uid = $1 AND batch = $2;

-- name: late_candidates
-- Items of earlier batches that came after their draw, so that the present batch's draw decides them.
SELECT COUNT(*) AS items FROM candidate WHERE uid = $1 AND draw_batch = $2 AND batch < $2;

-- name: insert_seal
INSERT INTO seal (uid, batch, items, created_at) VALUES ($1, $2, $3, $4);

-- name: next_batch
UPDATE campaign SET batch = batch + 1 WHERE uid = $1;

-- name: deployment_value
SELECT value FROM deployment WHERE name = $1;

-- name: put_deployment_value
INSERT INTO deployment (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING;

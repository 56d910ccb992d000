-- name: batch
-- Locked, so that a seal counts all or none of what a transaction registers.
SELECT batch FROM campaign WHERE uid = $1 /*postgres: FOR SHARE */;

-- name: registered
SELECT item_id, content_sha256, revision, batch, produced FROM item WHERE uid = $1 AND item_id = ANY($2);

-- name: seals
SELECT batch FROM seal WHERE uid = $1;

-- name: insert
INSERT INTO item (uid, item_id, content_sha256, revision, batch, gold, produced, created_at)
VALUES ($1, $2, $3, 1, $4, $5, FALSE, $6) ON CONFLICT DO NOTHING;

-- name: revise
UPDATE item SET content_sha256 = $3, revision = revision + 1, gold = $4, produced = FALSE WHERE uid = $1 AND item_id = $2;

-- name: mark_produced
UPDATE item SET produced = TRUE WHERE uid = $1 AND item_id = $2 AND revision = $3;

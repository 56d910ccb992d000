-- name: entry
SELECT * FROM review WHERE uid = $1 AND item_id = $2;

-- name: entry_locked
-- Everything that changes a row holds it first.
SELECT * FROM review WHERE uid = $1 AND item_id = $2 /*postgres: FOR UPDATE */;

-- name: insert_entry
INSERT INTO review (uid, item_id, content_revision, draw, item, queue_order, state, revision, floor_revision, started_revision,
                    published_revision, published_draw)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0, 0)
ON CONFLICT DO NOTHING;

-- name: replace_item
-- A later draw: the answer and the lease stay, what is answered is published again.
UPDATE review SET draw = $3, item = $4, state = $5,
       publish_after = CASE WHEN revision > floor_revision THEN COALESCE(publish_after, $6) ELSE NULL END
WHERE uid = $1 AND item_id = $2;

-- name: replace_content
-- Other content: whatever was said about the old one no longer counts.
UPDATE review SET draw = $3, item = $4, state = $5, content_revision = $6, floor_revision = revision, publish_after = NULL,
       lease_token = NULL, leased_by = NULL, leased_at = NULL, leased_until = NULL
WHERE uid = $1 AND item_id = $2;

-- name: delete_skips
DELETE FROM review_skip WHERE uid = $1 AND item_id = $2;

-- name: release_expired
-- The token stays until somebody is given the item: an answer that comes late but before that still counts.
UPDATE review SET state = 'waiting'
WHERE (uid, item_id) IN (
    SELECT uid, item_id FROM review WHERE uid = $1 AND state = 'leased' AND leased_until < $2 /*postgres: FOR UPDATE SKIP LOCKED */
);

-- name: held
SELECT * FROM review WHERE uid = $1 AND state = 'leased' AND leased_by = $2 ORDER BY leased_at, queue_order
/*postgres: FOR UPDATE SKIP LOCKED */;

-- name: count_held
SELECT COUNT(*) AS items FROM review WHERE uid = $1 AND state = 'leased' AND leased_by = $2;

-- name: claimable
SELECT * FROM review
WHERE uid = $1 AND state = 'waiting'
  AND NOT EXISTS (SELECT 1 FROM review_skip s WHERE s.uid = review.uid AND s.item_id = review.item_id AND s.reviewer = $2)
ORDER BY queue_order LIMIT $3 /*postgres: FOR UPDATE OF review SKIP LOCKED */;

-- name: claimable_skipped
-- What this reviewer skipped before.
SELECT * FROM review
WHERE uid = $1 AND state = 'waiting'
  AND EXISTS (SELECT 1 FROM review_skip s WHERE s.uid = review.uid AND s.item_id = review.item_id AND s.reviewer = $2)
ORDER BY queue_order LIMIT $3 /*postgres: FOR UPDATE OF review SKIP LOCKED */;

-- name: lease
UPDATE review SET state = $3, lease_token = $4, leased_by = $5, leased_at = $6, leased_until = $7 WHERE uid = $1 AND item_id = $2;

-- name: extend
UPDATE review SET leased_until = $3 WHERE uid = $1 AND item_id = $2;

-- name: end_lease
UPDATE review SET state = $3, lease_token = NULL, leased_by = NULL, leased_at = NULL, leased_until = NULL
WHERE uid = $1 AND item_id = $2;

-- name: answer
SELECT * FROM review_answer WHERE uid = $1 AND item_id = $2 AND revision = $3;

-- name: insert_answer
INSERT INTO review_answer (uid, item_id, revision, label, comment, reviewer, seconds, suggestion_shown, answered_at, lease_token)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: delete_answer
DELETE FROM review_answer WHERE uid = $1 AND item_id = $2 AND revision = $3;

-- name: settle
UPDATE review SET state = $3, revision = $4, publish_after = $5, lease_token = NULL, leased_by = NULL, leased_at = NULL, leased_until = NULL
WHERE uid = $1 AND item_id = $2;

-- name: take_back
UPDATE review SET revision = $3, publish_after = $4 WHERE uid = $1 AND item_id = $2;

-- name: answerers
SELECT DISTINCT reviewer FROM review_answer WHERE uid = $1 AND item_id = $2;

-- name: skip
SELECT reason, lease_token FROM review_skip WHERE uid = $1 AND item_id = $2 AND reviewer = $3;

-- name: put_skip
INSERT INTO review_skip (uid, item_id, reviewer, reason, lease_token, created_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (uid, item_id, reviewer) DO UPDATE SET reason = excluded.reason, lease_token = excluded.lease_token, created_at = excluded.created_at;

-- name: delete_skip
DELETE FROM review_skip WHERE uid = $1 AND item_id = $2 AND reviewer = $3;

-- name: skips
SELECT reviewer, reason FROM review_skip WHERE uid = $1 AND item_id = $2 ORDER BY created_at, reviewer;

-- name: put_flag
INSERT INTO review_flag (uid, item_id, reviewer, comment, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (uid, item_id, reviewer) DO UPDATE SET comment = excluded.comment, created_at = excluded.created_at;

-- name: flags
SELECT item_id, reviewer, comment, created_at FROM review_flag WHERE uid = $1 ORDER BY created_at DESC LIMIT $2;

-- name: counts
SELECT state, COUNT(*) AS items FROM review WHERE uid = $1 GROUP BY state;

-- name: own_counts
SELECT (SELECT COUNT(*) FROM review_answer a WHERE a.uid = $1 AND a.reviewer = $2) AS answered,
       (SELECT COUNT(*) FROM review_skip s JOIN review r ON r.uid = s.uid AND r.item_id = s.item_id
        WHERE s.uid = $1 AND s.reviewer = $2 AND r.state = 'waiting') AS skipped_waiting;

-- name: history
-- One's own answers that still count, newest first.
SELECT a.item_id, a.revision, a.label, a.comment, a.answered_at, r.started_revision
FROM review_answer a JOIN review r ON r.uid = a.uid AND r.item_id = a.item_id AND r.revision = a.revision
WHERE a.uid = $1 AND a.reviewer = $2 AND a.answered_at < $3 AND a.revision > r.floor_revision
ORDER BY a.answered_at DESC, a.item_id LIMIT $4;

-- name: start_publishing
-- From here on these answers can be replaced, no longer taken back; that holds after a crash too.
UPDATE review SET started_revision = revision
-- A deleted campaign has no merged topic any more.
WHERE (uid, item_id) IN (
    SELECT r.uid, r.item_id FROM review r JOIN campaign c ON c.uid = r.uid AND c.state <> 'deleted'
    WHERE r.publish_after IS NOT NULL AND r.publish_after <= $1 ORDER BY r.publish_after LIMIT $2)
  AND publish_after IS NOT NULL AND publish_after <= $1
RETURNING *;

-- name: published
-- An answer or a draw that came while this one was on its way stays due.
UPDATE review SET published_revision = $3, published_draw = $4,
       publish_after = CASE WHEN revision = $3 AND draw = $4 THEN NULL ELSE publish_after END
WHERE uid = $1 AND item_id = $2;

-- name: postpone
UPDATE review SET publish_after = $3 WHERE uid = $1 AND item_id = $2 AND publish_after IS NOT NULL;

-- name: outbox
SELECT COUNT(*) AS items, MIN(r.publish_after) AS oldest FROM review r JOIN campaign c ON c.uid = r.uid AND c.state <> 'deleted'
WHERE r.publish_after IS NOT NULL;

-- name: reviewer_by_token
SELECT name, role, token_sha256 FROM reviewer WHERE token_sha256 = $1;

-- name: reviewers
SELECT name, role, created_at FROM reviewer ORDER BY name;

-- name: insert_reviewer
INSERT INTO reviewer (name, token_sha256, role, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING;

-- name: delete_reviewer
DELETE FROM reviewer WHERE name = $1;

-- name: insert_session
INSERT INTO review_session (session_sha256, token_sha256, expires_at) VALUES ($1, $2, $3);

-- name: session
SELECT token_sha256 FROM review_session WHERE session_sha256 = $1 AND expires_at > $2;

-- name: delete_session
DELETE FROM review_session WHERE session_sha256 = $1;

-- name: delete_old_sessions
DELETE FROM review_session WHERE expires_at <= $1;

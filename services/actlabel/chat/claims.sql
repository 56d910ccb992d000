-- name: claim
-- Make or renew. A living claim of another owner stays.
INSERT INTO claim (result_id, owner, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (result_id) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE claim.owner = excluded.owner OR claim.expires_at < $4;

-- name: remove
DELETE FROM claim WHERE (result_id = ANY($1) AND owner = $2) OR expires_at < $3;

-- name: remove_all
DELETE FROM claim WHERE owner = $1;

-- name: ranks
SELECT item_id, draw, revision, content_revision FROM mirrored WHERE uid = $1 AND item_id = ANY($2);

-- name: raise
-- Never lowers a rank: an earlier owner of the partition may be late.
INSERT INTO mirrored (uid, item_id, draw, revision, content_revision) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (uid, item_id) DO UPDATE SET draw = excluded.draw, revision = excluded.revision, content_revision = excluded.content_revision
WHERE (excluded.draw, excluded.revision, excluded.content_revision) > (mirrored.draw, mirrored.revision, mirrored.content_revision);

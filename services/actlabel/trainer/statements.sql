-- name: answers
-- Every answer that reviewers gave and that is on the merged topic, later revisions included; it only grows.
SELECT CAST(COALESCE(SUM(published_revision), 0) AS BIGINT) AS answers FROM review WHERE uid = $1;

-- name: began_at
SELECT created_at FROM campaign WHERE uid = $1;

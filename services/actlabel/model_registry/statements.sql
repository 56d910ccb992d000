-- name: insert
-- Takes the next number. No row comes back when another process took it first, or when this very model is registered already.
INSERT INTO model_version (name, version, digest, campaign_uid, answers, document, created_at)
SELECT CAST($1 AS TEXT), COALESCE(MAX(version), 0) + 1, CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), CAST($5 AS TEXT),
       CAST($6 AS DOUBLE PRECISION)
FROM model_version WHERE name = $1
ON CONFLICT DO NOTHING
RETURNING version;

-- name: by_digest
SELECT name, version, digest, campaign_uid, answers, document, created_at FROM model_version WHERE name = $1 AND digest = $2;

-- name: by_version
SELECT name, version, digest, campaign_uid, answers, document, created_at FROM model_version WHERE name = $1 AND version = $2;

-- name: versions
SELECT name, version, digest, campaign_uid, answers, document, created_at FROM model_version WHERE name = $1 ORDER BY version;

-- name: current
-- What every bare name means: the pinned version, else the newest.
SELECT v.name AS name, COALESCE(p.version, v.newest) AS version, p.version IS NOT NULL AS pinned, v.newest AS newest
FROM (SELECT name, MAX(version) AS newest FROM model_version GROUP BY name) v LEFT JOIN model_pin p ON p.name = v.name
ORDER BY v.name;

-- name: last_of_campaign
SELECT name, version, digest, campaign_uid, answers, document, created_at FROM model_version
WHERE campaign_uid = $1 ORDER BY created_at DESC, version DESC LIMIT 1;

-- name: count_of_campaign
SELECT COUNT(*) AS models FROM model_version WHERE campaign_uid = $1;

-- name: pin
INSERT INTO model_pin (name, version, pinned_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET version = EXCLUDED.version, pinned_at = EXCLUDED.pinned_at;

-- name: unpin
DELETE FROM model_pin WHERE name = $1;

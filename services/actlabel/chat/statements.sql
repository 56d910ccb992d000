-- name: results
SELECT result_id, payload FROM result WHERE result_id = ANY($1);

-- name: look_up
-- Results, and living claims of others: a payload or an owner. Both as of one moment, and a claim goes only after its result is there.
SELECT result_id, payload, NULL AS owner FROM result WHERE result_id = ANY($1)
UNION ALL
SELECT result_id, NULL, owner FROM claim WHERE result_id = ANY($1) AND owner <> $2 AND expires_at >= $3;

-- name: put_result
-- The first write wins.
INSERT INTO result (result_id, uid, stage, payload, cost_usd, created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
RETURNING result_id;

-- name: lock_spend
-- One owner at a time looks at the sums of a campaign and reserves.
SELECT 1 AS locked /*postgres: FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 20))) AS held */ WHERE $1 <> '';

-- name: spend_of_others
SELECT
    COALESCE(SUM(spent_usd), 0) AS spent,
    COALESCE(SUM(reserved_usd), 0) AS reserved,
    COALESCE(SUM(CASE WHEN expires_at >= $3 THEN reserved_usd ELSE 0 END), 0) AS reserved_by_living
FROM spend WHERE uid = $1 AND owner <> $2;

-- name: put_spend
INSERT INTO spend (uid, owner, spent_usd, reserved_usd, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (uid, owner) DO UPDATE
SET spent_usd = excluded.spent_usd, reserved_usd = excluded.reserved_usd, expires_at = excluded.expires_at;

-- name: lost_reservations
-- Of owners that were not seen in time, and what they had written as spent.
SELECT owner, reserved_usd, spent_usd FROM spend WHERE uid = $1 AND expires_at < $2 AND reserved_usd > 0 ORDER BY owner;

-- name: settle_owner
UPDATE spend SET spent_usd = spent_usd + $3, reserved_usd = 0 WHERE uid = $1 AND owner = $2;

-- name: answers_cost
SELECT COALESCE(SUM(cost_usd), 0) AS answers FROM result WHERE uid = $1;

-- name: spent
SELECT COALESCE(SUM(spent_usd), 0) AS spent, COALESCE(SUM(reserved_usd), 0) AS reserved FROM spend WHERE uid = $1;

-- name: quota
-- One at a time. On PostgreSQL its clock counts, so that replicas whose clocks differ share alike.
SELECT unit, taken_until, $3 /*postgres: ::double precision * 0 + EXTRACT(EPOCH FROM clock_timestamp())::double precision */ AS now
FROM quota WHERE endpoint = $1 AND model = $2 ORDER BY unit /*postgres: FOR UPDATE */;

-- name: begin_quota
INSERT INTO quota (endpoint, model, unit, taken_until) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING;

-- name: take_quota
UPDATE quota SET taken_until = $4 WHERE endpoint = $1 AND model = $2 AND unit = $3;

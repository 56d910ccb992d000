-- What a deleted campaign leaves behind nowhere. Its row in `campaign` stays, marked deleted, so that stages drop what is still in flight.

-- name: items
DELETE FROM item WHERE uid = $1;

-- name: dead
DELETE FROM dead WHERE uid = $1;

-- name: dead_purges
DELETE FROM dead_purge WHERE uid = $1;

-- name: mirrored
DELETE FROM mirrored WHERE uid = $1;

-- name: results
DELETE FROM result WHERE uid = $1;

-- name: candidates
DELETE FROM candidate WHERE uid = $1;

-- name: decisions
DELETE FROM decision WHERE uid = $1;

-- name: draws
DELETE FROM draw WHERE uid = $1;

-- name: emissions
DELETE FROM emission WHERE uid = $1;

-- name: blocks
DELETE FROM block WHERE uid = $1;

-- name: budgets
DELETE FROM budget WHERE uid = $1;

-- name: reviews
DELETE FROM review WHERE uid = $1;

-- name: skips
DELETE FROM review_skip WHERE uid = $1;

-- name: pauses
DELETE FROM campaign_pause WHERE uid = $1;

-- name: dedicated
DELETE FROM dedicated WHERE uid = $1;

-- name: seals
DELETE FROM seal WHERE uid = $1;

-- name: cells
DELETE FROM cell WHERE uid = $1;

-- name: spending
DELETE FROM spend WHERE uid = $1;

-- name: review_answers
DELETE FROM review_answer WHERE uid = $1;

-- name: review_flags
DELETE FROM review_flag WHERE uid = $1;

-- Model answers: what was paid for once is never paid for again.
CREATE TABLE IF NOT EXISTS result (
    result_id TEXT PRIMARY KEY,       -- hash of campaign uid, stage and canonical request
    uid TEXT NOT NULL,
    stage TEXT NOT NULL,
    payload BYTEA NOT NULL,           -- the Annotation or Critique as protobuf
    cost_usd DOUBLE PRECISION NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS result_campaign ON result (uid, stage);

-- Calls that go on in a process that gave their partitions away. Whoever needs such an answer waits for it while the claim lives.
CREATE TABLE IF NOT EXISTS claim (
    result_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,              -- one process and stage
    expires_at DOUBLE PRECISION NOT NULL
);

-- Money of a campaign, a row per process and stage that ever asked a model that costs. Each row is written by its owner alone, with
-- totals, so that writing twice changes nothing. What a campaign spent is the sum over its rows; SUM(spent_usd + reserved_usd) never
-- exceeds its cap.
CREATE TABLE IF NOT EXISTS spend (
    uid TEXT NOT NULL,
    owner TEXT NOT NULL,
    spent_usd DOUBLE PRECISION NOT NULL,
    reserved_usd DOUBLE PRECISION NOT NULL,   -- for calls in flight and the next ones
    expires_at DOUBLE PRECISION NOT NULL,     -- an owner not seen until then is gone; its reservation stays, for it may have been spent
    PRIMARY KEY (uid, owner)
);

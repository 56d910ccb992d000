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

-- Money of a campaign. spent + reserved never exceeds the cap.
CREATE TABLE IF NOT EXISTS spend (
    uid TEXT PRIMARY KEY,
    spent_usd DOUBLE PRECISION NOT NULL,
    reserved_usd DOUBLE PRECISION NOT NULL
);

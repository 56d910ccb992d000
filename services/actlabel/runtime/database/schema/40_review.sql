-- The review queue and its outbox.
CREATE TABLE IF NOT EXISTS review (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    draw INTEGER NOT NULL,
    item BYTEA NOT NULL,              -- the Item as the sampler sent it
    queue_order BIGINT NOT NULL,      -- hashed, so that order says nothing about risk
    state TEXT NOT NULL,              -- waiting, leased, answered, undecidable
    skips INTEGER NOT NULL,
    lease_token TEXT,                 -- fences: an answer under an older token is refused
    leased_by TEXT,
    leased_until DOUBLE PRECISION,
    leased_at DOUBLE PRECISION,
    label TEXT,
    comment TEXT,
    reviewer TEXT,
    seconds DOUBLE PRECISION,
    suggestion_shown BOOLEAN,
    answered_at DOUBLE PRECISION,
    revision INTEGER NOT NULL,        -- of the answer; 0: none yet
    published_revision INTEGER NOT NULL,
    publish_after DOUBLE PRECISION,   -- the end of the grace period in which an undo needs no second record
    PRIMARY KEY (uid, item_id)
);
CREATE INDEX IF NOT EXISTS review_queue ON review (uid, state, queue_order);
CREATE INDEX IF NOT EXISTS review_outbox ON review (publish_after) WHERE revision > published_revision;

-- Who skipped what and why, so that it is not offered to them again.
CREATE TABLE IF NOT EXISTS review_skip (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, item_id, reviewer)
);

-- Who may review; only a hash of the token is kept.
CREATE TABLE IF NOT EXISTS reviewer (
    name TEXT PRIMARY KEY,
    token_sha256 BYTEA NOT NULL,
    role TEXT NOT NULL,               -- reviewer, lead
    created_at DOUBLE PRECISION NOT NULL
);

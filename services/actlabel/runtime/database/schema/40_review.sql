-- The review queue, the answers, and the outbox.

-- One row per item under review; it changes as people work.
CREATE TABLE IF NOT EXISTS review (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    content_revision INTEGER NOT NULL, -- of the item as stored here; a higher one opens the row again
    draw INTEGER NOT NULL,            -- of the decision as stored here; a higher one replaces the item
    item BYTEA NOT NULL,              -- the Item as the sampler sent it
    queue_order BIGINT NOT NULL,      -- hashed, so that order says nothing about risk
    state TEXT NOT NULL,              -- waiting, leased, answered, undecidable, withdrawn
    lease_token TEXT,                 -- fences: an answer under an older token is refused. An answered row has one while it is revised
    leased_by TEXT,
    leased_at DOUBLE PRECISION,
    leased_until DOUBLE PRECISION,
    revision INTEGER NOT NULL,        -- of the newest answer, in review_answer; 0: none yet
    floor_revision INTEGER NOT NULL,  -- answers up to this one were about other content
    started_revision INTEGER NOT NULL, -- the newest that was handed to the stream: it can be replaced, no longer taken back
    published_revision INTEGER NOT NULL,
    published_draw INTEGER NOT NULL,
    publish_after DOUBLE PRECISION,   -- set while something is to be published: the end of the grace period
    PRIMARY KEY (uid, item_id)
);
CREATE INDEX IF NOT EXISTS review_queue ON review (uid, state, queue_order);
CREATE INDEX IF NOT EXISTS review_outbox ON review (publish_after) WHERE publish_after IS NOT NULL;

-- One row per answer; the newest counts. Only an answer that was never handed to the stream is ever deleted (undo).
CREATE TABLE IF NOT EXISTS review_answer (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    label TEXT,                       -- NULL: undecidable
    comment TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    suggestion_shown BOOLEAN NOT NULL,
    answered_at DOUBLE PRECISION NOT NULL,
    lease_token TEXT NOT NULL,        -- under which it came: the same answer sent again is recognised
    PRIMARY KEY (uid, item_id, revision)
);
CREATE INDEX IF NOT EXISTS review_answer_history ON review_answer (uid, reviewer, answered_at);

-- Who skipped what and why, so that it is not offered to them again unless they ask for it.
CREATE TABLE IF NOT EXISTS review_skip (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    reason TEXT NOT NULL,             -- of the closed list in review_gateway/domain.py
    lease_token TEXT NOT NULL,        -- under which it came
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, item_id, reviewer)
);

-- What people want to talk about.
CREATE TABLE IF NOT EXISTS review_flag (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    comment TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, item_id, reviewer)
);

-- Who may review; only a hash of the token is kept.
CREATE TABLE IF NOT EXISTS reviewer (
    name TEXT PRIMARY KEY,
    token_sha256 BYTEA NOT NULL UNIQUE,
    role TEXT NOT NULL,               -- reviewer, lead
    created_at DOUBLE PRECISION NOT NULL
);

-- Pages that are logged in. A session is as good as the token that began it: remove the token and its sessions end.
CREATE TABLE IF NOT EXISTS review_session (
    session_sha256 BYTEA PRIMARY KEY,
    token_sha256 BYTEA NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);

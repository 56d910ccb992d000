-- Exact mode: what was critiqued, first write wins. A draw reads its population from here.
CREATE TABLE IF NOT EXISTS candidate (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    batch INTEGER NOT NULL,
    epsilon_q16 INTEGER NOT NULL,     -- as the critic said it, in units of 2^-16
    label TEXT NOT NULL,              -- the annotator's
    PRIMARY KEY (uid, item_id)
);
CREATE INDEX IF NOT EXISTS candidate_batch ON candidate (uid, batch);

CREATE TABLE IF NOT EXISTS draw (
    uid TEXT NOT NULL,
    draw INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    mode TEXT NOT NULL,               -- exact, streaming
    rule TEXT NOT NULL,
    budget BIGINT NOT NULL,
    calibration_version INTEGER NOT NULL,
    population BIGINT NOT NULL,
    manifest TEXT NOT NULL,           -- JSON: cells with their sizes, selected counts, bounds and cut-offs; hash of the key
    complete BOOLEAN NOT NULL,        -- every decision is stored
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, draw)
);

-- One row per item and draw, first write wins; emitted as stored.
CREATE TABLE IF NOT EXISTS decision (
    uid TEXT NOT NULL,
    draw INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    block BIGINT NOT NULL,            -- 0 in exact mode
    cell INTEGER NOT NULL,
    cell_selected BIGINT NOT NULL,
    cell_size BIGINT NOT NULL,
    epsilon_q16 INTEGER NOT NULL,
    selected BOOLEAN NOT NULL,
    PRIMARY KEY (uid, item_id, draw)
);

-- Exact mode: how far the decisions of a draw have been emitted, per partition of the critiqued topic.
CREATE TABLE IF NOT EXISTS emission (
    uid TEXT NOT NULL,
    draw INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    next_offset BIGINT NOT NULL,
    end_offset BIGINT NOT NULL,
    PRIMARY KEY (uid, draw, partition)
);

-- The human budget of a campaign: taken never exceeds it.
CREATE TABLE IF NOT EXISTS budget (
    uid TEXT PRIMARY KEY,
    budget BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    seen BIGINT NOT NULL
);

-- Streaming mode: one closed block, first write wins.
CREATE TABLE IF NOT EXISTS block (
    uid TEXT NOT NULL,
    block BIGINT NOT NULL,
    draw INTEGER NOT NULL,
    items INTEGER NOT NULL,
    quota INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, block)
);

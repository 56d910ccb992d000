-- What was critiqued, first write wins (a newer revision replaces an older one until it is drawn).
-- Exact mode: a draw reads its population from here. Streaming mode: what has no block yet waits for one.
CREATE TABLE IF NOT EXISTS candidate (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    batch INTEGER NOT NULL,           -- that the item was registered in
    draw_batch INTEGER NOT NULL,      -- whose draw decides it: the same, or the next one for an item that came after that draw
    revision INTEGER NOT NULL,
    epsilon_q16 INTEGER NOT NULL,     -- as the critic said it, in units of 2^-16
    label TEXT NOT NULL,              -- the annotator's
    arrived_at DOUBLE PRECISION NOT NULL,
    block BIGINT,                     -- 0 in exact mode; NULL: waits for a block
    PRIMARY KEY (uid, item_id)
);
CREATE INDEX IF NOT EXISTS candidate_batch ON candidate (uid, draw_batch, batch);
CREATE INDEX IF NOT EXISTS candidate_waiting ON candidate (uid, arrived_at, item_id) WHERE block IS NULL;

-- Exact mode: one row per draw over a batch. Streaming mode: one row for all blocks.
CREATE TABLE IF NOT EXISTS draw (
    uid TEXT NOT NULL,
    draw INTEGER NOT NULL,
    batch INTEGER NOT NULL,           -- 0 in streaming mode
    mode TEXT NOT NULL,               -- exact, streaming
    rule TEXT NOT NULL,
    budget BIGINT NOT NULL,
    selected BIGINT NOT NULL,         -- what of the budget was taken; 0 until complete
    calibration_version INTEGER NOT NULL,
    population BIGINT NOT NULL,
    raises INTEGER NOT NULL,          -- the draw whose choice this one extends; 0: none
    parameters TEXT NOT NULL,         -- JSON: what else the decisions are a function of; fixed before any item is looked at
    manifest TEXT NOT NULL,           -- JSON: cells with their bounds, sizes, selected counts and cut-offs; '' until designed
    complete BOOLEAN NOT NULL,        -- every decision is stored
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, draw)
);

-- One row per cell of a draw (exact) or of a block (streaming). The bounds of the cells of one block do not overlap.
CREATE TABLE IF NOT EXISTS cell (
    uid TEXT NOT NULL,
    draw INTEGER NOT NULL,
    block BIGINT NOT NULL,            -- 0 in exact mode
    lowest INTEGER NOT NULL,          -- epsilon in units of 2^-16
    highest INTEGER NOT NULL,
    cell INTEGER NOT NULL,            -- counts from 0, the most doubtful first
    size BIGINT NOT NULL,
    selected BIGINT NOT NULL,
    cut_off_number TEXT,              -- of the last item selected, 64 bits in hexadecimal; NULL: none is
    cut_off_item TEXT,
    PRIMARY KEY (uid, draw, block, lowest)
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

-- The human budget of a campaign: taken never exceeds it. Its row also serialises draws and blocks against new candidates.
CREATE TABLE IF NOT EXISTS budget (
    uid TEXT PRIMARY KEY,
    mode TEXT NOT NULL,               -- exact, streaming: fixed by the first candidate
    budget BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    seen BIGINT NOT NULL              -- items decided upon
);

-- Streaming mode: one closed block, first write wins.
CREATE TABLE IF NOT EXISTS block (
    uid TEXT NOT NULL,
    block BIGINT NOT NULL,            -- counts from 1
    draw INTEGER NOT NULL,
    rule TEXT NOT NULL,
    items INTEGER NOT NULL,
    quota INTEGER NOT NULL,
    manifest TEXT NOT NULL,           -- JSON: parameters and cells, as in `draw`; the members are the block's decisions
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, block)
);

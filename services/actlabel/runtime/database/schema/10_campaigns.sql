-- Campaigns, their immutable versions, and the items registered in them.
CREATE TABLE IF NOT EXISTS deployment (
    name TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- One row per campaign; it changes as the campaign lives.
CREATE TABLE IF NOT EXISTS campaign (
    uid TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL,              -- open, deleted
    partitions INTEGER NOT NULL,      -- of each of its topics
    batch INTEGER NOT NULL,           -- that new items join
    created_at DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS campaign_name ON campaign (name) WHERE state <> 'deleted';

-- One row per applied document; never changed.
CREATE TABLE IF NOT EXISTS campaign_version (
    uid TEXT NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,           -- the campaign file as canonical JSON
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, version)
);

-- Why a campaign does not go on at a stage; stage '*' is every stage.
CREATE TABLE IF NOT EXISTS campaign_pause (
    uid TEXT NOT NULL,
    stage TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, stage)
);

-- Campaigns that have a stage for themselves, with a consumer group of their own. No row: they share the stage with all others.
CREATE TABLE IF NOT EXISTS dedicated (
    uid TEXT NOT NULL,
    stage TEXT NOT NULL,
    state TEXT NOT NULL,              -- leaving: nobody reads, the shared group lets go; own; returning: nobody reads, the own group lets go
    PRIMARY KEY (uid, stage)
);

-- One row per sealed batch: how many distinct items it has.
CREATE TABLE IF NOT EXISTS seal (
    uid TEXT NOT NULL,
    batch INTEGER NOT NULL,
    items BIGINT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, batch)
);

-- What was taken in. `produced` turns true when the items topic has the record safely: a crash in between is repaired by ingesting again.
CREATE TABLE IF NOT EXISTS item (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    content_sha256 BYTEA NOT NULL,
    revision INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    gold TEXT,                        -- the true label where the user knows it; reaches no model and no reviewer
    produced BOOLEAN NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, item_id)
);
CREATE INDEX IF NOT EXISTS item_batch ON item (uid, batch);

-- What could not be processed. The bytes are on the campaign's dead topic.
CREATE TABLE IF NOT EXISTS dead (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    stage TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    topic TEXT NOT NULL,              -- where it was read
    partition INTEGER NOT NULL,
    record_offset BIGINT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    replayed_at DOUBLE PRECISION,
    PRIMARY KEY (uid, item_id)
);

-- Dead letters that were given up for good: the item stays dead, and nothing sends it round again.
CREATE TABLE IF NOT EXISTS dead_purge (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    purged_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, item_id)
);

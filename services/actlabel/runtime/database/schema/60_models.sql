-- Trained models. They outlive the campaign that they were trained on, as an export does.

-- One row per registered version; never changed. Its files lie under models/<digest> in ACTLABEL_STORAGE.
CREATE TABLE IF NOT EXISTS model_version (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,         -- counts from 1
    digest TEXT NOT NULL,             -- SHA-256 over names and hashes of its files, in hexadecimal
    campaign_uid TEXT NOT NULL,
    answers BIGINT NOT NULL,          -- of reviewers, published on the merged topic before the training data was frozen
    document TEXT NOT NULL,           -- JSON: files, labels, metrics with intervals, snapshot, configuration, versions of libraries
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX IF NOT EXISTS model_digest ON model_version (name, digest);
CREATE INDEX IF NOT EXISTS model_campaign ON model_version (campaign_uid, created_at);

-- The version that a bare name means; without a row it is the newest.
CREATE TABLE IF NOT EXISTS model_pin (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    pinned_at DOUBLE PRECISION NOT NULL
);

-- The mirror of the merged topic: what was last written for each item, so that a late duplicate never replaces what is newer.
CREATE TABLE IF NOT EXISTS mirrored (
    uid TEXT NOT NULL,
    item_id TEXT NOT NULL,
    draw INTEGER NOT NULL,
    revision INTEGER NOT NULL,        -- of the review; 0: none
    content_revision INTEGER NOT NULL,
    PRIMARY KEY (uid, item_id)
);

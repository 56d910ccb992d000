-- The embedded log: one SQLite file.

-- name: schema
-- A record's id is (partition_log.id << 40) + offset: one B-tree, in which every partition is a range that grows at its right edge.
CREATE TABLE IF NOT EXISTS topic (
    name TEXT PRIMARY KEY,
    partitions INTEGER NOT NULL,
    compacted INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS partition_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: an id that a process remembers cannot come to mean another log
    topic TEXT NOT NULL,
    number INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    UNIQUE (topic, number)
);
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    headers BLOB,                           -- JSON [[name, value as Latin-1], …]; NULL: none
    timestamp_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS committed (
    group_name TEXT NOT NULL,
    topic TEXT NOT NULL,
    number INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic, number)
) WITHOUT ROWID;

-- name: logs
SELECT id, topic, number, next_offset FROM partition_log ORDER BY topic, number;

-- name: add_topic
INSERT INTO topic (name, partitions, compacted) VALUES (?, ?, ?);

-- name: add_log
INSERT INTO partition_log (topic, number, next_offset) VALUES (?, ?, 0);

-- name: append
INSERT INTO record (id, key, value, headers, timestamp_ms) VALUES (?, ?, ?, ?, ?);

-- name: move_end
UPDATE partition_log SET next_offset = ? WHERE id = ?;

-- name: commit
INSERT INTO committed (group_name, topic, number, next_offset) VALUES (?, ?, ?, ?)
ON CONFLICT (group_name, topic, number) DO UPDATE SET next_offset = excluded.next_offset;

-- name: commit_start
INSERT INTO committed (group_name, topic, number, next_offset) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING;

-- name: committed
SELECT number, next_offset FROM committed WHERE group_name = ? AND topic = ?;

-- name: read
SELECT id, key, value, headers, timestamp_ms FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?;

-- name: drop_records
DELETE FROM record WHERE id >= ? AND id < ?;

-- name: drop_logs
DELETE FROM partition_log WHERE topic = ?;

-- name: drop_committed
DELETE FROM committed WHERE topic = ?;

-- name: drop_topic
DELETE FROM topic WHERE name = ?;

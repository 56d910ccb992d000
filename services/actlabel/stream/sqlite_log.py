"""The embedded log as two SQLite connections, one that writes and one that reads. Nothing here knows of event loops: a connection
belongs to the one thread that uses it.

Other processes may open the same file; ``PRAGMA data_version`` tells a connection that somebody else wrote.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from actlabel.core.errors import UserError
from actlabel.runtime.database.port import load_statements
from actlabel.runtime.database.sqlite_errors import translated_sqlite_errors, use_wal
from actlabel.stream.partitioner import partition_of
from actlabel.stream.port import Headers, Partition, Record, TopicSettings

_BUSY_TIMEOUT_S: Final = 30.0
_OFFSET_BITS: Final = 40
_READ_BYTES: Final = 16 * 2**20  # one read ends after so much, whatever the number of records


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A record on its way into the log."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The next offset that a group will read in a partition."""

    group: str
    partition: Partition
    offset: int


@dataclass(slots=True)
class _Log:
    """One partition as a connection last saw it."""

    id: int
    next_offset: int


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    use_wal(connection)
    # an acknowledged record survives a loss of power; group commit makes the sync cheap
    connection.execute("PRAGMA synchronous=FULL")
    return connection


class _Connection:
    """What writer and reader share: the statements, and the partitions as of the last change by anybody."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sql = load_statements("actlabel.stream", "sqlite_log.sql")
        self._connection = _connect(path)
        self._version = -1
        self._changes = 0
        self._logs: dict[Partition, _Log] = {}
        self._topics: dict[str, int] = {}

    def _refresh(self) -> None:
        """Read the partitions again if another connection wrote since the last time."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._reload()
            self._version = version
            self._changes += 1

    def _reload(self) -> None:
        self._logs = {}
        self._topics = {}
        for log_id, topic, number, next_offset in self._connection.execute(self._sql["logs"]):
            self._logs[Partition(topic, number)] = _Log(log_id, next_offset)
            self._topics[topic] = number + 1

    def close(self) -> None:
        """Close the connection; the last one to close checkpoints the file."""
        self._connection.close()


class LogWriter(_Connection):
    """Appends, commits and changes topics, each call in one transaction that is all or nothing."""

    def __init__(self, path: str) -> None:
        """Make the file and its tables where they are missing. Raises ``UserError`` when the path cannot be used."""
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path)
            self._connection.executescript(self._sql["schema"])
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"ACTLABEL_STREAM: {path} is not usable as a SQLite file ({error}); name another file") from error

    def write(self, sends: Sequence[Send], commits: Collection[Commit]) -> set[str]:
        """Append and commit together; returns the topics that do not exist, whose records and offsets are left out.

        Raises ``Fatal`` and ``RetryLater`` (nothing is written then).
        """
        with self._transaction():
            missing = {send.topic for send in sends if send.topic not in self._topics}
            if sends:
                self._append([send for send in sends if send.topic in self._topics])
            self._connection.executemany(
                self._sql["commit"], [(c.group, *c.partition, c.offset) for c in commits if c.partition in self._logs]
            )
        return missing

    def _append(self, sends: Sequence[Send]) -> None:
        rows = []
        moved: dict[int, _Log] = {}
        for send in sends:
            number = partition_of(send.key, self._topics[send.topic])
            log = self._logs[Partition(send.topic, number)]
            rows.append((log.id << _OFFSET_BITS | log.next_offset, send.key, send.value, _packed(send.headers), send.timestamp_ms))
            log.next_offset += 1
            moved[log.id] = log
        self._connection.executemany(self._sql["append"], rows)
        self._connection.executemany(self._sql["move_end"], [(log.next_offset, log.id) for log in moved.values()])

    def create_topics(self, topics: Mapping[str, TopicSettings]) -> None:
        """Make those that are missing; raises ``UserError`` where one has another partition count."""
        with self._transaction():
            for name, settings in topics.items():
                existing = self._topics.get(name)
                if existing is None:
                    self._connection.execute(self._sql["add_topic"], (name, settings.partitions, settings.compacted))
                    self._connection.executemany(self._sql["add_log"], [(name, number) for number in range(settings.partitions)])
                elif existing != settings.partitions:
                    raise UserError(f"topic {name} has {existing} partitions and cannot get {settings.partitions}")
            self._reload()

    def delete_topics(self, names: Collection[str]) -> None:
        """Remove topics with everything in them."""
        with self._transaction():
            for name in names:
                for number in range(self._topics.get(name, 0)):
                    start = self._logs[Partition(name, number)].id << _OFFSET_BITS
                    self._connection.execute(self._sql["drop_records"], (start, start + (1 << _OFFSET_BITS)))
                for statement in ("drop_logs", "drop_committed", "drop_topic"):
                    self._connection.execute(self._sql[statement], (name,))
            self._reload()

    def commit_start(self, group: str, topic: str) -> None:
        """Commit 0 for every partition of a topic in which the group has committed nothing."""
        with self._transaction():
            rows = [(group, topic, number) for number in range(self._topics.get(topic, 0))]
            self._connection.executemany(self._sql["commit_start"], rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated_sqlite_errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._refresh()
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._version = -1  # forget what this transaction made the connection believe
                if self._connection.in_transaction:  # SQLite undoes some failures itself
                    self._connection.execute("ROLLBACK")
                raise


class LogReader(_Connection):
    """Reads records, ends and committed offsets."""

    def changes(self) -> int:
        """Look what others wrote; returns a number that grows whenever anybody did."""
        with translated_sqlite_errors(self._path):
            self._refresh()
        return self._changes

    def topics(self) -> Mapping[str, int]:
        """Return every topic with its partition count."""
        self.changes()
        return dict(self._topics)

    def ends(self, topic: str) -> Mapping[Partition, int]:
        """Return the next offset of every partition of a topic; nothing where the topic does not exist."""
        self.changes()
        return {partition: log.next_offset for partition, log in self._logs.items() if partition.topic == topic}

    def committed(self, group: str, topic: str) -> Mapping[Partition, int | None]:
        """Return a group's next offset for every partition of a topic."""
        self.changes()
        with translated_sqlite_errors(self._path):
            stored = dict(self._connection.execute(self._sql["committed"], (group, topic)))
        return {Partition(topic, number): stored.get(number) for number in range(self._topics.get(topic, 0))}

    def read(self, starts: Mapping[Partition, int], max_records: int) -> list[Record]:
        """Read up to ``max_records`` from the given offsets on, an equal share from every partition that has any."""
        self.changes()
        ready = [(p, at) for p, at in starts.items() if p in self._logs and self._logs[p].next_offset > at]
        records: list[Record] = []
        room = _READ_BYTES
        for index, (partition, start) in enumerate(ready):
            share = -(-(max_records - len(records)) // (len(ready) - index))
            for record in self.scan(partition, start, self._logs[partition].next_offset, share):
                records.append(record)
                room -= len(record.value)
                if room <= 0:
                    return records
        return records

    def scan(self, partition: Partition, start: int, end: int, limit: int) -> Iterator[Record]:
        """Read ``start <= offset < end`` of one partition, at most ``limit`` records."""
        log = self._logs.get(partition)
        if log is None or limit <= 0:
            return
        base = log.id << _OFFSET_BITS
        with translated_sqlite_errors(self._path):
            for at, key, value, headers, timestamp_ms in self._connection.execute(self._sql["read"], (base + start, base + end, limit)):
                yield Record(partition, at - base, key, value, _unpacked(headers), timestamp_ms)


def _packed(headers: Headers) -> bytes | None:
    """Write headers; Latin-1 turns any byte into the character of its number and back."""
    return orjson.dumps([(name, value.decode("latin-1")) for name, value in headers]) if headers else None


def _unpacked(headers: bytes | None) -> Headers:
    return tuple([(name, value.encode("latin-1")) for name, value in orjson.loads(headers)]) if headers else ()

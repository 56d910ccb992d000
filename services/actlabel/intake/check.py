"""The first pass: everything that can be refused is refused before anything is written."""

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from actlabel.core.errors import Fatal, UserError
from actlabel.intake.raw_record import RawRecord

SHOWN_PROBLEMS = 20
_CACHE_KIB = 8192


@dataclass(slots=True)
class Findings:
    """What the first pass saw."""

    records: int = 0
    duplicates: int = 0  # the same id with the same content again
    problems: list[str] = field(default_factory=list)  # the first few, a line each
    problem_count: int = 0

    def add(self, problem: UserError) -> None:
        """Count a problem and keep the first few."""
        self.problem_count += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(str(problem))

    def raise_problems(self) -> None:
        """Raise ``UserError`` with every kept problem, if there is any."""
        if not self.problem_count:
            return
        more = self.problem_count - len(self.problems)
        tail = [f"… and {more} more"] if more else []
        lines = [*self.problems, *tail, f"{self.problem_count} of {self.records} records refused; nothing was ingested"]
        raise UserError("\n".join(lines))


class Uniqueness:
    """Remembers ids with their content, in a temporary file that nobody else sees: a file of any length is checked in the same memory."""

    def __init__(self) -> None:
        """Begin with nothing seen. SQLite keeps what is small in memory, removes the file when it is closed, and at a crash."""
        self._seen = sqlite3.connect("", isolation_level=None)
        self._seen.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._seen.execute("PRAGMA journal_mode = OFF")  # nothing here is worth a second write
        self._seen.execute("CREATE TABLE seen (id BLOB PRIMARY KEY, content BLOB NOT NULL, place TEXT NOT NULL) WITHOUT ROWID")
        self._seen.execute("BEGIN")  # one transaction for all: it is never committed

    def is_duplicate(self, record: RawRecord) -> bool:
        """Say whether id and content came before. Raises ``UserError`` when the id came with other content, ``Fatal`` on a full disk."""
        key = hashlib.blake2b(record.id.encode(), digest_size=16).digest()
        content = record.content_sha256()[:16]
        if self._added(key, content, record.where):
            return False
        first, place = self._seen.execute("SELECT content, place FROM seen WHERE id = ?", (key,)).fetchone()
        if first != content:
            raise UserError(f"{record.where}: id {record.id!r} came with other content at {place}; ids are unique in a campaign")
        return True

    def _added(self, key: bytes, content: bytes, place: str) -> bool:
        try:
            return bool(self._seen.execute("INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (key, content, place)).rowcount)
        except sqlite3.DatabaseError as error:
            folder = tempfile.gettempdir()
            raise Fatal(f"{folder}: has no room to check the file in ({error}); free some, or set SQLITE_TMPDIR") from error

    def close(self) -> None:
        """Forget everything."""
        self._seen.close()


def distinct(records: Iterable[RawRecord | UserError], findings: Findings, refuse: Callable[[UserError], None]) -> Iterator[RawRecord]:
    """Yield each usable record once, in order; hand each problem to ``refuse`` and count it."""
    with closing(Uniqueness()) as seen:
        for record in records:
            findings.records += 1
            try:
                if isinstance(record, UserError):
                    raise record
                if seen.is_duplicate(record):
                    findings.duplicates += 1
                else:
                    yield record
            except UserError as problem:
                findings.add(problem)
                refuse(problem)

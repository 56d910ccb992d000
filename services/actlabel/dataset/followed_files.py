"""The files of a followed export: each whole when it appears, and a record of how far they go that no kill can contradict.

The order in which a part becomes real: its hidden file is complete and on disk; one transaction in ``.position.db`` notes offsets, ranks
and the part; the file takes its name. Killed before the transaction, the hidden file is thrown away and its records are read again.
Killed after it, the next start gives the file its name.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from actlabel.core.errors import UserError
from actlabel.dataset.flat import Rank
from actlabel.dataset.folder import sync
from actlabel.dataset.followed_parts import JsonLinesPart, PartFile
from actlabel.dataset.rows import Row
from actlabel.runtime.arrow import arrow_at_hand

FollowedFormat = Literal["jsonl", "parquet"]
POSITION: Final = ".position.db"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS about (campaign_uid TEXT NOT NULL, format TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS position (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS part (number INTEGER PRIMARY KEY, records INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS written (
    item_id TEXT PRIMARY KEY, draw INTEGER NOT NULL, revision INTEGER NOT NULL, content_revision INTEGER NOT NULL
) WITHOUT ROWID;
"""


class FollowedFiles:
    """The folder of one followed export; one process at a time has it."""

    def __init__(self, folder: Path, *, campaign_uid: str, file_format: FollowedFormat) -> None:
        """Make or take up the folder. Raises ``UserError``: it holds something else, or another process writes there."""
        self._folder = folder
        self._format: FollowedFormat = file_format
        self._refuse_foreign()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = _opened(folder / POSITION)
        except (OSError, sqlite3.DatabaseError) as error:
            raise UserError(f"{folder}: cannot be written, or another process follows into it ({error})") from error
        try:
            self._claim(campaign_uid)
            self._recover()
        except BaseException:
            self._database.close()
            raise
        self._open: PartFile | None = None
        self._records = 0
        self._ranks: dict[str, Rank] = {}
        self.next: dict[int, int] = dict(self._database.execute("SELECT partition, next FROM position").fetchall())
        self._noted = dict(self.next)

    def _refuse_foreign(self) -> None:
        if self._folder.exists() and not (self._folder / POSITION).exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            raise UserError(f"{self._folder}: is there and no followed export; name another place, or remove it first")

    def _claim(self, campaign_uid: str) -> None:
        about = self._database.execute("SELECT campaign_uid, format FROM about").fetchall()
        if about and about[0] != (campaign_uid, self._format):
            raise UserError(f"{self._folder}: follows campaign {about[0][0]} as {about[0][1]}; name another place")
        if not about:
            with self._database:
                self._database.execute("INSERT INTO about VALUES (?, ?)", (campaign_uid, self._format))

    def _recover(self) -> None:
        """Give a noted part its name, and throw away what was never noted."""
        number = self._last()
        if number and self._draft(number).exists():
            self._publish(number)
        for stray in self._folder.glob(".part-*"):
            stray.unlink(missing_ok=True)

    def _last(self) -> int:
        return int(self._database.execute("SELECT COALESCE(MAX(number), 0) FROM part").fetchone()[0])

    def _draft(self, number: int) -> Path:
        return self._folder / f".part-{number:08}.{self._format}"

    def _publish(self, number: int) -> None:
        self._draft(number).replace(self._folder / f"part-{number:08}.{self._format}")
        sync(self._folder)

    @property
    def records(self) -> int:
        """How many records the open part holds."""
        return self._records

    def is_news(self, item_id: str, rank: Rank) -> bool:
        """Say whether a record is above all that were written of its item."""
        last = (
            self._ranks.get(item_id)
            or self._database.execute("SELECT draw, revision, content_revision FROM written WHERE item_id = ?", (item_id,)).fetchone()
        )
        return last is None or rank > tuple(last)

    def write(self, row: Row, rank: Rank) -> None:
        """Add a record to the open part. Raises ``UserError`` when the disk refuses."""
        try:
            if self._open is None:
                path = self._draft(self._last() + 1)
                self._open = JsonLinesPart(path) if self._format == "jsonl" else _columns(path)
            self._open.write(row)
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written ({error.strerror or error})") from error
        self._ranks[row["id"]] = rank
        self._records += 1

    def rotate(self) -> int:
        """Make the open part real, with the position up to which it goes; return its number of records. Raises ``UserError``."""
        records, number = self._records, self._last() + 1
        if not records and self.next == self._noted:
            return 0
        try:
            if self._open is not None:
                self._open.close()
                sync(self._draft(number))
            self._note(number, self.next)
            if records:
                self._publish(number)
        except (OSError, sqlite3.DatabaseError) as error:
            raise UserError(f"{self._folder}: cannot be written ({error})") from error
        self._open, self._records, self._ranks, self._noted = None, 0, {}, dict(self.next)
        return records

    def _note(self, number: int, positions: Mapping[int, int]) -> None:
        ranks = [(name, *rank) for name, rank in self._ranks.items()]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO position VALUES (?, ?)", positions.items())
            self._database.executemany("INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)", ranks)
            if self._records:
                self._database.execute("INSERT INTO part VALUES (?, ?)", (number, self._records))

    def close(self) -> None:
        """Release the folder. What was not rotated is read again next time."""
        if self._open is not None:
            self._open.close()
        self._database.close()


def _columns(path: Path) -> PartFile:
    with arrow_at_hand("a followed export to Parquet"):
        from actlabel.dataset.followed_parquet import ParquetPart  # noqa: PLC0415 - see runtime/arrow.py
    return ParquetPart(path)


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN EXCLUSIVE")  # fails at once where another process has the folder; kept until close
        database.commit()
        database.executescript(_TABLES)
    except BaseException:
        database.close()
        raise
    return database

"""Files into checked records."""

from collections.abc import Iterator
from pathlib import Path

from actlabel.core.errors import UserError
from actlabel.intake.fields import Fields
from actlabel.intake.mapping import mapped
from actlabel.intake.raw_record import RawRecord
from actlabel.intake.rows import Row, read_rows

Problem = UserError


def read_records(path: Path, fields: Fields) -> Iterator[RawRecord | Problem]:
    """Read a file or folder and yield each record, or the ``UserError`` that says what is wrong with it and where.

    Raises ``UserError`` when the file as a whole cannot be read or holds no record at all.
    """
    empty = True
    folder = path if path.is_dir() else path.parent
    for row in read_rows(path):
        empty = False
        yield _record_or_problem(row, fields, folder)
    if empty:
        raise UserError(f"{path}: holds no records; there is nothing to ingest")


def good_records(path: Path, fields: Fields) -> Iterator[RawRecord]:
    """Read records and raise the first problem."""
    for record in read_records(path, fields):
        if isinstance(record, UserError):
            raise record
        yield record


def _record_or_problem(row: Row, fields: Fields, folder: Path) -> RawRecord | Problem:
    if row.problem is not None:
        return UserError(f"{row.where}: {row.problem}")
    try:
        return mapped(row, fields, folder)
    except UserError as error:
        return error

"""Take a file or folder into a campaign: check all of it, then register and produce it."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from actlabel.core.errors import UserError
from actlabel.intake.check import Findings, distinct
from actlabel.intake.fields import Fields
from actlabel.intake.readers import read_records
from actlabel.intake.register import Register

BATCH = 500
_T = TypeVar("_T")

Progress = Callable[[str, int, int | None], None]
"""Told (what is being done, records so far, records in all or None)."""


class Rejects:
    """Where refused records are told of: nowhere, or a JSONL file of {where, problem} lines."""

    def __init__(self, path: Path | None) -> None:
        """``path``: the file; one of an earlier run is removed, a new one is made when the first record is refused."""
        self.path = path
        if path is not None:
            path.unlink(missing_ok=True)

    def add(self, problem: UserError) -> None:
        """Append a problem."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"problem": str(problem)}, ensure_ascii=False) + "\n")


async def ingest(
    register: Register, path: Path, fields: Fields, *, replace: bool = False, rejects: Path | None = None, progress: Progress
) -> Findings:
    """Ingest ``path``. Without ``rejects`` one bad record refuses the whole, with it bad records are listed there and the rest goes in.

    Raises ``UserError``: unusable file, bad records, an id registered with other content. Nothing is written before all is checked.
    """
    findings = Findings()
    aside = Rejects(rejects)
    await _check(register, path, fields, findings, aside, replace=replace, progress=progress)
    if rejects is None:
        findings.raise_problems()
    await _take(register, path, fields, findings, replace=replace, progress=progress)
    return findings


async def _check(
    register: Register, path: Path, fields: Fields, findings: Findings, aside: Rejects, *, replace: bool, progress: Progress
) -> None:
    for batch in _batches(distinct(read_records(path, fields), findings, aside.add)):
        for problem in (await register.conflicts(batch, replace=replace)).values():
            findings.add(problem)
            aside.add(problem)
        progress("checked", findings.records, None)


async def _take(register: Register, path: Path, fields: Fields, findings: Findings, *, replace: bool, progress: Progress) -> None:
    again = Findings()
    done = 0
    for batch in _batches(distinct(read_records(path, fields), again, lambda _: None)):
        refused = await register.conflicts(batch, replace=replace) if findings.problem_count else {}
        await register.take([record for record in batch if record.id not in refused], replace=replace)
        done += len(batch)
        progress("ingested", done, findings.records - findings.duplicates)


def _batches(values: Iterable[_T]) -> Iterator[list[_T]]:
    source = iter(values)
    while batch := list(islice(source, BATCH)):
        yield batch

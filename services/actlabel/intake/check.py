"""The first pass: everything that can be refused is refused before anything is written."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from actlabel.core.errors import UserError
from actlabel.intake.raw_record import RawRecord

SHOWN_PROBLEMS = 20


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
    """Remembers ids with their content: 32 bytes an item and Python's overhead, about 250 bytes."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._seen: dict[bytes, tuple[bytes, str]] = {}

    def is_duplicate(self, record: RawRecord) -> bool:
        """Say whether id and content came before. Raises ``UserError`` when the id came with other content."""
        key = hashlib.blake2b(record.id.encode(), digest_size=16).digest()
        content = record.content_sha256()[:16]
        first = self._seen.setdefault(key, (content, record.where))
        if first[0] != content:
            raise UserError(f"{record.where}: id {record.id!r} came with other content at {first[1]}; ids are unique in a campaign")
        return first[1] != record.where


def distinct(records: Iterable[RawRecord | UserError], findings: Findings, refuse: Callable[[UserError], None]) -> Iterator[RawRecord]:
    """Yield each usable record once, in order; hand each problem to ``refuse`` and count it."""
    seen = Uniqueness()
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

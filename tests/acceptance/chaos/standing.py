"""Processes and watermarks: what is read again after a kill, what stands still, what ends by itself. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.acceptance.chaos.oracles import Violation


@dataclass(frozen=True, kw_only=True)
class Reread:
    """What the successors of a killed process would read again."""

    member: str
    records: int  # done, and not below the committed offsets
    bound: int


def within_window(rereads: Iterable[Reread]) -> Iterator[Violation]:
    """Re-reads after a kill ≤ window."""
    for one in rereads:
        if one.records > one.bound:
            yield Violation(
                oracle="window", what=f"{one.records} records were done and not committed when {one.member} died, bound {one.bound}"
            )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Where every partition of the stages stood at a moment."""

    at_s: float
    committed: Mapping[str, int]  # topic and partition
    ends: Mapping[str, int]


def stagnation(samples: Sequence[Sample], outages: Sequence[tuple[float, float]], *, patience_s: float) -> Iterator[Violation]:
    """With lag above zero the watermark of every partition moves within ``patience_s``, outages apart."""
    since: dict[str, float] = {}
    told: set[str] = set()
    for before, now in pairwise(samples):
        disturbed = any(start <= now.at_s and before.at_s <= end for start, end in outages)
        for place, end in now.ends.items():
            lags = now.committed.get(place, 0) < end and before.committed.get(place, 0) < before.ends.get(place, 0)
            if disturbed or not lags or now.committed.get(place, 0) > before.committed.get(place, 0):
                since.pop(place, None)
                continue
            stood_s = now.at_s - since.setdefault(place, before.at_s)
            if stood_s > patience_s and place not in told:
                told.add(place)
                yield Violation(oracle="stagnation", what=f"{place} stood at {now.committed.get(place, 0)} of {end} for {stood_s:.0f} s")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that ended without being told to."""

    member: str
    code: int
    excused: bool  # it was starting while what it needs was out of reach
    last_words: str


def none_ended(ended: Iterable[Ended]) -> Iterator[Violation]:
    """No process ends by itself, but one that starts into an outage."""
    for one in ended:
        if not one.excused:
            yield Violation(oracle="processes", what=f"{one.member} ended by itself with {one.code}: {one.last_words}")

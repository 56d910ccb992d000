"""The outcome of an audit: how many items are where, what each topic holds, and what is wrong with which ids."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from actlabel.audit.decide import DEAD, FOREIGN, IN_FLIGHT, IN_REVIEW, LOST, MERGED, NEWCOMER, PURGED, Verdict
from actlabel.audit.facts import KINDS, Flag, Place
from actlabel.audit.history import TOPIC_PLACES, History

FIRST_IDS: Final = 10
"""So many ids are kept of each kind of violation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLine:
    """What one topic holds."""

    kind: str
    records: int  # readable and not
    items: int  # distinct ids
    repeated: int  # records that say again what an earlier one said: same id, revision, draw and answer
    replayed: int  # records that a replay of dead letters appended
    unreadable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One kind of fault."""

    fault: str  # a key of ``decide.FAULTS``
    items: int
    first: tuple[str, ...]  # ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One audit. ``registered = merged + in_review + dead + in_flight``, or there is a violation."""

    registered: int
    merged: int
    reviewed: int  # of the merged: with an answer of a reviewer
    in_review: int
    dead: int  # purged ones among them
    purged: int
    in_flight: Mapping[str, int]  # place → items
    lost: int
    revised: int  # of the registered: with more than one revision
    foreign: int  # never registered
    topics: Sequence[TopicLine]
    violations: Sequence[Violation]
    lag: int  # records that their stage had not committed when the audit began
    facts: int  # records and rows looked at
    memory_bytes: int  # the most that facts may take in memory
    seconds: float

    @property
    def balances(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.violations

    @property
    def moving(self) -> bool:
        """Say whether something is in flight, so that the proof covers the way only as far as it was gone."""
        return bool(self.lag or sum(self.in_flight.values()))


@dataclass(slots=True)
class Tally:
    """Adds verdicts up."""

    where: Counter[str] = field(default_factory=Counter)
    reviewed: int = 0
    revised: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[bytes]] = field(default_factory=dict)  # fault → digests
    counts: Counter[tuple[int, str]] = field(default_factory=Counter)  # (place, column) → records or items

    def add(self, digest: bytes, history: History, verdict: Verdict) -> None:
        """Count one id."""
        self.where[verdict.where] += 1
        if verdict.where == MERGED:
            self.reviewed += any(fact.flags & Flag.HUMAN for fact in history.records[Place.MERGED])
        if history.register is not None:
            self.revised += history.register.revision > 1
        for fault in verdict.faults:
            self.faults[fault] += 1
            firsts = self.first.setdefault(fault, [])
            if len(firsts) < FIRST_IDS:
                firsts.append(digest)
        for place in TOPIC_PLACES:
            self._count(place, history)
        for fact in history.unreadable:
            self.counts[fact.place, "unreadable"] += 1
        if history.letters:
            self._count_letters(history)

    def _count(self, place: Place, history: History) -> None:
        records = history.records[place]
        if not records:
            return
        counts = self.counts
        counts[place, "records"] += len(records)
        counts[place, "items"] += 1
        if len(records) > 1:
            replayed = history.replayed(place)
            distinct = len({(fact.revision, fact.draw, fact.review) for fact in records})
            counts[place, "replayed"] += replayed
            counts[place, "repeated"] += max(0, len(records) - distinct - replayed)

    def _count_letters(self, history: History) -> None:
        distinct = len({(letter.source, letter.offset) for letter in history.letters})
        self.counts[Place.LETTER, "records"] += len(history.letters)
        self.counts[Place.LETTER, "items"] += 1
        self.counts[Place.LETTER, "repeated"] += len(history.letters) - distinct

    def ledger(self, names: Mapping[bytes, str], *, lag: int, facts: int, memory_bytes: int, seconds: float) -> Ledger:
        """Write the ledger; ``names`` gives the ids of the digests in ``first``."""
        where = self.where
        return Ledger(
            registered=sum(count for place, count in where.items() if place not in {FOREIGN, NEWCOMER}),
            merged=where[MERGED],
            reviewed=self.reviewed,
            in_review=where[IN_REVIEW],
            dead=where[DEAD] + where[PURGED],
            purged=where[PURGED],
            in_flight={place: where[place] for place in IN_FLIGHT if where[place]},
            lost=where[LOST],
            revised=self.revised,
            foreign=where[FOREIGN],
            topics=[self._line(place) for place in (*TOPIC_PLACES, Place.LETTER)],
            violations=[self._violation(fault, names) for fault, _ in self.faults.most_common()],
            lag=lag,
            facts=facts,
            memory_bytes=memory_bytes,
            seconds=seconds,
        )

    def _line(self, place: Place) -> TopicLine:
        counts = self.counts
        unreadable = counts[place, "unreadable"]
        return TopicLine(
            kind=KINDS[place],
            records=counts[place, "records"] + unreadable,
            items=counts[place, "items"],
            repeated=counts[place, "repeated"],
            replayed=counts[place, "replayed"],
            unreadable=unreadable,
        )

    def _violation(self, fault: str, names: Mapping[bytes, str]) -> Violation:
        first = tuple(sorted(names.get(digest, digest.hex()) for digest in self.first[fault]))
        return Violation(fault=fault, items=self.faults[fault], first=first)

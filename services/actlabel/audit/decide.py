"""Where an item is, and what is wrong with it: a pure function of what was found of one id.

The order in which the audit looks (see ``freeze.py``) makes this safe on a campaign that moves: a record below a committed offset had its
output before the topics' late ends were taken, so what is missing then is lost; and only what was there before the database was read
(``EARLY``) can contradict the database.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from actlabel.audit.facts import Fact, Flag, Place
from actlabel.audit.history import TOPIC_PLACES, History
from actlabel.core import topics

MERGED: Final = "merged"
IN_REVIEW: Final = "open in review"
DEAD: Final = "dead"
PURGED: Final = "purged"
LOST: Final = "lost"
FOREIGN: Final = "foreign"  # never registered
NEWCOMER: Final = "newcomer"  # registered while the audit looked
INGEST: Final = "ingest"
DRAW: Final = "draw"
EMISSION: Final = "emission"
OUTBOX: Final = "outbox"
REPLAY: Final = "replay"

IN_FLIGHT: Final = {
    INGEST: "registered by an ingest that has not finished",
    topics.ANNOTATOR: "waits for the annotator, or is with it",
    topics.CRITICIZER: "waits for the criticizer, or is with it",
    topics.SAMPLER: "waits for the sampler, or is with it",
    DRAW: "waits for a seal or a draw",
    EMISSION: "decided, on its way out of the sampler",
    topics.REVIEW_GATEWAY: "waits for the review gateway, or is with it",
    OUTBOX: "answered, on its way to the merged topic",
    REPLAY: "a dead letter whose replay has begun",
}
"""Where an item can be in flight, and what that means."""

FAULTS: Final = {
    "lost": "read and committed by a stage, and nowhere after it",
    "never-produced": "registered as taken in, but not on the items topic",
    "unregistered": "on a topic, but never registered by an ingest",
    "two-places": "counted in two places that exclude each other",
    "skipped-a-stage": "on a topic, but not on the one before it",
    "decisions-differ": "its decision or π is not the same on every topic and in the database",
    "answers-differ": "its annotation or critique changed on the way",
    "epsilon-differs": "its decision was made with another number than its critic's",
    "merged-unreviewed": "selected for review, but merged without an answer",
    "human-overwritten": "its last record on merged is not the reviewed one, or one of a lower draw or revision",
    "label-differs": "the label on merged is not the one that a reviewer submitted",
    "unreadable": "a record of this id on review or merged is no item of this campaign",
    "no-letter": "counts as dead, but the dead topic has no message of it",
    "scattered": "its records lie in more than one partition",
    "unknown-revision": "a record is of a revision that was never registered",
}
"""The closed list of what an audit can accuse of, and what each means."""

_READER: Final = {
    Place.ITEMS: topics.ANNOTATOR,
    Place.ANNOTATED: topics.CRITICIZER,
    Place.CRITIQUED: topics.SAMPLER,
    Place.REVIEW: topics.REVIEW_GATEWAY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How far every reader was, at a moment before the late ends of the topics were taken."""

    committed: Mapping[tuple[int, int], int]  # (place, partition) → below it the place's reader is done
    emitting: Mapping[int, Sequence[tuple[int, int]]]  # partition of `critiqued` → offsets that open draws have still to send out

    def is_read(self, fact: Fact) -> bool:
        """Say whether the stage that reads this record's topic is done with it."""
        return fact.offset < self.committed.get((fact.place, fact.partition), 0)


class Verdict(NamedTuple):
    """Where one id is, and what is wrong."""

    where: str  # merged, open in review, dead, purged, lost, foreign, newcomer, or a key of IN_FLIGHT
    faults: tuple[str, ...]


def decide(history: History, moment: Moment) -> Verdict:
    """Decide about one id."""
    if history.register is None:
        return _unregistered(history)
    revision = history.newest()
    where, fault = _where(history, revision, moment)
    faults = (fault, *_contradictions(history, revision, where), *_decision_faults(history), *_record_faults(history))
    return Verdict(where, tuple(dict.fromkeys(fault for fault in faults if fault)))


def _unregistered(history: History) -> Verdict:
    """What somebody else wrote to our topics is harmless where it was put aside at once; what came while we looked is none of ours yet."""
    early = [fact for fact in (*history.every(), *history.unreadable) if fact.flags & Flag.EARLY]
    if not early:
        is_foreign = history.dead is not None and history.dead.source == Place.LETTER  # put aside from a topic that is none of ours
        return Verdict(FOREIGN if is_foreign else NEWCOMER, ())
    contained = history.dead is not None and not any(history.records[place] for place in TOPIC_PLACES[1:])
    return Verdict(FOREIGN, () if contained else ("unregistered",))


def _where(history: History, revision: int, moment: Moment) -> tuple[str, str]:
    """Return where the newest revision is, and ``lost`` or ``never-produced`` where that is nowhere."""
    if _is_dead(history, revision):
        return (PURGED if history.dead and history.dead.flags & Flag.PURGED else DEAD), ""
    merged = _of(history, Place.MERGED, revision)
    if _is_open(history, revision, merged):
        return IN_REVIEW, ""
    if _awaits_publication(history, revision, merged):
        return (OUTBOX, "") if _pending(history) else (LOST, "lost")
    return (MERGED, "") if merged else _in_flight(history, revision, moment)


def _of(history: History, place: Place, revision: int) -> list[Fact]:
    return [fact for fact in history.records[place] if fact.revision == revision]


def _is_dead(history: History, revision: int) -> bool:
    """A dead letter counts until its replay has begun, and for the content that it is about: a newer revision goes its own way."""
    if history.dead is None or history.dead.flags & Flag.REPLAYING:
        return False
    about = [letter.revision for letter in history.letters]
    return not about or 0 in about or max(about) >= revision


def _is_open(history: History, revision: int, merged: Sequence[Fact]) -> bool:
    """Open, unless the answer came between the look at the database and the end of the topic. A machine's label of an earlier draw on
    `merged` does not close a review."""
    queue = history.queue
    if queue is None or queue.revision != revision or not queue.flags & Flag.OPEN:
        return False
    return not any(_is_late(fact) and (fact.flags & Flag.HUMAN or fact.draw >= queue.draw) for fact in merged)


def _is_late(fact: Fact) -> bool:
    return not fact.flags & Flag.EARLY


def _awaits_publication(history: History, revision: int, merged: Sequence[Fact]) -> bool:
    """An answered item is merged when its newest published answer is there."""
    queue = history.queue
    if queue is None or queue.revision != revision or not queue.flags & Flag.ANSWERED:
        return False
    return not any(fact.flags & Flag.HUMAN for fact in merged)


def _pending(history: History) -> bool:
    return history.queue is not None and bool(history.queue.flags & Flag.PENDING)


def _in_flight(history: History, revision: int, moment: Moment) -> tuple[str, str]:
    """Find the stage that still has it: the furthest whose reader has not committed past it."""
    if history.dead is not None and history.dead.flags & Flag.REPLAYING:
        return REPLAY, ""
    for place in (Place.REVIEW, Place.CRITIQUED, Place.ANNOTATED, Place.ITEMS):
        records = _of(history, place, revision)
        if place == Place.CRITIQUED and records and (waits := _waits_in_sampler(history, records, moment)):
            return waits, ""
        if any(not moment.is_read(fact) for fact in records):
            return _READER[place], ""
    if any(not moment.is_read(fact) for fact in history.unreadable if fact.place in _READER):
        return _READER[Place(min(fact.place for fact in history.unreadable))], ""
    assert history.register is not None
    if not _of(history, Place.ITEMS, revision):
        return (INGEST, "") if not history.register.flags & Flag.PRODUCED else (LOST, "never-produced")
    return LOST, "lost"


def _waits_in_sampler(history: History, records: Sequence[Fact], moment: Moment) -> str:
    """Exact mode commits what it has indexed: the item waits for its draw, then for the emission to come by."""
    if not all(moment.is_read(fact) for fact in records):
        return ""
    candidate = history.candidate
    if candidate is None or not candidate.flags & Flag.EXACT:
        return ""
    if not history.decisions:
        return DRAW
    reached = ((fact, gap) for fact in records for gap in moment.emitting.get(fact.partition, ()))
    return EMISSION if any(start <= fact.offset < end for fact, (start, end) in reached) else ""


def _contradictions(history: History, revision: int, where: str) -> Iterator[str]:
    """Find what was there before the database was read and denies what the database says."""
    merged, sent = (_early(history, place, revision) for place in (Place.MERGED, Place.REVIEW))
    queue = history.queue
    is_open = queue is not None and queue.revision == revision and bool(queue.flags & Flag.OPEN)
    if where in {DEAD, PURGED}:
        if merged or (is_open and sent):
            yield "two-places"
        if not history.letters:
            yield "no-letter"
    elif where == IN_REVIEW and queue is not None and any(fact.flags & Flag.HUMAN or fact.draw >= queue.draw for fact in merged):
        yield "two-places"


def _early(history: History, place: Place, revision: int) -> list[Fact]:
    return [fact for fact in _of(history, place, revision) if fact.flags & Flag.EARLY]


def _decision_faults(history: History) -> Iterator[str]:
    known: dict[int, int] = dict(history.decisions)
    for fact in (*history.records[Place.REVIEW], *history.records[Place.MERGED]):
        stored = known.setdefault(fact.draw, fact.decision)
        is_missing = bool(fact.flags & Flag.EARLY) and fact.draw not in history.decisions
        if stored != fact.decision or not fact.decision or is_missing:
            yield "decisions-differ"
        if fact.place == Place.MERGED and fact.flags & Flag.SELECTED and not fact.flags & Flag.HUMAN:
            yield "merged-unreviewed"
    yield from _epsilon_faults(history)


def _epsilon_faults(history: History) -> Iterator[str]:
    """A revision that came after its draw keeps the decision, made with the old critic's number; of one revision both are the same."""
    if history.newest() != 1:
        return
    said = {fact.epsilon for fact in history.records[Place.CRITIQUED]} | ({history.candidate.epsilon} if history.candidate else set())
    sent = (*history.records[Place.REVIEW], *history.records[Place.MERGED])
    if any(said != {fact.epsilon} for fact in sent if fact.flags & Flag.UNCALIBRATED):
        yield "epsilon-differs"


def _record_faults(history: History) -> Iterator[str]:
    yield from _order_faults(history)
    yield from _answer_faults(history)
    yield from _last_record_faults(history)
    if any(fact.place >= Place.REVIEW for fact in history.unreadable):
        yield "unreadable"
    if len({fact.partition for fact in history.every()}) > 1:
        yield "scattered"
    assert history.register is not None
    if any(fact.flags & Flag.EARLY and fact.revision > history.register.revision for fact in history.every()):
        yield "unknown-revision"


def _order_faults(history: History) -> Iterator[str]:
    revisions = [{fact.revision for fact in records} for records in history.records]
    items, annotated, critiqued, review, _ = revisions
    by_hand = {fact.revision for fact in history.records[Place.MERGED] if fact.flags & Flag.HUMAN}
    machine = revisions[Place.MERGED] - by_hand
    if annotated - items or critiqued - annotated or (review | machine) - critiqued or by_hand - review:
        yield "skipped-a-stage"


def _answer_faults(history: History) -> Iterator[str]:
    """What one model said of one revision stays the same wherever it appears; what a reviewer said is what the database has."""
    said: dict[tuple[int, int], int] = {}
    for fact in history.every():
        for part, value in ((0, fact.annotation), (1, fact.critique)):
            if value and said.setdefault((fact.revision, part), value) != value:
                yield "answers-differ"
    for fact in history.records[Place.MERGED]:
        if fact.flags & Flag.HUMAN and history.answers.get(fact.review, 0 if fact.flags & Flag.EARLY else fact.human) != fact.human:
            yield "label-differs"


def _last_record_faults(history: History) -> Iterator[str]:
    """Compaction keeps the last record by offset, readers take the highest (revision, draw, review): they must be the same."""
    records = history.records[Place.MERGED]
    if records and _rank(records[-1]) < max(map(_rank, records)):
        yield "human-overwritten"


def _rank(fact: Fact) -> tuple[int, int, int]:
    return fact.revision, fact.draw, fact.review

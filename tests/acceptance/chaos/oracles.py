"""What must hold, whatever was done to the system. Pure: evidence in, violations out; each names the ids that break it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tests.acceptance.chaos.asked import Request
from tests.acceptance.chaos.evidence import Emitted, Evidence

_NAMED: Final = 8
_OPEN: Final = frozenset({"waiting", "leased"})
_STORED_S: Final = 2.0  # an answer is in the database so long after it came, unless the database is out of reach
_KILLED_S: Final = 0.25  # how soon the endpoint sees that a caller is gone


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that must not be."""

    oracle: str
    what: str
    ids: tuple[str, ...] = ()  # the first few

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.oracle}: {self.what}" + (f": {', '.join(self.ids)}" if self.ids else "")


def _about(oracle: str, what: str, ids: Collection[str]) -> Iterator[Violation]:
    if ids:
        yield Violation(oracle=oracle, what=f"{len(ids)} {what}", ids=tuple(sorted(ids)[:_NAMED]))


def conservation(found: Evidence) -> Iterator[Violation]:
    """Registered = merged ⊎ open in review ⊎ dead, disjoint."""
    merged, dead = found.merged_ids, set(found.dead)
    in_review = {item for item, state in found.queue.items() if state in _OPEN}
    yield from _about("conservation", "items are nowhere", found.registered - merged - in_review - dead)
    yield from _about("conservation", "ids are not of the input", (merged | in_review | dead) - found.registered)
    yield from _about("conservation", "items are merged and dead", merged & dead)
    yield from _about("conservation", "items are merged and open in review", merged & in_review)
    yield from _about("conservation", "items are dead and open in review", dead & in_review)


def all_merged(found: Evidence) -> Iterator[Violation]:
    """When every review is answered, merged = registered − dead."""
    merged = found.merged_ids
    yield from _about("all merged", "items are missing on merged", found.registered - set(found.dead) - merged)
    yield from _about("all merged", "dead or unknown items are on merged", merged - (found.registered - set(found.dead)))


@dataclass(kw_only=True)
class Said:
    """What one reviewer sent, and what the gateway acknowledged."""

    labels: Mapping[str, str]  # what this reviewer says about any item
    sent: Collection[str]
    acknowledged: Mapping[str, str]


def reviews(found: Evidence, crowd: Sequence[Said]) -> Iterator[Violation]:
    """Each reviewed label is the one submitted; an acknowledged answer is never lost."""
    labels = {item: record.label for item, record in found.last_merged().items() if record.reviewed}
    possible = {item: {said.labels[item] for said in crowd if item in said.sent} for item in labels}
    yield from _about("reviews", "labels on merged were never sent", {i for i, label in labels.items() if label not in possible[i]})
    acknowledged = [(item, label) for said in crowd for item, label in said.acknowledged.items()]
    yield from _about("reviews", "acknowledged answers are not on merged", {i for i, label in acknowledged if labels.get(i) != label})
    twice = {item for item, times in Counter(item for item, _ in acknowledged).items() if times > 1}
    yield from _about("reviews", "items were taken from two reviewers", twice)


def decisions(found: Evidence) -> Iterator[Violation]:
    """π and decision of an item are the stored ones wherever it appears, and a reviewed item keeps its human record as the last one."""
    everywhere = [*found.merged, *found.review]
    differing = {record.item_id for record in everywhere if found.decisions.get((record.item_id, record.draw)) != record.fact}
    yield from _about("decisions", "items carry another decision than the stored one", differing)
    last_by_offset: dict[str, Emitted] = {}
    for record in found.merged:
        last_by_offset[record.item_id] = record
    reviewed = {record.item_id for record in found.merged if record.reviewed}
    yield from _about(
        "decisions", "reviewed items end with a record without the review", {i for i in reviewed if not last_by_offset[i].reviewed}
    )
    unasked = {record.item_id for record in found.merged if not record.reviewed and record.fact[-1]}
    yield from _about("decisions", "selected items are on merged without a review", unasked)


def budgets(found: Evidence) -> Iterator[Violation]:
    """Reviews never exceed the human budget, money never the cap."""
    chosen = {item for item, draw in found.latest_draw.items() if found.decisions[item, draw][-1]} | set(found.queue)
    if len(chosen) > found.budget:
        yield Violation(oracle="budgets", what=f"{len(chosen)} items are for review, {found.budget} are allowed")
    money = found.money
    if money.spent + money.reserved > money.cap + 1e-9:
        yield Violation(oracle="budgets", what=f"${money.spent:.4f} spent and ${money.reserved:.4f} reserved exceed ${money.cap:g}")
    if money.results > money.spent + money.reserved + 1e-9:
        yield Violation(oracle="budgets", what=f"stored answers cost ${money.results:.4f}, more than was spent or reserved")


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


UNEXPLAINED: Final = "unexplained"
HANDOVER: Final = "handover"  # two living processes asked at once: the partition moved while a call ran


@dataclass(frozen=True, kw_only=True)
class Loss:
    """When a process lost what it had in hand: it was killed, ended, or stood still."""

    caller: str
    kind: str  # kill, terminate, freeze
    start_s: float  # seconds since 1970
    end_s: float


@dataclass(kw_only=True)
class Repeats:
    """Calls that were made again word for word, by why; scripted failures are counted apart."""

    by_reason: Counter[str] = field(default_factory=Counter)
    scripted: Counter[str] = field(default_factory=Counter)  # status or fault → requests
    unlost: list[tuple[str, Request]] = field(default_factory=list)  # reason and earlier call, where no process lost it
    lost: int = 0  # calls in flight, or just answered, at all losses together


def repeats(requests: Iterable[Request], losses: Sequence[Loss], *, database_out: Sequence[tuple[float, float]]) -> Repeats:
    """Say of every call that was made again what became of the earlier one."""
    of_caller: defaultdict[str, list[Loss]] = defaultdict(list)
    for loss in losses:
        of_caller[loss.caller].append(loss)
    found, by_digest = Repeats(), defaultdict(list)
    for request in requests:
        if request.faulted:
            found.scripted[request.fault or request.outcome] += 1
        by_digest[request.digest].append(request)
        found.lost += any(_lost_with(request, loss, database_out) for loss in of_caller[request.caller])
    for same in by_digest.values():
        for earlier, later in pairwise(request for request in same if not request.faulted):
            reason = _reason(earlier, later, of_caller[earlier.caller], database_out) or (HANDOVER if _two_at_work(same) else UNEXPLAINED)
            found.by_reason[reason] += 1
            if reason in {HANDOVER, UNEXPLAINED}:
                found.unlost.append((reason, earlier))
    return found


def _reason(earlier: Request, later: Request, losses: Sequence[Loss], database_out: Sequence[tuple[float, float]]) -> str:
    """Say with which process the earlier call was lost; nothing where it was not."""
    lost = ((loss, _lost_with(earlier, loss, database_out)) for loss in losses if later.arrived_s >= loss.start_s)
    return next((f"{loss.kind}, {how}" for loss, how in lost if how), "")


def _two_at_work(same: Sequence[Request]) -> bool:
    """Say whether two callers asked for the same at the same time, failed attempts and the waits between them included."""
    spans: dict[str, tuple[float, float]] = {}
    for request in same:
        end = float("inf") if request.ended_s is None else request.ended_s
        first, last = spans.get(request.caller, (request.arrived_s, end))
        spans[request.caller] = (min(first, request.arrived_s), max(last, end))
    ordered = sorted(spans.values())
    return any(later[0] <= earlier[1] for earlier, later in pairwise(ordered))


def _lost_with(request: Request, loss: Loss, database_out: Sequence[tuple[float, float]]) -> str:
    """Say how a request went with a process: ``in flight``, ``not stored``, or not at all."""
    if request.in_flight_during(loss.start_s - _KILLED_S, loss.end_s):
        return "in flight"
    if request.ended_s is None or request.ended_s > loss.start_s:
        return ""
    waited_from = min([loss.start_s - _STORED_S, *(start - _STORED_S for start, end in database_out if end + _STORED_S >= loss.start_s)])
    return "not stored" if request.ended_s >= waited_from else ""


def paid_once(found: Repeats, *, handovers_wait: bool) -> Iterator[Violation]:
    """Calls repeated ≤ calls in flight or not yet stored at the losses.

    ``handovers_wait``: a new owner of a partition waits for the calls of the old one, so a handover excuses nothing.
    """
    ids = {f"{request.task} {request.digest}" for reason, request in found.unlost if handovers_wait or reason != HANDOVER}
    yield from _about("paid once", "calls were repeated although no process lost them", ids)
    repeated = sum(found.by_reason.values()) - len(found.unlost)
    if repeated > found.lost:
        yield Violation(oracle="paid once", what=f"{repeated} calls were repeated, {found.lost} were lost with their process")


# ── reading again, and standing still ───────────────────────────────────────────────────────────────────────────────────────────────────


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

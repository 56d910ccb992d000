"""Paid once: what became of every call that was made again. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tests.acceptance.chaos.asked import Request
from tests.acceptance.chaos.oracles import Violation, about

_STORED_S: Final = 2.0  # an answer is in the database so long after it came, unless the database is out of reach
_NOTED_S: Final = 1.0  # how exactly it is known when the database was out of reach
_WAKES_S: Final = 2.0  # how soon a process that stood still has learnt what it lost
_KILLED_S: Final = 0.25  # how soon the endpoint sees that a caller is gone
UNEXPLAINED: Final = "unexplained"
HANDOVER: Final = "handover"  # two living processes asked at once: the partition moved while a call ran
NO_CLAIM: Final = "handover, no database"  # the same, and the old owner could tell nobody that its call ran


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
    lost: int = 0  # calls in flight, or just answered, at all losses together, and those that could not be claimed


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
            reason = _reason(earlier, later, of_caller[earlier.caller], database_out) or _woke_up(same, later, of_caller[later.caller])
            reason = reason or _just_awake(same, of_caller) or _handed_over(same, database_out)
            found.by_reason[reason] += 1
            found.lost += reason == NO_CLAIM
            if reason in {HANDOVER, UNEXPLAINED}:
                found.unlost.append((reason, earlier))
    return found


def _reason(earlier: Request, later: Request, losses: Sequence[Loss], database_out: Sequence[tuple[float, float]]) -> str:
    """Say with which process the earlier call was lost; nothing where it was not."""
    lost = ((loss, _lost_with(earlier, loss, database_out)) for loss in losses if later.arrived_s >= loss.start_s)
    return next((f"{loss.kind}, {how}" for loss, how in lost if how), "")


def _woke_up(same: Sequence[Request], later: Request, losses: Sequence[Loss]) -> str:
    """Say whether the later call is the next attempt of a process that stood still during its first one; others asked meanwhile."""
    own = [request for request in same if request.caller == later.caller and request is not later]
    frozen = [loss for loss in losses if loss.kind == "freeze" and loss.start_s <= later.arrived_s]
    stood_still = any(request.in_flight_during(loss.start_s, loss.end_s) for request in own for loss in frozen)
    return "freeze, in flight" if stood_still else ""


def _just_awake(same: Sequence[Request], losses: Mapping[str, Sequence[Loss]]) -> str:
    """Say whether one of them began as a process woke up that did not know yet that its partitions were another's."""
    wakings = ((request, loss) for request in same for loss in losses.get(request.caller, ()) if loss.kind == "freeze")
    return "freeze, just awake" if any(0.0 <= request.arrived_s - loss.end_s + _KILLED_S <= _WAKES_S for request, loss in wakings) else ""


def _handed_over(same: Sequence[Request], database_out: Sequence[tuple[float, float]]) -> str:
    """Say whether a partition moved while a call ran or its answer was not stored, and whether there was a database to do it in."""
    first_s, last_s = min(request.arrived_s for request in same), max(request.arrived_s for request in same)
    out = any(start - _NOTED_S <= last_s and end + _NOTED_S >= first_s for start, end in database_out)
    if len({request.caller for request in same}) > 1 and out:
        return NO_CLAIM  # nor store what had come meanwhile
    return HANDOVER if _two_at_work(same) else UNEXPLAINED


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


def paid_once(found: Repeats, *, handovers_wait: bool, strays: int = 0) -> Iterator[Violation]:
    """Calls repeated ≤ calls in flight or not yet stored at the losses.

    ``handovers_wait``: a new owner of a partition waits for the calls of the old one, so a handover excuses nothing.
    ``strays``: so many repeats may belong to no loss, as long as all together stay below what was lost.
    """
    ids = {f"{request.task} {request.digest}" for reason, request in found.unlost if handovers_wait or reason != HANDOVER}
    if len(ids) > strays:
        yield from about("paid once", "calls were repeated although no process lost them", ids)
    repeated = sum(found.by_reason.values()) - (0 if strays else len(found.unlost))
    if repeated > found.lost:
        yield Violation(oracle="paid once", what=f"{repeated} calls were repeated, {found.lost} were lost with their process")

"""What a run prints: the seed, what was done when, and whether everything is accounted for."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.acceptance.chaos.calls import Repeats
from tests.acceptance.chaos.evidence import Evidence
from tests.acceptance.chaos.faults import Outages
from tests.acceptance.chaos.oracles import Violation
from tests.acceptance.chaos.plan import Plan
from tests.acceptance.chaos.standing import Ended, Reread


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that was done to the system, or that its operator did."""

    at_s: float  # since the first item
    part: str
    progress: float  # of that part
    what: str
    victim: str = ""
    in_flight: int = 0  # calls: of the victim, else of all

    def __str__(self) -> str:
        """Write it as a line."""
        where = f"{self.part:8} {self.progress:4.0%}"
        return f"{self.at_s:7.1f} s  {where}  {self.what:40} {self.victim:20} {self.in_flight:4} calls in flight"


@dataclass(kw_only=True)
class Ledger:
    """The outcome of a run."""

    plan: Plan
    outages: Outages
    events: list[Event] = field(default_factory=list)
    machine: Evidence | None = None  # at rest, reviews open
    final: Evidence | None = None  # every review answered
    repeats: Repeats | None = None
    rereads: Sequence[Reread] = ()
    ended: Sequence[Ended] = ()
    acknowledged: int = 0
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Write it for a person."""
        plan = self.plan
        yield f"seed {plan.seed}: {plan.items} items, {plan.faults} faults, {plan.replicas} replicas of each role, {self.seconds:.0f} s"
        yield from map(str, self.events)
        for name, found in (("machine part at rest", self.machine), ("reviews answered", self.final)):
            if found is not None:
                yield from _balance(name, found)
        yield from self._calls()
        yield from self._rest()

    def _calls(self) -> Iterator[str]:
        if self.repeats is None:
            return
        scripted = ", ".join(f"{count} {what}" for what, count in sorted(self.repeats.scripted.items())) or "none"
        why = ", ".join(f"{count} {what}" for what, count in sorted(self.repeats.by_reason.items())) or "none"
        yield f"calls repeated: {why}; of {self.repeats.lost} in flight or not stored at the losses; scripted failures apart: {scripted}"

    def _rest(self) -> Iterator[str]:
        reread = max(self.rereads, key=lambda one: one.records / one.bound, default=None)
        if reread is not None:
            yield f"read again after {len(self.rereads)} kills: at most {reread.records} of {reread.bound} ({reread.member})"
        for one in self.ended:
            yield f"ended by itself: {one.member} with {one.code}{' (it was starting)' * one.excused}: {one.last_words}"
        yield f"reviews acknowledged: {self.acknowledged}"
        yield f"{len(self.violations)} violations" + "".join(f"\n  {violation}" for violation in self.violations)


def _balance(name: str, found: Evidence) -> Iterator[str]:
    still_open = sum(state in {"waiting", "leased"} for state in found.queue.values())
    parts = f"{len(found.merged_ids)} merged + {still_open} open in review + {len(found.dead)} dead"
    yield f"{name}: {len(found.registered)} registered = {parts}"
    duplicates = {kind: found.records[kind] - found.distinct[kind] for kind in found.records}
    yield "  records beyond one per item: " + ", ".join(f"{kind} {count}" for kind, count in duplicates.items())
    if found.dead:
        yield "  dead: " + ", ".join(f"{count} {why}" for why, count in sorted(Counter(found.dead.values()).items()))
    money = found.money
    selected = sum(bool(fact[-1]) for (item, draw), fact in found.decisions.items() if found.latest_draw[item] == draw)
    yield f"  reviews chosen {selected} of {found.budget}; ${money.spent:.4f} spent, ${money.reserved:.4f} reserved of ${money.cap:g}"

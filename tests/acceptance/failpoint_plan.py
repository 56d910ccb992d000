"""Who dies where: every failpoint in every role that passes it, packed into as few rounds as the order of things allows.

A round is one campaign. In it a process of each role dies, is started again, and may die again at a point that lies later on the way of
an item; after its last death it is started unarmed. Run alone, a case has a round of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from actlabel.core.topics import ANNOTATOR, CRITICIZER, REVIEW_GATEWAY, SAMPLER

EXACT, STREAMING = "exact", "streaming"


@dataclass(frozen=True, order=True)
class Case:
    """One failpoint in one role."""

    role: str
    point: str
    phase: int  # deaths of one role in one round come in this order, one per phase
    passing: int  # at which it strikes
    mode: str | None = None  # of the sampler, where it matters

    def __str__(self) -> str:
        """Name the test."""
        return f"{self.role}-{self.point}"

    @property
    def arms(self) -> str:
        """What the environment says."""
        return f"{self.point}:{self.passing}"


FIRST_WAVE = 20
"""So many items come first, and no more until annotator and criticizer have died in their first phase: a point that every record passes
strikes at the last of them, when no other call is in flight."""

_RECORD = {
    "record.dispatched": FIRST_WAVE,
    "record.handled": FIRST_WAVE,
    "record.produced": FIRST_WAVE,
    "record.marked": FIRST_WAVE,
    "offsets.committing": 2,
    "offsets.committed": 2,
}
_CALL = {
    "result.looked_up": 10,
    "spend.reserved": 2,
    "result.called": 10,
    "result.storing": 2,
    "result.stored": 2,
    "dead.produced": 1,
    "dead.stored": 1,
}
_INTAKE = {**dict.fromkeys(("record.dispatched", "record.handled", "record.marked"), 15), "candidates.storing": 3, "candidates.stored": 3}
_DRAW = ("frozen", "designed", "celled", "chosen", "decided", "completing", "completed")
_EMISSION = {"leased": 1, "sent": 10, "emitted": 1, "advanced": 1}
_BLOCK = ("locked", "decided", "taken", "closed")
_QUEUE = {"record.dispatched": 8, "record.handled": 8, "record.produced": 8, "record.marked": 8, "review.queueing": 8}
_REVIEW = {"lending": 2, "lent": 2, "answering": 5, "answered": 5, "undoing": 2, "undone": 2}
_OUTBOX = ("started", "sent", "produced", "emptied")
_OFFSETS = ("offsets.committing", "offsets.committed")

CASES: Sequence[Case] = (
    *(Case(SAMPLER, f"draw.{name}", 1, 1, EXACT) for name in _DRAW),
    *(Case(SAMPLER, f"emission.{name}", 2, passing, EXACT) for name, passing in _EMISSION.items()),
    *(Case(SAMPLER, f"block.{name}", 1, 2, STREAMING) for name in _BLOCK),
    Case(SAMPLER, "record.produced", 2, 10, STREAMING),
    *(Case(SAMPLER, name, 0, passing) for name, passing in _INTAKE.items()),
    *(Case(SAMPLER, name, 0, 2) for name in _OFFSETS),
    *(Case(role, name, 0, passing) for role in (ANNOTATOR, CRITICIZER) for name, passing in _RECORD.items()),
    *(Case(role, name, 1, passing) for role in (ANNOTATOR, CRITICIZER) for name, passing in _CALL.items()),
    *(Case(REVIEW_GATEWAY, name, 0, passing) for name, passing in _QUEUE.items()),
    *(Case(REVIEW_GATEWAY, name, 0, 2) for name in _OFFSETS),
    *(Case(REVIEW_GATEWAY, f"review.{name}", 1, passing) for name, passing in _REVIEW.items()),
    *(Case(REVIEW_GATEWAY, f"outbox.{name}", 2, 1) for name in _OUTBOX),
)


@dataclass
class Round:
    """One campaign and its victims."""

    mode: str | None = None
    deaths: dict[str, list[Case]] = field(default_factory=dict)  # role → in the order of phases

    def takes(self, case: Case) -> bool:
        """Say whether a case can still be part of this round."""
        fits = case.mode is None or self.mode in {None, case.mode}
        return fits and all(case.phase != other.phase for other in self.deaths.get(case.role, ()))

    def add(self, case: Case) -> None:
        """Let it be part."""
        self.mode = case.mode or self.mode
        self.deaths[case.role] = sorted([*self.deaths.get(case.role, ()), case], key=lambda one: one.phase)

    @property
    def cases(self) -> list[Case]:
        """All of them."""
        return [case for deaths in self.deaths.values() for case in deaths]

    def __str__(self) -> str:
        """Name all victims, for a failing test."""
        return ", ".join(map(str, self.cases))


def pack(cases: Iterable[Case]) -> list[Round]:
    """Share cases out, those that need a mode first."""
    rounds: list[Round] = []
    for case in sorted(cases, key=lambda one: one.mode is None):
        chosen = next((one for one in rounds if one.takes(case)), None)
        if chosen is None:
            rounds.append(chosen := Round())
        chosen.add(case)
    return rounds

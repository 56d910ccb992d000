"""What is done to the system and when, as a function of a seed. Pure.

Faults are placed by progress, not by time: a slower machine gets the same schedule.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from actlabel.core import topics

SESSION_S: Final = 6.0
"""The session timeout of every group: the least that a broker allows by default."""


class Part(StrEnum):
    """When a fault strikes."""

    MACHINE = "machine"  # while models are asked
    DRAW = "draw"  # while a sampler draws or emits
    REVIEW = "review"  # while answers are submitted


class Kind(StrEnum):
    """What happens."""

    KILL = "kill"  # SIGKILL, and a new process after `seconds`
    TERMINATE = "terminate"  # SIGTERM, and a new process at the same time
    FREEZE = "freeze"  # SIGSTOP, longer than the session timeout; then SIGCONT
    START = "start"  # one more replica
    STOP = "stop"  # one replica fewer, by SIGTERM
    BROKER_RESTART = "broker-restart"  # SIGKILL, and a start after `seconds`
    DATABASE_FREEZE = "database-freeze"  # SIGSTOP of every process of PostgreSQL
    DATABASE_RESTART = "database-restart"  # a crash, and a start after `seconds`
    HANG = "endpoint-hangs"
    REFUSE = "endpoint-refuses"  # no connections, and open ones are cut
    ERRORS = "endpoint-errors"  # 500
    RATE_LIMIT = "endpoint-429"
    NONSENSE = "endpoint-nonsense"  # a part of the answers cannot be read
    DISCONNECT = "endpoint-disconnects"


OF_A_PROCESS: Final = frozenset({Kind.KILL, Kind.TERMINATE, Kind.FREEZE, Kind.START, Kind.STOP})
OF_THE_ENDPOINT: Final = frozenset({Kind.HANG, Kind.REFUSE, Kind.ERRORS, Kind.RATE_LIMIT, Kind.NONSENSE, Kind.DISCONNECT})
LASTING: Final = frozenset({Kind.FREEZE, Kind.BROKER_RESTART, Kind.DATABASE_FREEZE, Kind.DATABASE_RESTART})
"""What is worth a line when it is over; what the endpoint does ends after the seconds that are said before."""

_SECONDS: Final = {  # how long it lasts, between these
    Kind.KILL: (0.0, 3.0),
    Kind.TERMINATE: (0.0, 0.0),
    Kind.FREEZE: (SESSION_S + 1.5, SESSION_S + 4.0),
    Kind.START: (0.0, 0.0),
    Kind.STOP: (0.0, 0.0),
    Kind.BROKER_RESTART: (0.0, 4.0),
    Kind.DATABASE_FREEZE: (2.0, 6.0),
    Kind.DATABASE_RESTART: (0.0, 3.0),
    Kind.HANG: (1.0, 4.0),
    Kind.REFUSE: (0.5, 4.0),
    Kind.ERRORS: (1.0, 4.0),
    Kind.RATE_LIMIT: (1.0, 4.0),
    Kind.NONSENSE: (0.5, 2.0),
    Kind.DISCONNECT: (0.5, 3.0),
}
# Each deck is dealt whole before it is shuffled again, so that a short schedule has one of everything.
_DECKS: Final = {
    Part.MACHINE: (
        *((kind, role) for kind in (Kind.KILL, Kind.FREEZE) for role in (topics.ANNOTATOR, topics.CRITICIZER)),
        (Kind.TERMINATE, topics.ANNOTATOR),
        (Kind.TERMINATE, topics.CRITICIZER),
        (Kind.KILL, topics.SAMPLER),
        (Kind.START, topics.ANNOTATOR),
        (Kind.STOP, topics.ANNOTATOR),
        *((kind, "") for kind in (Kind.BROKER_RESTART, Kind.DATABASE_FREEZE, Kind.DATABASE_RESTART)),
        *((kind, "") for kind in Kind if kind in OF_THE_ENDPOINT),
    ),
    Part.DRAW: (
        (Kind.KILL, topics.SAMPLER),
        (Kind.FREEZE, topics.SAMPLER),
        (Kind.DATABASE_RESTART, ""),
        (Kind.TERMINATE, topics.SAMPLER),
        (Kind.BROKER_RESTART, ""),
        (Kind.DATABASE_FREEZE, ""),
    ),
    Part.REVIEW: (
        (Kind.KILL, topics.REVIEW_GATEWAY),
        (Kind.FREEZE, topics.REVIEW_GATEWAY),
        (Kind.TERMINATE, topics.REVIEW_GATEWAY),
        (Kind.BROKER_RESTART, ""),
        (Kind.DATABASE_FREEZE, ""),
        (Kind.DATABASE_RESTART, ""),
        (Kind.KILL, topics.SAMPLER),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One entry of a schedule."""

    number: int  # from 1, in the order of a part
    part: Part
    at: float  # share of the part that is done when it strikes; in a draw, of the machine part from which on it may
    kind: Kind
    role: str  # of the victim; empty for a service or the endpoint
    pick: float  # which of the role's processes: this share down the list
    seconds: float

    def __str__(self) -> str:
        """Name it for a person."""
        return f"{self.kind} {self.role}".strip() + (f" {self.seconds:.1f} s" if self.seconds else "")


def make_schedule(seed: int, *, faults: int, draws: int) -> Sequence[Fault]:
    """Return ``faults`` faults, at least one of them while a draw is made (at most two for each of ``draws``) and one during reviews."""
    dice = random.Random(seed)
    in_draws = min(max(1, faults // 8), 2 * draws)
    in_reviews = max(1, faults // 5)
    counts = {Part.MACHINE: faults - in_draws - in_reviews, Part.DRAW: in_draws, Part.REVIEW: in_reviews}
    marks = {part: sorted(dice.uniform(0.1, 0.9) for _ in range(count)) for part, count in counts.items()}
    marks[Part.DRAW] = [(number // 2 + 0.5) / draws for number in range(in_draws)]  # two for each draw, before its batch is through
    return [fault for part in Part for fault in _of_part(dice, part, marks[part])]


def _of_part(dice: random.Random, part: Part, marks: Sequence[float]) -> Iterator[Fault]:
    deck = _deal(dice, part)
    for number, at in enumerate(marks, start=1):
        kind, role = next(deck)
        yield Fault(number=number, part=part, at=at, kind=kind, role=role, pick=dice.random(), seconds=dice.uniform(*_SECONDS[kind]))


def _deal(dice: random.Random, part: Part) -> Iterator[tuple[Kind, str]]:
    while True:
        yield from dice.sample(_DECKS[part], len(_DECKS[part]))

"""Requests and tokens per minute, shared by all processes through a row in the database.

What accrues is given out in slices: a process whose calls wait takes, in one transaction, what they need and what it expects to need
until the slice ends. What is left of it then is used no longer, and goes back with the next request. So the database is asked a few times
a second and not once per call. The row holds one number, the moment up to which everything that accrues is given out (a virtual
schedule, as in the generic cell rate algorithm of ITU-T I.371). Nothing of a killed process has to be given back.

Over any 60 s, all processes together send at most ``limit + limit * (BURST_S + SLICE_S) / 60 + 1`` requests; for tokens the last term
is one call's, and what estimates of the calls in flight were short of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Final, Literal, Protocol

from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Session, load_statements

SLICE_S: Final = 0.5
"""How long what was taken may be used."""

BURST_S: Final = 0.5
"""At most so many seconds' worth of what nobody took is kept."""

Unit = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What a process asks for."""

    per_minute: int
    least: float  # what the first call that waits needs; granted even where it is more than has accrued, and waited for afterwards
    most: float  # what it can use within a slice
    owed: float = 0.0  # used beyond what was taken earlier; negative: taken and not used


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What it gets."""

    amount: float  # 0: nothing now
    again_s: float  # how long until there is more


def grant(want: Want, *, taken_until_s: float, now_s: float) -> tuple[Grant, float]:
    """Decide; returns also the new ``taken_until_s``. Requests and tokens alike; ``amount`` is between ``least`` and ``most``, or 0."""
    per_s = want.per_minute / 60.0
    start_s = corrected(want, taken_until_s=taken_until_s, now_s=now_s)
    if start_s > now_s:
        return Grant(amount=0.0, again_s=start_s - now_s), start_s
    amount = max(want.least, min(want.most, floor((now_s - start_s) * per_s + 1e-9)))
    until_s = start_s + amount / per_s
    return Grant(amount=amount, again_s=max(until_s - now_s, 0.0)), until_s


def corrected(want: Want, *, taken_until_s: float, now_s: float) -> float:
    """Return the moment up to which everything is given out, what is owed or given back included."""
    return max(taken_until_s + want.owed * 60.0 / want.per_minute, now_s - BURST_S)


class Ledger(Protocol):
    """Where quotas are shared."""

    async def take(self, endpoint: str, model: str, wants: Mapping[Unit, Want]) -> Mapping[Unit, Grant]:
        """Take of every unit, or of none where one of them has nothing. Raises ``RetryLater`` when the ledger is out of reach."""


class DatabaseLedger:
    """The ledger of all processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._sql = load_statements("actlabel.chat")

    async def take(self, endpoint: str, model: str, wants: Mapping[Unit, Want]) -> Mapping[Unit, Grant]:
        """See ``Ledger``."""
        async with self._database.transaction() as session:
            until, now_s = await self._present(session, endpoint, model, wants)
            decided = decide(wants, until, now_s)
            for unit, (_, until_s) in decided.items():
                await session.execute(self._sql["take_quota"], endpoint, model, unit, until_s)
        return {unit: granted for unit, (granted, _) in decided.items()}

    async def _present(self, session: Session, endpoint: str, model: str, wants: Mapping[Unit, Want]) -> tuple[dict[str, float], float]:
        rows = await session.fetch(self._sql["quota"], endpoint, model, self._clock.now())
        if missing := sorted(set(wants) - {row["unit"] for row in rows}):
            await session.execute_many(self._sql["begin_quota"], [(endpoint, model, unit) for unit in missing])
            rows = await session.fetch(self._sql["quota"], endpoint, model, self._clock.now())
        return {row["unit"]: row["taken_until"] for row in rows}, rows[0]["now"]


@dataclass(slots=True)
class MemoryLedger:
    """The ledger of a process that shares with nobody."""

    clock: Clock
    _until: dict[tuple[str, str, Unit], float] = field(default_factory=dict)

    async def take(self, endpoint: str, model: str, wants: Mapping[Unit, Want]) -> Mapping[Unit, Grant]:
        """See ``Ledger``."""
        decided = decide(wants, {unit: self._until.get((endpoint, model, unit), 0.0) for unit in wants}, self.clock.now())
        self._until.update({(endpoint, model, unit): until_s for unit, (_, until_s) in decided.items()})
        return {unit: granted for unit, (granted, _) in decided.items()}


def decide(wants: Mapping[Unit, Want], until: Mapping[str, float], now_s: float) -> dict[Unit, tuple[Grant, float]]:
    """Grant every unit, or none where one has nothing; what is owed is written down in any case."""
    decided = {unit: grant(want, taken_until_s=until[unit], now_s=now_s) for unit, want in wants.items()}
    if all(granted.amount for granted, _ in decided.values()):
        return decided
    longest_s = max(granted.again_s for granted, _ in decided.values() if not granted.amount)
    return {
        unit: (Grant(amount=0.0, again_s=longest_s), corrected(want, taken_until_s=until[unit], now_s=now_s))
        for unit, want in wants.items()
    }
